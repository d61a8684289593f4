"""The commands that people use, each as a process of its own, and what it printed.

The processes are forked from one that has imported the libraries and does nothing else, so that thirty
commands do not take the time of thirty imports.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.updater import __main__ as updater
from retraining import cli as workshop
from retraining.errors import WorkshopError
from station import cli as station
from station.cli.ending import ExitCode

STATION, RETRAIN, UPDATER = station.main, workshop.main, updater.main

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        "retraining.circle.commands",
        "retraining.product.card",
        "torch._dynamo",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "deploy.updater.update",
    ]
)
_used_s = [0.0]
_log = logging.getLogger(__name__)
STOP_S = 120.0
"""What a command may take to end when the circle is broken off: a training writes its checkpoint."""


class StepError(WorkshopError):
    """A step of the circle did not do what it must."""


class RefusedError(StepError):
    """A command ended in order with 'not done'; ``said`` are its last lines."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


def get_ready() -> None:
    """Let the libraries be imported in the background, for the first command."""
    forkserver.ensure_running()


def call(command: Callable[[], object], *words: object, log: Path, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command to its end and return what it printed; all of it is added to ``log``.

    ``command``: ``STATION``, ``RETRAIN`` or ``UPDATER``. Raises :class:`StepError` with its last lines for
    another exit code than ``codes``, :class:`RefusedError` for `not done`.
    """
    given = [str(word) for word in words]
    with TemporaryDirectory() as folder:
        process = _processes.Process(target=_run, args=(command, given, folder))
        process.start()
        try:
            process.join()
        finally:
            if process.is_alive():  # the circle is broken off
                _interrupt(process)
            out, err, used = (_read(Path(folder) / name) for name in ("out", "err", "used"))
            _used_s[0] += float(used or 0)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(f"$ {' '.join(given)}\n{out}{err}[{process.exitcode}]\n\n")
    if process.exitcode not in codes:
        said = "\n".join((out + err).strip().splitlines()[-8:])
        message = f"`{' '.join(given)}` ended with {process.exitcode}; all of it is in {log}:\n{said}"
        raise RefusedError(message, said) if process.exitcode == ExitCode.NOT_DONE else StepError(message)
    return out


def _interrupt(process: ForkServerProcess) -> None:
    """Pass Ctrl-C on to a command and what it began, and kill what is left after another one, or `STOP_S`."""
    if process.pid is None:
        return
    _log.warning("broken off: the command is ending, in %g s at most; Ctrl-C again ends it at once", STOP_S)
    try:
        _send(process.pid, signal.SIGINT)
        process.join(STOP_S)
    finally:
        _send(process.pid, signal.SIGKILL)
        process.join()


def _send(pid: int, what: signal.Signals) -> None:
    """To the command's group, or to the command alone where it does not lead one yet."""
    for send in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            send(pid, what)
            return


def _run(command: Callable[[], object], words: list[str], folder: str) -> None:
    """The command, in its process: words as from a shell, output and processor time into files.

    It leads a group of processes: Ctrl-C of a terminal reaches it once, from the process that waits for it.
    """
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
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
