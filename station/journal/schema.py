"""The journal's file: tables, migrations, how it is opened, and what its errors mean to a person.

SQLite in WAL mode, synchronous=FULL: a commit is on the disk when it returns. Beside ``journal.sqlite``
stand SQLite's own ``-wal`` and ``-shm``, ``.lock`` (held by the station that writes) and ``.head`` (the
last event known to be written, by which the audit sees a file that was cut short).
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import InspectionError
from station.files import write_json
from station.journal.events import (
    COLUMNS,
    STATION_EVENTS,
    ChainError,
    Event,
    Row,
    apply,
    digest_of,
    genesis,
    utc_ago,
)

SCHEMA_VERSION = 3
"""1: events and parts. 2: parts with ``written_ms``, ``told_ms``, the region's lean; head; view records.
3: parts with software, configuration, camera, lot and serial number; events of the station."""

APPLICATION_ID = 0x5354_4A4C
"""``STJL`` in the file's header: this SQLite file is a journal of a station."""

BUSY_TIMEOUT_S = 1.0
"""How long a write waits for another program that holds SQLite's write lock."""

_EVENTS = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    record_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    payload TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE TRIGGER events_are_not_edited BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events of the journal are only ever appended'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events of the journal are only ever appended'); END;
"""

_HEAD = """
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, digest TEXT NOT NULL);
"""

_PARTS = """
CREATE TABLE parts (
    record_id INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL,
    station TEXT NOT NULL,
    mode TEXT NOT NULL,
    is_simulated INTEGER NOT NULL,
    opened_at TEXT NOT NULL,
    recipe TEXT NOT NULL,
    recipe_version INTEGER NOT NULL,
    recipe_digest TEXT NOT NULL,
    requested_recipe TEXT NOT NULL,
    good_bin INTEGER,
    fault_bin INTEGER NOT NULL,
    classes TEXT,
    software_version TEXT,
    config_digest TEXT,
    camera_model TEXT,
    camera_serial TEXT,
    exposure_us REAL,
    lot TEXT,
    serial_number TEXT,
    shift TEXT,
    operator TEXT,
    frame_id INTEGER,
    lost_before INTEGER,
    frame_complete INTEGER,
    region_x INTEGER,
    region_y INTEGER,
    region_width INTEGER,
    region_height INTEGER,
    region_lean_x INTEGER,
    region_lean_y INTEGER,
    engine_digest TEXT,
    backend TEXT,
    precision TEXT,
    outcome TEXT CHECK (outcome IN ('accept', 'reject', 'fault')),
    class_name TEXT,
    class_index INTEGER,
    confidence REAL,
    patch INTEGER,
    bin INTEGER,
    reason TEXT,
    frame_ms REAL,
    cut_ms REAL,
    scored_ms REAL,
    decided_ms REAL,
    written_ms REAL,
    told_ms REAL,
    acknowledged_ms REAL,
    acknowledged INTEGER,
    ack_bin INTEGER,
    ack_problem TEXT,
    recovered INTEGER NOT NULL,
    verdict_seq INTEGER
);
CREATE INDEX parts_by_time ON parts (opened_at);
CREATE INDEX parts_by_outcome ON parts (outcome);
CREATE INDEX parts_by_part ON parts (part_id);
CREATE INDEX parts_unfinished ON parts (record_id) WHERE acknowledged IS NULL;
CREATE VIEW records AS
    SELECT parts.*, json_extract(events.payload, '$.scores') AS scores
    FROM parts LEFT JOIN events ON events.seq = parts.verdict_seq;
