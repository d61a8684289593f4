"""Named cursors: how far a reader of the journal's events has come, kept across restarts of both.

The journal is the only queue of records: who sends them on - telemetry, the rare-defect log, the hand-off -
reads :meth:`JournalReader.events` after its cursor, delivers, and then moves the cursor. What was delivered
and not yet noted is read again after a crash: delivery is at least once. No segment is removed while a
cursor still needs it.

A cursor is a small file beside the journal, ``journal.db.cursor.NAME``, written whole and with fsync. It
holds the digest of the event it stands on, so that a cursor of another journal, or a journal put back from
a copy, is an error and no silent gap.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from station.files import sync_folder, write_json
from station.journal.errors import JournalError, explain
from station.journal.events import utc_ago
from station.journal.reading import JournalReader

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last event that one reader has delivered."""

    journal: Path
    name: str
    journal_id: str
    seq: int
    """The last event that was delivered; 0 before the first one."""
    digest: str
    """Its digest, hex; empty for 0."""
    moved_at: str
    """When it was moved: UTC, ISO 8601."""

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return _file(self.journal, self.name)


def open_cursor(journal: Path, name: str, *, at_head: bool = False) -> Cursor:
    """The cursor of this name, made before the first event, or at the head, where there is none yet.

    Raises :class:`JournalError` when its file is damaged or belongs to another journal.
    """
    file = _file(journal, name)
    if file.exists():
        cursor = _read(journal, file)
        with JournalReader(journal) as reader:
            _require_fit(cursor, reader)
        return cursor
    with JournalReader(journal) as reader:
        head = reader.head()
    seq, digest = (head.seq, head.digest) if at_head else (0, "")
    cursor = Cursor(journal, name, head.journal_id, seq, digest, utc_ago(0))
    _write(cursor)
    return cursor


def advance(cursor: Cursor, seq: int) -> Cursor:
    """Move a cursor on to ``seq``, durably; the cursor as it stands then.

    Raises :class:`JournalError` when it would go back, or past the journal's last event, and when the
    cursor's file was moved by somebody else or deleted.
    """
    where = f"cursor {cursor.name} of journal {cursor.journal}"
    if seq < cursor.seq:
        raise JournalError(f"{where}: is at event {cursor.seq} and cannot go back to {seq}")
    if _read(cursor.journal, cursor.file).seq != cursor.seq:
        raise JournalError(f"{where}: was moved by another process: let only one process use a cursor")
    if seq == cursor.seq:
        return cursor
    with JournalReader(cursor.journal) as reader:
        head = reader.head()
        if seq > head.seq:
            raise JournalError(
                f"{where}: the journal ends with event {head.seq}; there is no event {seq} yet"
            )
        digest = reader.digest(seq)
    moved = Cursor(cursor.journal, cursor.name, cursor.journal_id, seq, digest, utc_ago(0))
    _write(moved)
    return moved


def cursors(journal: Path) -> list[Cursor]:
    """Every cursor of a journal, by name. Raises :class:`JournalError` when a file is damaged."""
    prefix = f"{journal.name}.cursor."
    try:
        files = sorted(file for file in journal.parent.iterdir() if file.name.startswith(prefix))
    except OSError as error:
        raise explain(error, journal) from error
    return [_read(journal, file) for file in files]


def delete_cursor(journal: Path, name: str) -> None:
    """Delete a cursor; the journal then no longer keeps files for it. Raises :class:`JournalError`."""
    file = _file(journal, name)
    try:
        file.unlink()
        sync_folder(file.parent)
    except FileNotFoundError:
        there = ", ".join(one.name for one in cursors(journal)) or "none"
        raise JournalError(f"journal {journal}: has no cursor {name!r}; its cursors are: {there}") from None
    except OSError as error:
        raise explain(error, file) from error


def _require_fit(cursor: Cursor, reader: JournalReader) -> None:
    """Refuse a cursor that this journal did not give. Raises :class:`JournalError`."""
    head = reader.head()
    problem = ""
    if cursor.journal_id != head.journal_id:
        problem = "belongs to another journal"
    elif cursor.seq > head.seq:
        problem = f"stands on event {cursor.seq}, the journal ends with event {head.seq}"
    elif cursor.seq and reader.is_there(cursor.seq) and reader.digest(cursor.seq) != cursor.digest:
        problem = f"stands on an event {cursor.seq} that the journal does not hold"
    if problem:
        raise JournalError(
            f"{cursor.file}: {problem}: put the right journal back, or delete this file to begin again "
            "with the oldest event"
        )


def _file(journal: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise JournalError(
            f"cursor {name!r}: write a name of at most 64 letters, digits, - and _, a letter or digit first"
        )
    return journal.with_name(f"{journal.name}.cursor.{name}")


def _read(journal: Path, file: Path) -> Cursor:
    name = file.name.removeprefix(f"{journal.name}.cursor.")
    try:
        values = json.loads(file.read_text())
        seq, digest = int(values["seq"]), str(values["digest"])
        if seq < 0 or (seq and not re.fullmatch("[0-9a-f]{64}", digest)):
            raise ValueError
        return Cursor(journal, name, str(values["journal_id"]), seq, digest, str(values["moved_at"]))
    except FileNotFoundError:
        raise JournalError(
            f"{file}: the cursor was deleted: open it again to begin with the oldest event"
        ) from None
    except OSError as error:
        raise explain(error, file) from error
    except (ValueError, KeyError, TypeError):
        raise JournalError(
            f"{file}: is not a cursor of a journal, perhaps it was edited: put its backup back, or delete it "
            "to begin again with the oldest event"
        ) from None


def _write(cursor: Cursor) -> None:
    values = {
        "journal_id": cursor.journal_id,
        "seq": cursor.seq,
        "digest": cursor.digest,
        "moved_at": cursor.moved_at,
    }
    try:
        write_json(cursor.file, values, indent=None)
    except OSError as error:
        raise explain(error, cursor.file) from error
