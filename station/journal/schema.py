"""The journal's files: tables, how they are opened, and where a chain ends.

A journal is a row of *segments*, ``journal.db.000001``, ``journal.db.000002`` …: SQLite files, of which the
last one is written (WAL, synchronous=FULL: a commit is on the disk when it returns) and the others are
sealed. ``journal.db`` itself is their index (``station.journal.segments``). Beside them stand ``.lock``
(held by the station that writes) and ``.head`` (the last event known to be written, by which a start and
the audit see a file that was cut short).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from station.files import write_file
from station.journal.errors import BUSY_TIMEOUT_S, JournalError, explain, journal_name, missing_segment
from station.journal.events import SHOWN_EVENTS, Event, digest_of, genesis
from station.journal.record import (
    COLUMNS,
    ENGINE_COLUMNS,
    OPENED_COLUMNS,
    PART_COLUMNS,
    RECEIPT_COLUMNS,
    SETUP_COLUMNS,
    VERDICT_COLUMNS,
    sql_column,
)

SCHEMA_VERSION = 3
"""1: events and parts. 2: parts with ``written_ms``, ``told_ms``, the region's lean; head; view records.
3: segments and their index, packed payloads, setups, engines and texts, events of the station."""

APPLICATION_ID = 0x5354_4A4C
"""``STJL`` in the file's header: this SQLite file is a journal of a station."""


def _columns(names: Iterable[str]) -> str:
    return ",\n    ".join(sql_column(name) for name in names)


_EVENTS = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    record_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    payload TEXT NOT NULL,
    scores BLOB,
    digest BLOB NOT NULL
);
CREATE TRIGGER events_are_not_edited BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events of the journal are only ever appended'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events of the journal are only ever appended'); END;
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, digest BLOB NOT NULL);
"""

HEAD_BYTES = 256
"""Of the side file with the head: far less than a page, so that a kill cannot tear it."""
HEAD_PERIOD_S = 1.0
"""How often the side file with the head is brought to the disk, and the files are looked at."""

IS_STATION_EVENT = f"kind IN ({', '.join(repr(kind) for kind in SHOWN_EVENTS)})"
"""The condition of the index ``events_of_the_station``. A segment of another release may have another one,
and a query must say the segment's own to use it: :func:`station_condition`."""

_SOURCES = {
    **dict.fromkeys(("record_id", *OPENED_COLUMNS, *VERDICT_COLUMNS, *RECEIPT_COLUMNS), "parts"),
    **dict.fromkeys(("recovered", "verdict_seq"), "parts"),
    **dict.fromkeys(SETUP_COLUMNS, "setups"),
    **dict.fromkeys(ENGINE_COLUMNS, "engines"),
}
RECORD_COLUMNS = ", ".join(f"{_SOURCES[name]}.{name}" for name in COLUMNS)
"""All columns of a record, as a SELECT over :data:`RECORD_TABLES` names them."""
RECORD_TABLES = "parts JOIN setups ON setups.id = parts.setup LEFT JOIN engines ON engines.id = parts.engine"

_PARTS = f"""
CREATE TABLE setups (
    id INTEGER PRIMARY KEY,
    {_columns(SETUP_COLUMNS)}
);
CREATE TABLE engines (
    id INTEGER PRIMARY KEY,
    {_columns(ENGINE_COLUMNS)}
);
CREATE TABLE texts (digest TEXT PRIMARY KEY, what TEXT NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE parts (
    record_id INTEGER PRIMARY KEY,
    setup INTEGER NOT NULL,
    {_columns(OPENED_COLUMNS)},
    engine INTEGER,
    {_columns(VERDICT_COLUMNS)},
    {_columns(RECEIPT_COLUMNS)},
    recovered INTEGER NOT NULL,
    verdict_seq INTEGER,
    CHECK (outcome IN ('accept', 'reject', 'fault'))
);
CREATE INDEX events_of_the_station ON events (kind, record_id) WHERE {IS_STATION_EVENT};
CREATE INDEX parts_by_time ON parts (opened_at);
CREATE INDEX parts_by_outcome ON parts (outcome);
CREATE INDEX parts_by_class ON parts (class_name);
CREATE INDEX parts_by_part ON parts (part_id);
CREATE INDEX parts_unfinished ON parts (record_id) WHERE acknowledged IS NULL;
CREATE VIEW records AS
    SELECT {RECORD_COLUMNS}, events.scores AS scores
    FROM {RECORD_TABLES} LEFT JOIN events ON events.seq = parts.verdict_seq;
"""

