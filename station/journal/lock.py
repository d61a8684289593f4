"""The lock of a journal's writer, which the kernel releases when the process ends, even after a kill."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from station.journal.schema import JournalError

LOCK_PATIENCE_S = 0.3
"""A reader that looks who writes holds the lock for a moment."""


def lock_file(journal: Path) -> Path:
    """The file whose lock says that a station writes this journal."""
    return journal.with_name(journal.name + ".lock")


def take_lock(path: Path) -> int:
    """Lock the journal for this process until it ends; the kernel releases it, even after a kill."""
    file = lock_file(path)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise JournalError(
                f"journal {path}: process {holder} already writes it: stop that station, or name another file"
            ) from None
        break
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def writer_of(path: Path) -> str:
    """The process that writes this journal now; empty when none does."""
    try:
        descriptor = os.open(lock_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
    else:
        return ""
    finally:
        os.close(descriptor)
