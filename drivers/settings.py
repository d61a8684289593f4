"""What a section of the configuration is made of: a strict model, field types, mistakes with a remedy.

A device's settings *are* its section of ``station.yaml``: the docstring under each field is the key's
description in error messages and in docs/configuration.md. Relative paths are resolved against
``info.context["directory"]``, the folder of the file that is read; without one they stay as they are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from drivers.errors import os_remedy


class Section(BaseModel):
    """One section: unknown keys are errors, and a section is never changed once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """A path of the file as seen from the file's own folder."""
    directory = (info.context or {}).get("directory")
    expanded = path.expanduser()
    # Symbolic links are left as they are: a simulated cell's port is one, made later.
    return Path(os.path.normpath(Path(directory, expanded))) if directory is not None else expanded


def usable(path: Path) -> Path:
    """The path, unless no file can ever be there, or what is there would keep its reader waiting.

    A path where nothing is yet, or that this user may not see, is left to whoever opens it.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, PermissionError):
        return path
    except OSError as error:
        raise _refused(f"cannot be used ({error.strerror}): {str(path)!r}", os_remedy(error, path)) from None
    except ValueError:
        raise _refused(f"has a NUL character: {str(path)!r}", "remove it") from None
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise _refused(f"is a pipe or a device: {path}", "name a file or a folder")
    return path


def _refused(problem: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("path", "{problem}", {"problem": problem, "remedy": remedy})


FilePath = Annotated[Path, AfterValidator(beside_the_file), AfterValidator(usable)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Word = Annotated[str, StringConstraints(max_length=64)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]
Milliseconds = Annotated[float, Field(gt=0.0, le=600_000.0)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
AtLeastOne = Annotated[int, Field(ge=1, le=1_000_000)]


class RiskySection(Section):
    """A section with settings that are legal and dangerous: each needs ``accept_risk`` beside it."""

    accept_risk: Text | None = None
    """why a dangerous setting of this section is right here; needed with such a setting, refused without"""

    def check(self) -> None:
        """Raise :func:`mistake` for what cannot be right, whatever risk is accepted."""

    def risks(self) -> Iterator[tuple[str, str]]:
        """The dangerous settings in use: the key, and what can happen."""
        yield from ()

    @model_validator(mode="after")
    def _risks_are_accepted(self) -> Self:
        self.check()
        found = list(self.risks())
        if found and self.accept_risk is None:
            problem = "; ".join([found[0][1], *(f"{key} {danger}" for key, danger in found[1:])])
            raise mistake(found[0][0], problem, 'write a safer value, or `accept_risk: "<why>"` beside it')
        if self.accept_risk is not None and not found:
            raise mistake("accept_risk", "accepts a risk that is not there", "remove the key")
        return self


def accepted_risks(section: BaseModel, place: str = "") -> list[str]:
    """Every dangerous setting in use in a section and below it, in words, with the reason given for it."""
    found: list[str] = []
    if isinstance(section, RiskySection):
        for key, danger in section.risks():
            found.append(f"{place}{key} {danger} (accepted: {section.accept_risk})")
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += accepted_risks(value, f"{place}{name}.")
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                if isinstance(one, BaseModel):
                    found += accepted_risks(one, f"{place}{name}[{index}].")
    return found


def mistake(key: str, problem: str, remedy: str) -> PydanticCustomError:
    """An error for a validator to raise: ``key`` (dotted, below the section) ``problem``: ``remedy``."""
    context: dict[str, Any] = {"problem": problem, "key": key, "remedy": remedy}
    return PydanticCustomError("config", "{problem}", context)
