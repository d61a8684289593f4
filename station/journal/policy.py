"""How a journal's files are kept: when a segment is closed, what is archived, what is removed.

Everything here runs in the journal's keeper thread, beside the decision path.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import sqlite3
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from drivers import heartbeat
from station.files import replacing
from station.journal.cursors import cursors
from station.journal.errors import JournalError, explain
from station.journal.events import utc_ago, utc_text
from station.journal.schema import HEAD_PERIOD_S, Head, connect
from station.journal.segments import (
    Segment,
    catalogue,
    describe,
    finish,
    is_finished,
    read_index,
    write_index,
)
from station.journal.values import Values

log = logging.getLogger(__name__)

CHECKPOINT_EVENTS = 250
"""After so many events the WAL is copied into the database, beside the decision path,"""
CHECKPOINT_S = 0.5
"""and after this time: what only the WAL holds is lost with it."""
WAL_LIMIT_BYTES = 64 << 20
"""At this size the copying stops the writers until it is done: the disk is slower than the line."""
KEEPING_S = 3600.0
"""What a round of keeping the files in order may take: closed files of gigabytes are copied and read back."""
POLICY_PERIOD_S = 600.0
"""How often the policy looks for segments that may be removed."""


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How large a segment grows, and how long sealed ones stay; 0 is for ever."""

    segment_parts: int = 200_000
    """The most parts in a segment, which is then closed;"""
    segment_mb: int = 500
    """the largest size of a segment, MB, which is then closed."""
    keep_days: float = 0.0
    """Sealed segments whose last part is older are removed."""
    keep_gb: float = 0.0
    """The oldest sealed segments are removed while the journal takes more than this, GB."""
    archive: Path | None = None
    """Where a segment is copied, and read back, before it is removed; None removes it without a copy."""


class _JournalFiles(Protocol):
    """The journal, as far as its keeper thread uses it."""

    path: Path

    @property
    def head(self) -> Head: ...
    @property
    def settings(self) -> JournalSettings: ...
    @property
    def segment_path(self) -> Path: ...
    @property
    def station(self) -> str: ...
    def remember_head(self) -> None: ...
    def look_at_files(self) -> None: ...
    def require_row(self) -> None: ...
    def forget(self, segment: Path) -> None: ...
    def change_segment_when_full(self) -> None: ...
    def checkpoint_alone(self, connection: sqlite3.Connection) -> None: ...
    def write_removal(self, values: Values) -> None: ...


class Keeper:
    """What a journal's keeper thread does between two parts."""

    def __init__(self, journal: _JournalFiles) -> None:
        self._journal = journal
        self._connection: sqlite3.Connection | None = None
        self._path = journal.segment_path
        self._copied_seq = journal.head.seq
        self._looked = self._copied_at = time.monotonic()
        self._policy_at = self._looked
        self._unfinished = True
        self._said = ""

    def look(self) -> None:
        """One round. Raises :class:`JournalError`, sqlite3.Error or OSError."""
        self._journal.look_at_files()
        self._checkpoint()
        now = time.monotonic()
        if now - self._looked < HEAD_PERIOD_S:
            return
        self._looked = now
        self._journal.remember_head()
        self._journal.require_row()
        heartbeat.beat(KEEPING_S)
        self._journal.change_segment_when_full()
        if self._unfinished:
            self._unfinished = not finish_all(self._journal.path, self._journal.station)
        if now >= self._policy_at and self.remove_old():
            self._policy_at = now + POLICY_PERIOD_S

    def close(self) -> None:
        """Give the file back."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _checkpoint(self) -> None:
        journal, now = self._journal, time.monotonic()
        if journal.segment_path != self._path:
            self._path = journal.segment_path
            self.close()
            self._unfinished = True
            self._policy_at = now
        path, seq = self._path, journal.head.seq
        waiting = seq - self._copied_seq
        if not waiting or (waiting < CHECKPOINT_EVENTS and now - self._copied_at < CHECKPOINT_S):
            return
        self._copied_at = now
        if self._connection is None:
            self._connection = connect(path)
        _, written, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if written == copied:  # else a reader still needs a page of before: the next round goes on
            self._copied_seq = seq
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size > WAL_LIMIT_BYTES:
            journal.checkpoint_alone(self._connection)

    def remove_old(self) -> bool:
        """Remove what the policy no longer keeps, oldest first, and nothing that a cursor still needs.

        False where a program still reads a segment that is to go: look again soon.
        """
        settings = self._journal.settings
        if not settings.keep_days and not settings.keep_gb:
            return True
        segments = catalogue(self._journal.path)
        there = [one for one in segments if not one.removed_at]
        total = sum(one.bytes for one in there)
        oldest = utc_text(datetime.now(UTC) - timedelta(days=settings.keep_days))
        for one in there[:-1]:
            old = settings.keep_days and one.last_opened < oldest
            large = settings.keep_gb and total > settings.keep_gb * 1e9
            if not old and not large:
                return True
            waiting = [cursor.name for cursor in cursors(self._journal.path) if cursor.seq < one.last_seq]
            if waiting:
                said = f"{one.file} is kept: the cursor {waiting[0]} still needs it"
                if said != self._said:
                    log.warning("journal %s: %s", self._journal.path, said)
                self._said = said
                return True
            if not self._remove(one):
                return False
            total -= one.bytes
        return True

    def _remove(self, one: Segment) -> bool:
        """Archive, say so in the chain, remove; in this order, so that a kill loses nothing."""
        journal = self._journal
        file = journal.path.with_name(one.file)
        if not is_finished(file):
            return False  # a program still reads it
        archived = ""
        if journal.settings.archive is not None:
            archived = str(archive(file, journal.settings.archive))
        journal.write_removal(
            {
                "through": one.number,
                "file": one.file,
                "seq": one.last_seq,
                "head": one.head,
                "archived_to": archived,
            }
        )
        gone = replace(one, removed_at=utc_ago(0), archived_to=archived)
        known = [gone if other.number == one.number else other for other in catalogue(journal.path)]
        write_index(journal.path, journal.head.journal_id, journal.station, [o for o in known if o.sealed])
        journal.forget(file)
        file.unlink()
        log.info("journal %s: %s is removed by the policy", journal.path, one.file)
        return True


def archive(file: Path, folder: Path) -> Path:
    """Copy a sealed segment and read it back; the copy's path. Raises :class:`JournalError`."""
    target = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(target) as fresh:
            shutil.copyfile(file, fresh)
        with file.open("rb") as original, target.open("rb") as copied:
            same = hashlib.file_digest(original, "sha256").digest() == (
                hashlib.file_digest(copied, "sha256").digest()
            )
    except OSError as error:
        raise explain(error, target) from error
    if not same:
        raise JournalError(f"journal {file}: its copy {target} differs when it is read back: check that disk")
    return target


def finish_all(journal: Path, station: str) -> bool:
    """Bring every sealed segment into one plain file and into the index; False while one is still read."""
    segments = [one for one in catalogue(journal) if one.sealed]
    whole, changed = True, [one.number for one in segments] != [one.number for one in read_index(journal)[1]]
    for index, one in enumerate(segments):
        file = journal.with_name(one.file)
        if one.removed_at or is_finished(file):
            continue
        if finish(file):
            segments[index], changed = describe(file, one.number), True
        else:
            whole = False
    if changed:
        write_index(journal, read_index(journal)[0], station, segments)
    return whole
