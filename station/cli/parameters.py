"""What every option and argument of ``station`` and ``retrain`` must be, whatever it is for.

A path is looked at before the command starts: what no file system can hold, a pipe or device that would
keep the command waiting, and, where the parameter is marked :data:`FILE_MADE` or :data:`FOLDER_MADE`, a
place where nothing can be written. Nothing is created by looking.
"""

from __future__ import annotations

import errno
import inspect
import math
import os
import stat
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from drivers.errors import explain_os_error, why_not_written

_LARGEST: Final = 2**63 - 1
"""What SQLite, NumPy and Parquet hold."""


_LONGEST_NAME: Final = 255
"""Bytes of a file's name; also where the folders above it do not exist yet."""


class Made(Enum):
    """What a command makes at the path that a parameter names."""

    FILE = "file"
    FOLDER = "folder"


FILE_MADE, FOLDER_MADE = Made.FILE, Made.FOLDER


class CarefulCommand(TyperCommand):
    """A command that refuses numbers that nothing can hold and paths that cannot be used."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line. Raises ``typer.BadParameter``."""
        rest = super().parse_args(ctx, args)
        made = paths_made(self)
        for parameter in self.params:
            name = str(parameter.name)
            given = ctx.params.get(name)
            for value in given if isinstance(given, list | tuple) else (given,):
                problem = _number_or_text(value)
                if not problem and isinstance(value, Path):
                    problem = _path(value, made.get(name))
                if problem:
                    raise typer.BadParameter(problem, ctx=ctx, param=parameter)  # type: ignore[arg-type]
        return rest


def careful(app: typer.Typer) -> None:
    """Make every command of ``app`` and below a :class:`CarefulCommand`."""
    for command in app.registered_commands:
        if not issubclass(command.cls or TyperCommand, CarefulCommand):
            command.cls = CarefulCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            careful(group.typer_instance)


def refuse_given(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse parameters that were given on the command line and are not used on this way of the command.

    ``why`` ends the sentence "--option is not used ...". Raises ``typer.BadParameter``, naming all.
    """
    wanted = set(names)
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in wanted
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        verb, what = ("is", "it") if len(given) == 1 else ("are", "them")
        raise typer.BadParameter(f"{', '.join(given)} {verb} not used {why}; leave {what} out")


def paths_made(command: Any) -> dict[str, Made]:
    """Parameter -> what the command makes there, for the parameters that are marked so."""
    hints = get_type_hints(inspect.unwrap(command.callback), include_extras=True)
    marks = ((name, [one for one in get_args(hint) if isinstance(one, Made)]) for name, hint in hints.items())
    return {name: found[0] for name, found in marks if found}


def _number_or_text(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        return f"{value} is too large a number"
    if isinstance(value, str | Path) and "\0" in str(value):
        return f"{str(value)!r} has a NUL character; no name may have one"
    return ""


def _path(path: Path, made: Made | None) -> str:
    """What is wrong with a path before it is opened; empty when nothing is known to be."""
    try:
        if max(len(os.fsencode(part)) for part in path.absolute().parts) > _LONGEST_NAME:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "" if made is None else _place(path)
    except OSError as error:
        return explain_os_error(error, path)
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISSOCK(mode)):
        return f"{path}: is a pipe or a device; name a file or a folder"
    if made is Made.FILE and not stat.S_ISREG(mode):
        return f"{path}: is not a regular file; name a file"
    if made is Made.FOLDER and not stat.S_ISDIR(mode):
        return f"{path}: is not a folder; name a folder"
    return "" if made is None else _place(path)


def _place(path: Path) -> str:
    error = why_not_written(path)
    return "" if error is None else explain_os_error(error, path)
