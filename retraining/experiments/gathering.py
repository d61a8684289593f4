"""From the tasks' results to tables: means over seeds, intervals, the paper's figures beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from retraining.evaluation.proportions import ends
from retraining.experiments.plan import Experiment, Section, Table
from retraining.experiments.tasks import (
    Curve,
    State,
    Task,
    read_failure,
    read_progress,
    read_result,
    state_of,
)

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of ours."""

    value: float
    low: float
    high: float
    """The 95 % Wilson interval where the figure is k of n, else the mean less and plus the deviation."""
    runs: int
    """Over how many seeds."""
    counted: tuple[int, int] | None
    """k and n, added over seeds."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A table of the plan with our figures in it."""

    table: Table
    figures: dict[tuple[str, str], Figure]
    """By row and column; a cell that was not run is not in it."""

    def text(self, row: str, column: str) -> str:
        """Our figure as it is printed, ``not run`` where there is none."""
        figure = self.figures.get((row, column))
        if figure is None:
            return NOT_RUN
        digits = self.table.digits
        shown = f"{figure.value:.{digits}f}"
        if figure.counted is not None:
            k, n = figure.counted
            return f"{shown} [{figure.low:.{digits}f}, {figure.high:.{digits}f}], {k} of {n}"
        if figure.runs > 1:
            shown += f" ± {figure.value - figure.low:.{digits}f}"
        return shown

    def paper(self, row: str, column: str) -> str:
        """The paper's figure as it is printed, a dash where it has none."""
        found = next(item for item in self.table.rows if item.name == row)
        index = [item.name for item in self.table.columns].index(column)
        value = found.paper[index] if found.paper else None
        return "–" if value is None else f"{value:.{self.table.digits}f}"

    def verdicts(self) -> tuple[str, ...]:
        """A sentence a duel that has been fought."""
        labels = {row.name: row.label for row in self.table.rows}
        columns = {column.name: column.label for column in self.table.columns}
        sign = -1.0 if self.table.better == "lower" else 1.0
        sentences = []
        for duel in self.table.duels:
            own = self.figures.get((duel.row, duel.column))
            rivals = [(name, self.figures.get((name, duel.column))) for name in duel.against]
            known = [(sign * found.value, name, found) for name, found in rivals if found is not None]
            if own is None or not known:
                continue
            value, best, rival = max(known, key=lambda item: item[:2])
            wins = sign * own.value > value
            apart = own.low > rival.high or rival.low > own.high
            figures = f"{self.text(duel.row, duel.column)} against {self.text(best, duel.column)}"
            verb = "beats" if wins else "does not beat"
            tail = ("" if apart else ", but the intervals overlap") if wins else ", so it is not used"
            where = f"{columns[duel.column]}: {figures}"
            sentences.append(f"{labels[duel.row]} {verb} {labels[best]} ({where}){tail}.")
        return tuple(sentences)

    @property
    def has_paper(self) -> bool:
        """Whether the paper has any figure of this table."""
        return any(value is not None for row in self.table.rows for value in row.paper)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task as the report lists it."""

    name: str
    state: State
    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything a report shows."""

    plan: Experiment
    size: str
    tables: tuple[Filled, ...]
    curves: tuple[tuple[str, tuple[Curve, ...]], ...]
    """Plots by their names."""
    sheets: tuple[tuple[Path, str], ...]
    """PNG files and captions."""
    notes: tuple[str, ...]
    unplaced: tuple[str, ...]
    """Figures that belong to no table of the plan."""
    tasks: tuple[TaskRow, ...]
    surroundings: tuple[dict[str, Any], ...]
    """The different machines, versions and git states that results were made with."""
    reduced: tuple[tuple[str, str, str], ...]
    """(key, here, full size) of every setting that differs from the full size."""

    @property
    def done(self) -> int:
        """How many tasks have a result."""
        return sum(task.state == "done" for task in self.tasks)


