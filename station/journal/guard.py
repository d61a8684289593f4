"""The files of a journal while it is written: still the same ones, none cut, and nobody else writes them.

Cheap enough for every write: a ``stat`` per file, and one number that SQLite keeps (``PRAGMA data_version``
changes when another connection has committed).
"""

from __future__ import annotations

import ctypes
import logging
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

RESCUE_S = 2.0
"""How long a rescue waits for others that read or copy the segment."""


class FilesGuard:
    """What this process, the only writer, knows of its files. The caller holds the writer's lock."""

    def __init__(self, journal: Path, sealed: Iterable[Path]) -> None:
        self._journal = journal
        self._sealed = set(sealed)
        self._connection: sqlite3.Connection | None = None
        self._segment = journal
        self._files: list[Path] = []
        self._seen: dict[Path, tuple[int, int]] = {}
        """File -> inode, and the least size that it can have."""
        self._version = 0

    def watch(self, connection: sqlite3.Connection, segment: Path) -> None:
        """A segment is written from now on."""
        if self._connection is not None:
            self._sealed.add(self._segment)
        self._connection, self._segment = connection, segment
        self._files = [segment.with_name(segment.name + ending) for ending in ("", "-wal", "-shm")]
        self._version = self._data_version()
        self._seen = {}
        self.written()

    def written(self) -> None:
        """Take note of the files as this process has just left them."""
        for file in self._files:
            try:
                found = os.stat(file)
            except FileNotFoundError:
                continue  # SQLite makes it with the first write; or somebody deleted it during this one
            inode, size = self._seen.get(file, (found.st_ino, 0))
            if inode == found.st_ino:
                self._seen[file] = inode, max(size, found.st_size)

    def copied(self) -> None:
        """Take note that this process has copied the WAL, which begins anew."""
        self._version = self._data_version()
        for file, (inode, _) in self._seen.items():
            self._seen[file] = inode, 0
        self.written()

    def forget(self, segment: Path) -> None:
        """A sealed segment is removed by the policy."""
        self._sealed.discard(segment)

    def problem(self) -> str:
        """What happened to the files that are written; empty when nothing did."""
        if not os.path.exists(self._journal):
            return f"{self._journal.name} was removed or replaced while the station ran"
        for file, (inode, size) in self._seen.items():
            try:
                found = os.stat(file)
            except FileNotFoundError:
                return f"{file.name} was removed or replaced while the station ran"
            if found.st_ino != inode:
                return f"{file.name} was removed or replaced while the station ran"
            if found.st_size < size:
                return f"{file.name} was cut from {size} to {found.st_size} bytes while the station ran"
        return ""

    def hole(self) -> str:
        """Whether the WAL was cut during a write, and so has a hole; empty when it is whole."""
        wal = self._files[1]
        try:
            descriptor = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        try:
            size = os.fstat(descriptor).st_size
            hole = os.lseek(descriptor, 0, os.SEEK_HOLE) if size else size
            # No page of a database is empty, whatever a file system calls a hole.
            whole = hole >= size or any(os.pread(descriptor, 512, hole))
        finally:
            os.close(descriptor)
        return "" if whole else f"{wal.name} was cut while the station ran"

    def foreign_write(self) -> str:
        """Whether another program has written into the segment; empty when none did. Raises sqlite3.Error."""
        if self._data_version() == self._version:
            return ""
        return f"another program wrote into {self._segment.name} while the station ran"

    def missing(self) -> str:
        """Which sealed segment is gone; empty when all are there."""
        gone = sorted(file.name for file in self._sealed if not os.path.exists(file))
        return f"its segment {gone[0]} was removed while the station ran" if gone else ""

    def rescue(self) -> None:
        """Bring what only this process still holds into the database file, where that is safe.

        A WAL that was deleted lives on as long as it is open here: it is copied. One that was cut is not:
        copied in part, it would damage the database; closing the file would do so too, so it stays open.
        A checkpoint that another thread has just begun, or a reader, lets only a part be copied: it is tried
        again for :data:`RESCUE_S`.
        """
        connection = self._connection
        assert connection is not None
        if self.hole() or not self._is_whole():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
            return
        end = time.monotonic() + RESCUE_S
        while True:
            busy, written, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not busy and written == copied:
                return
            if time.monotonic() > end:
                log.error(
                    "journal %s: a program still reads %s: what was written last is not yet in that file: "
                    "stop that program before this process ends",
                    self._journal,
                    self._segment.name,
                )
                return
            time.sleep(0.01)

    def _is_whole(self) -> bool:
        """Whether the database file is in its place, and the WAL, if it is still there, was not cut."""
        for file, (inode, size) in self._seen.items():
            try:
                found = os.stat(file)
            except FileNotFoundError:
                continue
            if found.st_ino == inode and found.st_size < size:
                return False
        return True

    def _data_version(self) -> int:
        assert self._connection is not None
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
