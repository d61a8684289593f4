"""Schemas 1 and 2, one file per journal: read, audited and brought into today's row of segments.

Such a file is never rewritten: it becomes the first segment as it is, sealed, and the second one begins
with its head, so that a digest noted years ago still proves something. Only schema 1's derived table
``parts`` is made again, for want of columns. There, an event's payload is a JSON object with the scores in
it, and ``digest = SHA-256( JSON array [digest before, seq, record_id, kind, at, payload] )``, in hex.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.journal.errors import JournalError
from station.journal.events import ChainError, Row, apply, genesis
from station.journal.packing import scores_from_json
from station.journal.record import COLUMNS
from station.journal.schema import Head, read_meta, statements

LOWEST = 1
"""The oldest schema there is."""

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

LEGACY_COLUMNS = tuple(
    line.split()[0] for line in _PARTS.partition("(\n")[2].partition("\n);")[0].splitlines()
)
"""The columns of ``parts`` in schema 2, in order."""

RECORD_COLUMNS = ", ".join(
    f"parts.{name}" if name in LEGACY_COLUMNS else f"NULL AS {name}" for name in COLUMNS
)
"""All columns of a record as a SELECT names them; what schema 2 did not know is NULL."""

_HEAD = """
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, digest TEXT NOT NULL);
"""
_PUT_PART = f"INSERT OR REPLACE INTO parts VALUES ({', '.join(':' + name for name in LEGACY_COLUMNS)})"
GET_EVENTS = "SELECT seq, record_id, kind, at, payload, NULL, digest FROM events"


def digest_of(
    before: str, seq: int, record_id: int, kind: str, at: str, payload: str, scores: bytes | None = None
) -> str:
    """The digest of an event, hex. Raises :class:`ChainError` for values of the wrong type."""
    body = [before, seq, record_id, kind, at, payload]
    if [type(value) for value in body] != [str, int, int, str, str, str]:
        raise ChainError("a column of the event holds a value of the wrong type")
    return hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()


def unpack(kind: str, payload: str) -> dict[str, Any]:
    """The values of an event by name, ``scores`` among them as JSON has them. Raises :class:`ChainError`."""
    try:
        values = json.loads(payload)
    except (ValueError, TypeError) as error:
        raise ChainError(f"its payload is not JSON ({error})") from None
    if not isinstance(values, dict) or not values.keys() <= {*LEGACY_COLUMNS, "scores"}:
        raise ChainError(f"is not an event of schema 2 (kind {kind!r})")
    return values


def unpack_scores(payload: str | None) -> NDArray[np.float32] | None:
    """The scores in a verdict's payload."""
    return scores_from_json(json.loads(payload).get("scores")) if payload else None


def usable_scores(values: Any) -> bool:
    """Whether scores as schema 2 writes them are a full table of finite numbers."""
    if not isinstance(values, list) or not values or not all(isinstance(row, list) and row for row in values):
        return False
    return all(isinstance(value, int | float) for row in values for value in row)


def to_schema_2(connection: sqlite3.Connection) -> None:
    """Bring schema 1 to 2 in one transaction: the head, and ``parts`` with more columns.

    Raises :class:`JournalError`, and leaves the file as it was, when the events do not add up.
    """
    connection.execute("BEGIN EXCLUSIVE")
    try:
        for statement in statements(_HEAD):
            connection.execute(statement)
        last = connection.execute("SELECT seq, digest FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        head = last or (0, genesis(read_meta(connection, "journal_id")).hex())
        connection.execute("INSERT INTO head VALUES (1, ?, ?)", head)
        _rebuild_parts(connection)
        connection.execute("PRAGMA user_version=2")
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, ChainError):
            raise JournalError(
                f"cannot be migrated, {error}: audit it with the release that wrote it, "
                "or move the file away to begin a new journal"
            ) from error
        raise


def require_whole_tail(connection: sqlite3.Connection, side: Head | None) -> None:
    """Refuse a file whose end is not the one that was written. Raises :class:`JournalError`.

    ``side``: what the file ``.head`` remembers.
    """
    head = connection.execute("SELECT seq, digest FROM head").fetchone()
    found = connection.execute(f"{GET_EVENTS} ORDER BY seq DESC LIMIT 2").fetchall()
    journal_id = read_meta(connection, "journal_id")
    before = found[1][6] if len(found) > 1 else genesis(journal_id).hex()
    end = (found[0][0], found[0][6]) if found else (0, before)
    problem = ""
    if head != end:
        problem = f"ends with event {end[0]}, not with event {head[0] if head else '?'} as it says itself"
    elif found and digest_of(before, *found[0][:5]) != end[1]:
        problem = f"event {end[0]} was changed"
    elif side is not None and side.journal_id != journal_id:
        problem = "is not the journal that was written here last"
    elif side is not None and side.seq:
        query = "SELECT 1 FROM events WHERE seq = ? AND digest = ?"
        if not connection.execute(query, (side.seq, side.digest)).fetchone():
            problem = (
                f"does not hold event {side.seq} as written: it was cut, changed or put back from a copy"
            )
    if problem:
        raise JournalError(
            f"{problem}: audit it with the release that wrote it; then put its backup back, or move the file "
            "away to begin a new journal"
        )


def _rebuild_parts(connection: sqlite3.Connection) -> None:
    connection.execute("DROP VIEW IF EXISTS records")
    connection.execute("DROP TABLE IF EXISTS parts")
    for statement in statements(_PARTS):
        connection.execute(statement)
    rows: dict[int, Row] = {}
    for seq, record_id, kind, _, payload, _, _ in connection.execute(f"{GET_EVENTS} ORDER BY seq"):
        try:
            values = unpack(kind, payload)
            values.pop("scores", None)
            row = rows[record_id] = apply(rows.get(record_id), kind, seq, record_id, values)
        except ChainError as error:
            raise ChainError(f"event {seq}, record {record_id}: {error}") from None
        if row["acknowledged"] is not None:
            connection.execute(_PUT_PART, rows.pop(record_id))
    connection.executemany(_PUT_PART, rows.values())