def gather(
    plan: Experiment, size_name: str, size: Section, full: Section, tasks: tuple[Task, ...], folder: Path
) -> Gathered:
    """Read the results of the tasks in ``folder``; a missing result stays missing."""
    rows, curves, sheets, notes, around = [], list[Curve](), [], list[str](), list[dict[str, Any]]()
    cells: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = {t.name: {} for t in plan.tables}
    layout = {t.name: ({r.name for r in t.rows}, {c.name for c in t.columns}) for t in plan.tables}
    unplaced = []
    for task in tasks:
        state = state_of(task, folder)
        own = folder / task.key
        message, seconds = "", 0.0
        if state == "failed":
            message = read_failure(own)
        elif state == "begun":
            step, steps, _ = read_progress(own)
            message = f"interrupted at step {step} of {steps}" if steps else "interrupted"
        elif state == "done":
            result = read_result(own)
            seconds = float(result["seconds"])
            for cell in result["cells"]:
                known_rows, known_columns = layout.get(cell["table"], (set(), set()))
                if cell["row"] in known_rows and cell["column"] in known_columns:
                    place = (cell["row"], cell["column"])
                    cells[cell["table"]].setdefault(place, []).append(cell)
                else:
                    unplaced.append(f"{cell['table']}/{cell['row']}/{cell['column']}: {cell['value']:g}")
            curves += [_curve(c) for c in result["curves"]]
            sheets += [(own / s["file"], s["caption"]) for s in result["sheets"]]
            notes += [note for note in result["notes"] if note not in notes]
            if result["surroundings"] not in around:
                around.append(result["surroundings"])
        rows.append(TaskRow(task.name, state, seconds, message))
    plots: dict[str, list[Curve]] = {}
    for curve in curves:
        plots.setdefault(curve.plot, []).append(curve)
    return Gathered(
        plan=plan,
        size=size_name,
        tables=tuple(
            Filled(table, {place: _figure(found, table) for place, found in cells[table.name].items()})
            for table in plan.tables
        ),
        curves=tuple((name, tuple(found)) for name, found in plots.items()),
        sheets=tuple(sheets),
        notes=tuple(notes),
        unplaced=tuple(unplaced),
        tasks=tuple(rows),
        surroundings=tuple(around),
        reduced=tuple(_differences(size, full)),
    )


def _figure(cells: list[dict[str, Any]], table: Table) -> Figure:
    scale = 100.0 if table.unit == "%" else 1.0
    if all(cell["count"] is not None for cell in cells):
        k, n = (sum(int(cell["count"][at]) for cell in cells) for at in range(2))
        low, high = ends(k, n)
        return Figure(scale * k / max(1, n), scale * low, scale * high, len(cells), (k, n))
    values = [float(cell["value"]) * scale for cell in cells]
    mean = fmean(values)
    spread = stdev(values) if len(values) > 1 else 0.0
    return Figure(mean, mean - spread, mean + spread, len(values), None)


def _curve(found: dict[str, Any]) -> Curve:
    return Curve(
        found["plot"],
        found["label"],
        tuple(found["x"]),
        tuple(found["y"]),
        found["x_label"],
        found["y_label"],
    )


def _differences(size: Section, full: Section) -> Iterator[tuple[str, str, str]]:
    here, there = dict(_leaves(size)), dict(_leaves(full))
    for key in dict.fromkeys((*here, *there)):
        if here.get(key) != there.get(key):
            yield key, here.get(key, "none"), there.get(key, "none")


def _leaves(section: Section, before: str = "") -> Iterator[tuple[str, str]]:
    """Every setting by its dotted key; sections in a list are identified by their names."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _leaves(value, f"{before}{name}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            for number, item in enumerate(value):
                called = getattr(item, "name", getattr(item, "system", number))
                yield from _leaves(item, f"{before}{name}.{called}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            yield f"{before}{name}", shown
