"""Opening what must be a regular file: a pipe or a device is an error, and nothing is waited for."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path


def open_regular(path: Path) -> io.BufferedReader:
    """The file for reading. Raises OSError, with ``path``, also for a pipe, a device or a folder."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is a pipe or a device", str(path))
    return file


def read_text(path: Path) -> str:
    """The text of a regular file in UTF-8. Raises OSError and UnicodeDecodeError."""
    with open_regular(path) as file:
        return file.read().decode("utf-8")


def _without_waiting(path: str, flags: int) -> int:
    """Open a pipe at once too, though nobody writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)
