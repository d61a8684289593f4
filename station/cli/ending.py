"""How ``station`` and ``retrain`` end: one table of exit codes, and every error as words on stderr."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import NoReturn


class ExitCode(IntEnum):
    """The exit codes of ``station`` and ``retrain``; docs/exit-codes.md has them by command."""

    DONE = 0
    FINDINGS = 1
    NOT_DONE = 2
    FAULTS = 3
    CRASHED = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS = {
    ExitCode.DONE: "done, and nothing is wrong with what was looked at",
    ExitCode.FINDINGS: "done, and something is wrong with what was looked at: parts rejected, findings, a "
    "test that failed",
    ExitCode.NOT_DONE: "not done: a wrong option, or a file, device or setting that cannot be used",
    ExitCode.FAULTS: "done in part: pictures that could not be inspected, or a thread of the line that died",
    ExitCode.CRASHED: "an error of this software",
    ExitCode.INTERRUPTED: "ended by Ctrl-C",
    ExitCode.PIPE_CLOSED: "the program that reads the output has ended",
}
EPILOG = "Exit codes: " + "; ".join(f"{code.value} {text}" for code, text in MEANINGS.items()) + "."

_SURROUNDINGS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of the machine and not of a path; the system gives no file name with them."""


def run(name: str, app: Callable[[], object]) -> None:
    """Run a command line and end the process; only an error of this software shows a traceback."""
    from drivers.errors import InspectionError, explain_os_error
    from station.cli.logs import LogFormat, formatter
    from station.cli.text import printable

    writer = logging.StreamHandler()
    writer.setFormatter(formatter(LogFormat.AUTO, sys.stderr))
    logging.basicConfig(level=logging.WARNING, handlers=[writer])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names that are not UTF-8
    try:
        app()
    except SystemExit as end:
        # typer ends with 1 where a reader of our output has gone.
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(ExitCode.PIPE_CLOSED)
        raise
    except InspectionError as error:
        print(f"{name}: {printable(error)}", file=sys.stderr)
        sys.exit(ExitCode.NOT_DONE)
    except OSError as error:
        if error.filename is None and error.errno not in _SURROUNDINGS:
            _crash(name, error)
        print(f"{name}: {printable(explain_os_error(error))}", file=sys.stderr)
        sys.exit(ExitCode.NOT_DONE)
    except Exception as error:
        _crash(name, error)


def leave_threads(code: int) -> None:
    """End the process now, with ``code``, where a thread that was given up still runs; else return.

    Python tears such a thread out of the library in which it is as soon as it comes back from there. Through
    frames of C++ that aborts the process, after a stop that was clean.
    """
    if any(thread.daemon for thread in threading.enumerate() if thread is not threading.current_thread()):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _crash(name: str, error: Exception) -> NoReturn:
    traceback.print_exception(error)
    print(
        f"{name}: an error of this software ({type(error).__name__}); please report the lines above",
        file=sys.stderr,
    )
    sys.exit(ExitCode.CRASHED)
