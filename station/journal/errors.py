"""What can go wrong with a journal's files, in words and with a remedy."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from drivers.errors import InspectionError, os_remedy, why_not_written

_OF_A_PATH = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.EDQUOT,
    errno.EEXIST, errno.EMFILE, errno.ENFILE, errno.ESTALE,
)  # fmt: skip
BUSY_TIMEOUT_S = 1.0
"""How long a write waits for another program that holds SQLite's write lock."""


class JournalError(InspectionError):
    """The journal cannot be used as asked; the message says what to do about it."""


def explain(error: sqlite3.Error | OSError, path: Path, *, sealed: bool = False) -> JournalError:
    """The error with a remedy; ``sealed`` for a segment that is no longer written."""
    code = getattr(error, "sqlite_errorname", "") or ""
    unopened = code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"))
    cause = error if isinstance(error, OSError) else why_not_written(path) if unopened else None
    if code == "SQLITE_FULL" or (cause is not None and cause.errno == errno.ENOSPC):
        full = os_remedy(OSError(errno.ENOSPC, ""), path)
        remedy = f"the disk is full: {full}, or move the journal to another disk"
    elif unopened and cause is None:
        remedy = f"it cannot be opened: name a file that SQLite can open, in a folder such as {path.parent}"
    elif isinstance(cause, PermissionError):
        remedy = f"it cannot be opened: give this user permission to read and write in {path.parent}"
    elif cause is not None and cause.errno in _OF_A_PATH:
        remedy = f"{cause.strerror}: {os_remedy(cause, path)}"
    elif sealed and code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")):
        remedy = (
            f"this segment is damaged: put its copy from the archive or a backup back as {path.name}; "
            "the other segments can be read, and `station journal audit` shows what is proven"
        )
    elif code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        remedy = (
            f"the file is damaged or not a journal: move {journal_name(path)}* away and start again; "
            "this begins a new journal, and `station journal audit` shows what is left of the old one"
        )
    elif code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        remedy = (
            f"another program holds its write lock for more than {BUSY_TIMEOUT_S:g} s: close that program"
        )
    elif code.startswith("SQLITE_IOERR"):
        remedy = (
            "the disk did not store the data: check it (dmesg, smartctl), quotas and mounts, then start again"
        )
    else:
        remedy = "check the disk and the file, then start again"
    return JournalError(f"journal {path}: {error}: {remedy}")


def journal_name(path: Path) -> str:
    """The name of the journal that a file belongs to: ``journal.db`` for ``journal.db.000003``."""
    stem, dot, number = path.name.rpartition(".")
    return stem if dot and number.isdigit() and len(number) == 6 else path.name


def missing_segment(path: Path) -> JournalError:
    """A file in the middle of the journal is not there."""
    return JournalError(
        f"journal {path.with_name(journal_name(path))}: its segment {path.name} is missing: put it back "
        f"from the archive or a backup; or, if there is none, see `station journal accept-loss --help`"
    )
