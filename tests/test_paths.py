"""Every path that `station` or `retrain` takes may be wrong in every way: words and exit code 2 follow.

The commands and their paths are found in the parsers, so that a new command is covered by itself.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

from retraining.cli import app as retrain
from station.cli import app as station
from station.cli.ending import ExitCode, run
from station.cli.parameters import Made, paths_made

APPS = {"station": typer.main.get_command(station), "retrain": typer.main.get_command(retrain)}
ROOT = Path(__file__).parents[1]


def commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
    for name, one in (below or {}).items():
        yield from commands((*words, name), one)


COMMANDS = dict(found for name, app in APPS.items() for found in commands((name,), app))


def takes_path(command: Any, name: str) -> bool:
    return "Path" in str(get_type_hints(command.callback).get(name))


CASES = [
    (words, str(parameter.name))
    for words, command in COMMANDS.items()
    for parameter in command.params
    if takes_path(command, str(parameter.name))
]


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Nothing is waited for, and no work is begun that could take long."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"the command still runs after {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def arguments(command: Any, name: str, path: str) -> list[str]:
    """The command line with one path; what else it needs is a word, a number or a folder."""
    line: list[str] = []
    for parameter in command.params:
        mine = parameter.name == name
        names_a_path = parameter.param_type_name == "argument" and takes_path(command, str(parameter.name))
        if not mine and not parameter.required and not names_a_path:
            continue
        known = {"recipe": "servo-motor-housing", "target": "parts.csv"}
        other = "there" if takes_path(command, str(parameter.name)) else known.get(str(parameter.name), "1")
        value = path if mine else other
        line += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return line


def ended(words: tuple[str, ...], line: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [words[0], *words[1:], *line])
    with at_most(60), pytest.raises(SystemExit) as end:
        run(words[0], APPS[words[0]])
    return int(end.value.code or 0)


def below_a_file(folder: Path) -> Path:
    (folder / "a-file").write_text("text")
    return folder / "a-file" / "below"


def too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


def loop(folder: Path) -> Path:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    return folder / "one"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def device(folder: Path) -> Path:
    return Path("/dev/zero")


def not_utf_8(folder: Path) -> Path:
    return folder / os.fsdecode(b"\xff") / ("x" * 300)


def missing(folder: Path) -> Path:
    return folder / "nothing" / "here"


def dangling(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere" / "at" / "all")
    return folder / "link"


def socket_(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "socket"))
    return folder / "socket"


def file(folder: Path) -> Path:
    (folder / "some.txt").write_text("not what is wanted")
    return folder / "some.txt"


def binary(folder: Path) -> Path:
    (folder / "some.bin").write_bytes(bytes(range(256)) * 40)
    return folder / "some.bin"


def folder_of_pipes(folder: Path) -> Path:
    (folder / "pipes").mkdir()
    for name in ("dataset.json", "truth.jsonl", "pool.json", "run.json", "surfaces.json", "engine.yaml",
                 "a.png", "a.xml", "servo-motor-housing.yaml", "model.onnx"):  # fmt: skip
        os.mkfifo(folder / "pipes" / name)
    return folder / "pipes"


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


ALWAYS_WRONG = (below_a_file, too_long, loop, pipe, device, not_utf_8)
"""Wrong for what is read and for what is made."""
WRONG_TO_READ = (missing, dangling, socket_, file, binary, empty_folder, folder_of_pipes)
WRONG_TO_MAKE = {Made.FILE: (empty_folder, dangling, socket_), Made.FOLDER: (file, dangling, socket_)}


@pytest.mark.parametrize(
    ("words", "name"), CASES, ids=lambda one: " ".join(one) if isinstance(one, tuple) else one
)
def test_a_path_that_cannot_be_used_is_named_and_ends_with_exit_code_2(
    words: tuple[str, ...],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = COMMANDS[words]
    made = paths_made(command).get(name)
    kinds: tuple[Callable[[Path], Path], ...] = (
        *ALWAYS_WRONG,
        *(WRONG_TO_READ if made is None else WRONG_TO_MAKE[made]),
    )
    monkeypatch.setenv("COLUMNS", "1000")
    for kind in kinds:
        here = tmp_path / kind.__name__
        (here / "there").mkdir(parents=True)
        monkeypatch.chdir(here)
        for folder in ("recipes", "engines", "config", "experiments"):
            (here / folder).symlink_to(ROOT / folder)
        path = kind(here)
        code = ended(words, arguments(command, name, str(path)), monkeypatch)
        said = "".join(capsys.readouterr())
        about = f"{' '.join(words)} {name} {kind.__name__}: {code}\n{said}"
        assert code in (ExitCode.NOT_DONE, ExitCode.FAULTS), about
        assert "Traceback" not in said, about
        assert any(
            one in said for one in (str(path), path.name, "nowhere", "\\xff", "there", "experiments")
        ), about
