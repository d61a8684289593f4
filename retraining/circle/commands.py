"""The commands that people use, each as a process of its own, and what it printed.

The processes are forked from one that has imported the libraries and does nothing else, so that thirty
commands do not take the time of thirty imports.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.updater import __main__ as updater
from retraining import cli as workshop
from retraining.errors import WorkshopError
from station import cli as station

STATION, RETRAIN, UPDATER = station.main, workshop.main, updater.main

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["retraining.circle.commands", "retraining.product.card", "torch._dynamo", "deploy.updater.update"]
)
_used_s = [0.0]


class StepError(WorkshopError):
    """A step of the circle did not do what it must."""


def call(command: Callable[[], object], *words: object, log: Path, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command to its end and return what it printed; all of it is added to ``log``.

    ``command``: ``STATION``, ``RETRAIN`` or ``UPDATER``. Raises :class:`StepError` with its last lines for
    another exit code than ``codes``.
    """
    given = [str(word) for word in words]
    with TemporaryDirectory() as folder:
        process = _processes.Process(target=_run, args=(command, given, folder))
        process.start()
        process.join()
        out, err, used = (_read(Path(folder) / name) for name in ("out", "err", "used"))
    _used_s[0] += float(used or 0)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(given)}\n{out}{err}[{process.exitcode}]\n\n")
    if process.exitcode not in codes:
        said = "\n".join((out + err).strip().splitlines()[-8:])
        raise StepError(f"`{' '.join(given)}` ended with {process.exitcode}; all of it is in {log}:\n{said}")
    return out


def _run(command: Callable[[], object], words: list[str], folder: str) -> None:
    """The command, in its process: words as from a shell, output and processor time into files."""
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    sys.argv = [command.__module__, *words]
    try:
        command()
    finally:
        (Path(folder) / "used").write_text(str(_rusage_s()), encoding="ascii")


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def cpu_s() -> float:
    """Processor time of this process, of its children and of all commands so far, s."""
    return _rusage_s() + _used_s[0]


def _rusage_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