PUT_PART = f"INSERT OR REPLACE INTO parts VALUES ({', '.join(':' + name for name in PART_COLUMNS)})"
PUT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
GET_EVENTS = "SELECT seq, record_id, kind, at, payload, scores, digest FROM events"


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a chain; ``seq`` 0 and the genesis digest when there is none yet."""

    journal_id: str
    seq: int
    digest: str
    """Hex, as people write it down."""


def head_file(journal: Path) -> Path:
    """The file that stores the last event known to be written."""
    return journal.with_name(journal.name + ".head")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may write a segment; transactions are begun by hand. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        # Before anything is written to it: the file may be somebody else's.
        require_ours(connection, path)
        if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise JournalError(
                f"journal {path}: this file system does not support SQLite's WAL: use a local disk"
            )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # done beside the decision path, by the keeper
    except BaseException:
        connection.close()
        raise
    return connection


def connect_readonly(
    path: Path, *, lowest: int = SCHEMA_VERSION, sealed: bool | None = None
) -> sqlite3.Connection:
    """A connection that cannot write, beside a running station or not. Raises :class:`JournalError`.

    ``lowest``: the oldest schema that the caller can read. ``sealed``: whether the file is a segment that
    is written no more, which its errors then say; None goes by its name.
    """
    sealed = journal_name(path) != path.name if sealed is None else sealed
    if not path.is_file():
        if sealed:
            raise missing_segment(path)
        raise JournalError(
            f"journal {path} does not exist: name it with --journal, or its configuration with --config"
        )
    try:
        try:
            connection = _open_uri(f"{path.resolve().as_uri()}?mode=ro")
        except sqlite3.OperationalError:
            wal = path.with_name(path.name + "-wal")
            if wal.exists() and wal.stat().st_size:
                raise
            # A closed journal in a folder where this user may not write: nobody changes it, read it as it is.
            connection = _open_uri(f"{path.resolve().as_uri()}?mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise explain(error, path, sealed=sealed) from error
    try:
        require_ours(connection, path)
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if not lowest <= version <= SCHEMA_VERSION:
            raise wrong_version(path, version)
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path, sealed=sealed) from error
    except BaseException:
        connection.close()
        raise
    return connection


def create_segment(connection: sqlite3.Connection, meta: dict[str, str], before: bytes, seq: int) -> None:
    """Make the tables of an empty segment that goes on after event ``seq``; the caller's transaction."""
    create_tables(connection)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    connection.execute("INSERT INTO head VALUES (1, ?, ?)", (seq, before))
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def create_tables(connection: sqlite3.Connection) -> None:
    """Make tables, triggers, indexes and the view of a segment."""
    for statement in statements(_EVENTS + _PARTS):
        connection.execute(statement)


def read_head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """Where a segment says that its chain ends."""
    row = connection.execute("SELECT seq, digest FROM head").fetchone() or (0, b"")
    digest = row[1] if isinstance(row[1], bytes) else bytes.fromhex(str(row[1]))
    return int(row[0]), digest


def station_condition(connection: sqlite3.Connection) -> str:
    """The condition of a segment's index ``events_of_the_station``."""
    query = "SELECT sql FROM sqlite_master WHERE name = 'events_of_the_station'"
    row = connection.execute(query).fetchone()
    return str(row[0]).partition(" WHERE ")[2] if row else "0"


