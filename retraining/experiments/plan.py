"""experiments/*.yaml: what a paper's table asks, the paper's own figures, and two sizes to try it at.

A plan is read once, checked as a whole and never changed. Every key is described in docs/experiments.md;
what is particular to a kind of experiment stands in that kind's file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from retraining.errors import PlanError
from station.strict_yaml import Mistake, closest

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, le=1_000_000)], ...], Field(min_length=1, max_length=20)]
Steps = Annotated[int, Field(ge=1, le=10_000_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
SizeName = Literal["reduced", "full"]


class Section(BaseModel):
    """A part of a plan: strict, frozen, described."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Paper(Section):
    """Where the table comes from."""

    title: Text
    """the paper's title"""
    where: Text
    """the tables and sections that are repeated"""
    differences: tuple[Text, ...] = ()
    """sentences: what differs from the paper at both sizes, and why"""


class Column(Section):
    """One column of a table."""

    name: Name
    """the name that tasks use for the column"""
    label: Text
    """the heading"""


class Row(Section):
    """One row of a table, with the paper's figures."""

    name: Name
    """the name that tasks use for the row"""
    label: Text
    """the heading"""
    paper: tuple[float | None, ...] = ()
    """the paper's figures, one per column, empty where it has none"""


class Duel(Section):
    """A row that is not worth its cost unless it beats simpler ones."""

    row: Name
    """the row that must be better"""
    against: Annotated[tuple[Name, ...], Field(min_length=1)]
    """the rows that it is compared with"""
    column: Name
    """the column that is compared"""


class Table(Section):
    """A table of figures, laid out as the paper's."""

    name: Name
    """the name that tasks use for the table"""
    title: Text
    """the caption"""
    unit: Annotated[str, StringConstraints(max_length=12)] = ""
    """the unit: `%` (figures are shares of 100), or a word, or nothing"""
    digits: Annotated[int, Field(ge=0, le=6)] = 2
    """digits after the point"""
    better: Literal["higher", "lower", "neither"]
    """which figures are better: higher, lower or neither"""
    chart: Literal["none", "bars", "lines"] = "none"
    """how the table is drawn; `lines` needs columns whose names are numbers"""
    note: Annotated[str, StringConstraints(max_length=2000)] = ""
    """what a reader must know to compare the figures"""
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=20)]
    """the columns"""
    rows: Annotated[tuple[Row, ...], Field(min_length=1, max_length=60)]
    """the rows"""
    duels: tuple[Duel, ...] = ()
    """rows that must be better than simpler ones; the report says where they are not"""

    @model_validator(mode="after")
    def _is_rectangular(self) -> Self:
        for index, row in enumerate(self.rows):
            if row.paper and len(row.paper) != len(self.columns):
                problem = f"has {len(row.paper)} figures for {len(self.columns)} columns"
                raise wrong(
                    f"rows.{index}.paper", problem, "write one per column, `null` where there is none"
                )
        for key, named in (("columns", self.columns), ("rows", self.rows)):
            names = [item.name for item in named]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise wrong(key, f"has the name '{twice}' twice", "give each its own name")
        rows, columns = {row.name for row in self.rows}, {column.name for column in self.columns}
        for index, duel in enumerate(self.duels):
            unknown = ({duel.row, *duel.against} - rows) | ({duel.column} - columns)
            if unknown:
                problem = f"names {', '.join(sorted(unknown))}, which the table does not have"
                raise wrong(f"duels.{index}", problem, "write names of its rows and of one column")
        if self.chart == "lines" and not all(_is_number(column.name) for column in self.columns):
            raise wrong("chart", "is lines, but not every column's name is a number", "write bars or none")
        return self


class Experiment(Section):
    """What all kinds of experiments share; each kind adds ``reduced`` and ``full``."""

    name: Name
    """the experiment's name, the file's name without `.yaml`"""
    title: Text
    """one line for people"""
    question: Text
    """what the experiment answers"""
    target: Text
    """the figure to reach"""
    paper: Paper
    """where the tables come from"""
    tables: Annotated[tuple[Table, ...], Field(min_length=1, max_length=12)]
    """the tables to fill"""

    @model_validator(mode="after")
    def _tables_are_told_apart(self) -> Self:
        names = [table.name for table in self.tables]
        if len(set(names)) != len(names):
            raise wrong("tables", "has a name twice", "give each table its own name")
        return self


def find_plan(name_or_path: str, directory: Path) -> Path:
    """The file of a plan given by its name in ``directory`` or by a path. Raises :class:`PlanError`."""
    given = Path(name_or_path)
    if given.suffix in (".yaml", ".yml") or len(given.parts) > 1:
        if given.is_file():
            return given
        raise PlanError(given, Mistake(0, "", "does not exist", "name an experiment or its file"))
    file = directory / f"{name_or_path}.yaml"
    if file.is_file():
        return file
    names = sorted(found.stem for found in directory.glob("*.yaml")) if directory.is_dir() else []
    remedy = closest(name_or_path, names) if names else "name the folder of experiments by --experiments"
    raise PlanError(directory, Mistake(0, "", f"has no experiment '{name_or_path}'", remedy))


def wrong(key: str, problem: str, remedy: str) -> PydanticCustomError:
    """A mistake that only a look at several keys shows."""
    return PydanticCustomError("plan", "{problem}", {"problem": problem, "key": key, "remedy": remedy})


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