"""

PUT_PART = (
    f"INSERT OR REPLACE INTO parts ({', '.join(COLUMNS)}) VALUES ({', '.join(':' + c for c in COLUMNS)})"
)
PUT_EVENT = "INSERT INTO events (seq, record_id, kind, at, payload, digest) VALUES (?, ?, ?, ?, ?, ?)"
GET_EVENTS = "SELECT seq, record_id, kind, at, payload, digest FROM events ORDER BY seq"


class JournalError(InspectionError):
    """The journal cannot be used as asked; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a chain; ``seq`` 0 and the genesis digest when there is none yet."""

    journal_id: str
    seq: int
    digest: str


def head_file(journal: Path) -> Path:
    """The file that remembers how far the journal had come."""
    return journal.with_name(journal.name + ".head")


def explain(error: sqlite3.Error | OSError, path: Path) -> JournalError:
    """The error in words, with what to do about it."""
    code = getattr(error, "sqlite_errorname", "") or ""
    if isinstance(error, OSError):
        code = "SQLITE_CANTOPEN" if isinstance(error, PermissionError) else code
    if code == "SQLITE_FULL" or getattr(error, "errno", None) == errno.ENOSPC:
        remedy = f"the disk is full: free space below {path.parent}, or move the journal to another disk"
    elif code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        remedy = f"it cannot be written: give this user the right to write in {path.parent}"
    elif code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        remedy = (
            f"the file is damaged or no journal: move {path.name}* aside and start again; "
            " a new journal is begun, and `station journal audit` says what the old one still holds"
        )
    elif code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        remedy = (
            f"another program holds its write lock for more than {BUSY_TIMEOUT_S:g} s: close that program"
        )
    elif code.startswith("SQLITE_IOERR"):
        remedy = (
            "the disk did not take the data: check it (dmesg, smartctl), quotas and mounts, then start again"
        )
    else:
        remedy = "check the disk and the file, then start again"
    return JournalError(f"journal {path}: {error}: {remedy}")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may write; transactions are begun and ended by hand. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        # Before anything is written to it: the file may be somebody else's.
        _require_ours(connection, path)
        if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise JournalError(
                f"journal {path}: this file system cannot carry SQLite's WAL: use a local disk"
            )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # done beside the decision path, by the keeper
    except BaseException:
        connection.close()
        raise
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, beside a running station or not. Raises :class:`JournalError`."""
    if not path.is_file():
        raise JournalError(
            f"journal {path} does not exist: name it with --journal, or the config with --config"
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
        _require_ours(connection, path)
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise explain(error, path) from error
    if version != SCHEMA_VERSION:
        connection.close()
        raise _wrong_version(path, version)
    return connection


def create_or_migrate(connection: sqlite3.Connection, path: Path, station: str, journal_id: str) -> None:
    """Bring an empty or older file to this schema, in one transaction; a kill leaves the file as it was."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        raise _wrong_version(path, version)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        if version == 0:
            for statement in _statements(_EVENTS + _HEAD + _PARTS):
                connection.execute(statement)
            about = {"journal_id": journal_id, "created_at": utc_ago(0), "station": station}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", about.items())
            connection.execute("INSERT INTO head VALUES (1, 0, ?)", (genesis(journal_id),))
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        else:
            for older in range(version, SCHEMA_VERSION):
                MIGRATIONS[older](connection)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, ChainError):
            raise JournalError(
                f"journal {path}: cannot be migrated, {error}: audit it with the release that wrote it, "
                "or move the file aside and begin a new journal"
            ) from error
        raise


def read_head(connection: sqlite3.Connection) -> Head:
    """Which journal this is, and where it says its chain ends."""
    row = connection.execute("SELECT seq, digest FROM head").fetchone()
    return Head(read_journal_id(connection), *(row or (0, "")))


def read_journal_id(connection: sqlite3.Connection) -> str:
    """The identity given to the file when it was created; empty when somebody took it out."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'journal_id'").fetchone()
    return str(row[0]) if row else ""