def read_meta(connection: sqlite3.Connection, key: str) -> str:
    """A property of the file; empty when somebody removed it."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""


def read_head_file(journal: Path) -> Head | None:
    """What the side file remembers; None when there is none. Raises :class:`JournalError`."""
    path = head_file(journal)
    try:
        text = path.read_text()
        while text != (again := path.read_text()):  # a running station writes into it at every event
            text = again
        values = json.loads(text)
        return Head(str(values["journal_id"]), int(values["seq"]), str(values["digest"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, KeyError, TypeError):
        raise JournalError(
            f"{path} cannot be read as JSON; it may have been edited: put it back from a backup; or delete "
            "it, then audit the journal, because the start can no longer see whether its end was cut"
        ) from None


class HeadFile:
    """The side file ``.head`` of a journal that is written: at every moment the last event on the disk.

    It is replaced whole once, and then written in place: one page without an fsync, which costs the decision
    path microseconds. So it is exact after a kill, and at most :data:`HEAD_PERIOD_S` old after a power cut.
    """

    def __init__(self, journal: Path, head: Head) -> None:
        """Replace the file. Raises OSError."""
        self._path = head_file(journal)
        write_file(self._path, _head_text(head))
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        self._synced = head

    def write(self, head: Head) -> None:
        """Remember this event. Raises OSError."""
        os.pwrite(self._descriptor, _head_text(head), 0)

    def sync(self, head: Head) -> None:
        """Bring what was remembered to the disk; a file that was removed is made again. Raises OSError."""
        try:
            there = os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            there = False
        if not there:
            write_file(self._path, _head_text(head))
            before, self._descriptor = self._descriptor, os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            os.close(before)
        elif head != self._synced:
            os.fsync(self._descriptor)
        self._synced = head

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)


def _head_text(head: Head) -> bytes:
    """Always of the same length, so that writing it again leaves nothing of before."""
    content = {"journal_id": head.journal_id, "seq": head.seq, "digest": head.digest}
    return json.dumps(content).ljust(HEAD_BYTES - 1).encode() + b"\n"


def problem_of_tail(connection: sqlite3.Connection) -> str:
    """Why a segment does not end as it says itself; empty when it does. Raises sqlite3.Error."""
    seq, digest = read_head(connection)
    found = [Event(*values) for values in connection.execute(f"{GET_EVENTS} ORDER BY seq DESC LIMIT 2")]
    if not found:
        return "its events are gone"
    if (found[0].seq, found[0].digest) != (seq, digest):
        return f"ends with event {found[0].seq}, not with event {seq} as it says itself"
    if len(found) > 1 and digest != _again(found[1].digest, found[0]):
        return f"event {found[0].seq} was changed"
    return ""


def _again(before: bytes, event: Event) -> bytes:
    return digest_of(before, event.seq, event.record_id, event.kind, event.at, event.payload, event.scores)


def require_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse an SQLite file of somebody else. Raises :class:`JournalError` or sqlite3.Error."""
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and not ours:
        raise JournalError(
            f"journal {path}: is an SQLite file but not a journal of a station: name another file"
        )


def wrong_version(path: Path, version: int) -> JournalError:
    """The file has a schema that this release does not write."""
    if version > SCHEMA_VERSION:
        return JournalError(
            f"journal {path}: was written by a newer station (schema {version}, this one knows up to "
            f"{SCHEMA_VERSION}): install that release again, or name another file"
        )
    return JournalError(
        f"journal {path}: has the older schema {version}: start this release once to migrate it"
    )


def statements(script: str) -> list[str]:
    """The statements of a script, so that they run inside a transaction (executescript would end it)."""
    found, pending = [], ""
    for line in script.splitlines():
        pending += line + "\n"
        if pending.strip() and sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found


def _open_uri(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


__all__ = ["JournalError", "explain", "genesis"]