def read_head_file(journal: Path) -> Head | None:
    """What the side file remembers; None when there is none. Raises :class:`JournalError`."""
    path = head_file(journal)
    try:
        values = json.loads(path.read_text())
        return Head(str(values["journal_id"]), int(values["seq"]), str(values["digest"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, KeyError, TypeError):
        raise JournalError(
            f"{path} is not readable as JSON: was it edited? Delete it and audit the journal"
        ) from None


def write_head_file(journal: Path, head: Head) -> None:
    """Remember how far the journal has come; the file is replaced as a whole. Raises OSError."""
    content = {"journal_id": head.journal_id, "seq": head.seq, "digest": head.digest}
    write_json(head_file(journal), content, indent=None)


def require_whole_tail(connection: sqlite3.Connection, path: Path, head: Head, side: Head | None) -> None:
    """Refuse to go on behind an end that is not the one that was written. Raises :class:`JournalError`."""
    query = "SELECT seq, record_id, kind, at, payload, digest FROM events ORDER BY seq DESC LIMIT 2"
    found = [Event(*values) for values in connection.execute(query)]
    problem = ""
    if head.seq == 0 or not found:
        problem = (
            ""
            if head == Head(head.journal_id, 0, genesis(head.journal_id)) and not found
            else "its events are gone"
        )
    else:
        last, before = found[0], found[1].digest if len(found) > 1 else genesis(head.journal_id)
        if (last.seq, last.digest) != (head.seq, head.digest):
            problem = f"ends with event {last.seq}, not with event {head.seq} as it says itself"
        elif last.digest != digest_of(before, last.seq, last.record_id, last.kind, last.at, last.payload):
            problem = f"event {last.seq} was changed"
    if side is not None and not problem:
        if side.journal_id != head.journal_id:
            problem = "is not the journal that was written here last"
        elif (
            side.seq
            and not connection.execute(
                "SELECT 1 FROM events WHERE seq = ? AND digest = ?", (side.seq, side.digest)
            ).fetchone()
        ):
            problem = (
                f"does not hold event {side.seq} as written: it was cut, changed or put back from a copy"
            )
    if problem:
        raise JournalError(
            f"journal {path}: {problem}: run `station journal audit`; then move {path.name}* aside to begin "
            f"a new journal, or, where only {head_file(path).name} differs and you know why, delete that file"
        )


def rebuild_parts(connection: sqlite3.Connection) -> None:
    """Make the table ``parts`` again from the events, within the caller's transaction."""
    connection.execute("DROP VIEW IF EXISTS records")
    connection.execute("DROP TABLE IF EXISTS parts")
    for statement in _statements(_PARTS):
        connection.execute(statement)
    rows: dict[int, Row] = {}
    for values in connection.execute(GET_EVENTS):
        event = Event(*values)
        if event.kind in STATION_EVENTS:
            continue
        try:
            row = rows[event.record_id] = apply(rows.get(event.record_id), event)
        except ChainError as error:
            raise ChainError(f"event {event.seq}, record {event.record_id}: {error}") from None
        if row["acknowledged"] is not None:
            connection.execute(PUT_PART, rows.pop(event.record_id))
    connection.executemany(PUT_PART, rows.values())


def _to_2(connection: sqlite3.Connection) -> None:
    """Add the head, and the new columns by making ``parts`` again; events are never touched."""
    for statement in _statements(_HEAD):
        connection.execute(statement)
    last = connection.execute("SELECT seq, digest FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    head = last or (0, genesis(read_journal_id(connection)))
    connection.execute("INSERT INTO head VALUES (1, ?, ?)", head)
    rebuild_parts(connection)


MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _to_2, 2: rebuild_parts}
"""From which version -> what brings the file to the next one."""


def _open_uri(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and not ours:
        raise JournalError(
            f"journal {path}: is an SQLite file, but no journal of a station: name another file"
        )


def _wrong_version(path: Path, version: int) -> JournalError:
    if version > SCHEMA_VERSION:
        return JournalError(
            f"journal {path}: was written by a newer station (schema {version}, this one knows up to "
            f"{SCHEMA_VERSION}): install that release again, or name another file"
        )
    return JournalError(
        f"journal {path}: has the older schema {version}: start this release once to migrate it"
    )


def _statements(script: str) -> list[str]:
    """The statements of a script, so that they run inside a transaction (executescript would end it)."""
    statements, pending = [], ""
    for line in script.splitlines():
        pending += line + "\n"
        if pending.strip() and sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
