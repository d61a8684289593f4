"""How a journal is opened to be written: found, migrated, begun, or gone on with after its last event."""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from station.files import replacing
from station.journal import legacy
from station.journal.errors import JournalError
from station.journal.events import CARRIED, ENGINE, LOSS, SEALED, SEGMENT, SETUP, Row, genesis, utc_ago
from station.journal.ledger import Ledger, Live
from station.journal.loss import Acceptance, Loss, find_loss
from station.journal.packing import pack_scores
from station.journal.record import COLUMNS, ENGINE_COLUMNS, SETUP_COLUMNS
from station.journal.schema import (
    PUT_EVENT,
    PUT_PART,
    RECORD_COLUMNS,
    RECORD_TABLES,
    SCHEMA_VERSION,
    connect,
    connect_readonly,
    create_segment,
    head_file,
    read_head,
    read_meta,
)
from station.journal.segments import (
    adopt,
    catalogue,
    describe,
    first_values,
    last_kind,
    read_index,
    segment_file,
    segment_files,
    write_index,
)
from station.journal.shape import restore_indexes, restore_shape

log = logging.getLogger(__name__)

OUTCOMES = ("accept", "reject", "fault")


@dataclass(slots=True)
class OpenSegment:
    """The segment that is written."""

    journal_id: str
    number: int
    path: Path
    connection: sqlite3.Connection
    ledger: Ledger
    outcomes: Counter[str | None]
    """All records of the journal by outcome, those of earlier segments included."""
    first_record: int
    """The first record that is opened in this segment."""
    sealed: bool = False
    """Nothing more may be written to it; the next one is still to be begun."""
    loss: Loss | None = None
    """What was acknowledged as lost when it was opened."""


def open_journal(journal: Path, station: str, accepted: Acceptance | None = None) -> OpenSegment:
    """The segment to be written: the last one, or a new one where there is none or the last is sealed.

    ``accepted``: a person acknowledges what the files no longer hold, which becomes an event of the chain.
    Raises :class:`JournalError`, also for a loss that nobody has acknowledged, OSError or sqlite3.Error.
    """
    adopt(journal, station)
    loss = find_loss(journal)
    if loss is not None and accepted is None:
        raise loss.refusal(journal)
    if loss is None and accepted is not None:
        raise JournalError(f"journal {journal}: nothing is lost: the station can start")
    files = segment_files(journal)
    if not files:
        opened = begin_segment(journal, 1, journal_id=uuid.uuid4().hex, station=station)
        write_index(journal, opened.journal_id, station, [])
    else:
        number, path = max(files.items())
        with closing(connect_readonly(path, lowest=2, sealed=False)) as connection:
            schema = int(connection.execute("PRAGMA user_version").fetchone()[0])
            journal_id = read_meta(connection, "journal_id")
            sealed = schema < SCHEMA_VERSION or last_kind(connection) == SEALED
        if schema == SCHEMA_VERSION and not head_file(journal).exists():
            log.warning("journal %s: its .head was missing: nothing shows whether its end was cut", journal)
        _mend_index(journal, journal_id, station, loss)
        if sealed:
            opened = begin_next(journal, number, path, station)
            write_index(journal, journal_id, station, [one for one in catalogue(journal) if one.sealed])
        else:
            opened = open_segment(path, number)
    if loss is not None and accepted is not None:
        _acknowledge(opened, loss, accepted)
    return opened


def _mend_index(journal: Path, journal_id: str, station: str, loss: Loss | None) -> None:
    """Make the index again where it is missing or lists segments that are lost for ever."""
    files = segment_files(journal)
    known = read_index(journal)[1] if journal.is_file() and journal.stat().st_size else None
    if known is not None and (loss is None or not loss.segments):
        return
    if known is None:
        log.warning("journal %s: its index was missing; it was made again from its segments", journal)
    found = {number: describe(file, number) for number, file in files.items()}
    gone = {
        one.number: one if one.removed_at else replace(one, removed_at=utc_ago(0))
        for one in known or ()
        if one.number not in found and one.number < max(files)
    }
    listed = [one for _, one in sorted((gone | found).items()) if one.sealed]
    write_index(journal, journal_id, station, listed)


def _acknowledge(opened: OpenSegment, loss: Loss, accepted: Acceptance) -> None:
    """Write the loss into the chain, in one transaction with what restores the segment's shape."""
    connection, ledger = opened.connection, opened.ledger.fork()
    ledger.append(LOSS, 0, loss.values(accepted))
    connection.execute("BEGIN IMMEDIATE")
    try:
        restore_shape(connection)
        put(connection, ledger)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()
        raise
    ledger.keep()
    opened.ledger.settle()
    opened.loss = loss


def open_segment(path: Path, number: int) -> OpenSegment:
    """Open the last segment and read what is in hand and what has a name. Raises sqlite3.Error."""
    connection = connect(path)
    try:
        restore_indexes(connection)
        first = first_values(connection)
        seq, digest = read_head(connection)
        last = connection.execute("SELECT max(record_id) FROM parts").fetchone()[0]
        begun = int(first.get("records", 0))  # type: ignore[call-overload]
        ledger = Ledger(seq, digest, last if last is not None and last > begun else begun)
        for kind, table, columns in (
            (SETUP, "setups", SETUP_COLUMNS),
            (ENGINE, "engines", ENGINE_COLUMNS),
        ):
            for name, *values in connection.execute(f"SELECT id, {', '.join(columns)} FROM {table}"):
                ledger.names[(kind, *values)] = name
        ledger.texts = {digest for (digest,) in connection.execute("SELECT digest FROM texts")}
        for row, _ in unfinished(connection):
            ledger.live[row["record_id"]] = Live(row)
        outcomes = counted(connection)
        journal_id = read_meta(connection, "journal_id")
    except BaseException:
        connection.close()
        raise
    return OpenSegment(journal_id, number, path, connection, ledger, outcomes, begun + 1)


def unfinished(connection: sqlite3.Connection) -> list[tuple[Row, bytes | None]]:
    """The records of a segment that still wait for their verdict or receipt, and their packed scores."""
    old = connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION
    if old:
        query = f"SELECT {legacy.RECORD_COLUMNS}, NULL, NULL, events.payload FROM parts"
    else:
        query = f"SELECT {RECORD_COLUMNS}, parts.setup, parts.engine, events.scores FROM {RECORD_TABLES}"
    query += " LEFT JOIN events ON events.seq = parts.verdict_seq"
    query += " WHERE parts.acknowledged IS NULL ORDER BY parts.record_id"
    found = []
    for *values, scores in connection.execute(query):
        if old:
            table = legacy.unpack_scores(scores)
            scores = None if table is None else pack_scores(table)
        found.append((dict(zip((*COLUMNS, "setup", "engine"), values, strict=True)), scores))
    return found


def counted(connection: sqlite3.Connection) -> Counter[str | None]:
    """All records of the journal up to the end of this segment by outcome; None is open."""
    counts: Counter[str | None] = Counter()
    before = first_values(connection).get("counts", {})
    assert isinstance(before, dict)
    counts.update({outcome: int(before.get(outcome, 0)) for outcome in OUTCOMES})
    counts.update(dict(connection.execute("SELECT outcome, count(*) FROM parts GROUP BY outcome").fetchall()))
    return counts


def begin_next(journal: Path, number: int, previous: Path, station: str) -> OpenSegment:
    """Begin the segment after a sealed one, with its head and the records that it left in hand.

    Raises :class:`JournalError`, OSError or sqlite3.Error.
    """
    connection = connect_readonly(previous, lowest=2)
    try:
        seq, digest = read_head(connection)
        rows = unfinished(connection)
        counts = counted(connection)
        counts.subtract(row["outcome"] for row, _ in rows)
        begun = first_values(connection).get("records", 0)
        last = connection.execute("SELECT coalesce(max(record_id), 0) FROM parts").fetchone()[0]
        journal_id = read_meta(connection, "journal_id")
    finally:
        connection.close()
    return begin_segment(
        journal,
        number + 1,
        journal_id=journal_id,
        station=station,
        previous=previous.name,
        seq=seq,
        digest=digest,
        counts={outcome: counts[outcome] for outcome in OUTCOMES},
        records=max(int(last), int(begun)),  # type: ignore[call-overload]
        carried=rows,
    )


def begin_segment(
    journal: Path,
    number: int,
    *,
    journal_id: str,
    station: str,
    previous: str = "",
    seq: int = 0,
    digest: bytes = b"",
    counts: dict[str, int] | None = None,
    records: int = 0,
    carried: list[tuple[Row, bytes | None]] | None = None,
) -> OpenSegment:
    """Write a new segment whole, its first event holding the head before it, and open it.

    Raises OSError or sqlite3.Error.
    """
    carried = carried or []
    before = digest or genesis(journal_id)
    ledger = Ledger(seq, before, records)
    first = {
        "number": number,
        "journal_id": journal_id,
        "station": station,
        "previous": previous,
        "seq": seq,
        "head": before.hex(),
        "counts": counts or dict.fromkeys(OUTCOMES, 0),
        "records": records,
        "carried": [row["record_id"] for row, _ in carried],
    }
    ledger.append(SEGMENT, 0, first)
    for row, scores in carried:
        ledger.append(CARRIED, row["record_id"], row, scores)
    path = segment_file(journal, number)
    meta = {
        "journal_id": journal_id,
        "number": str(number),
        "created_at": ledger.links[0].at,
        "station": station,
    }
    with replacing(path) as fresh:
        connection = sqlite3.connect(fresh, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=OFF")  # nobody sees the file before it is whole
            connection.execute("PRAGMA synchronous=OFF")  # and it is brought to the disk once, when it is
            connection.execute("BEGIN")
            create_segment(connection, meta, before, seq)
            put(connection, ledger)
            connection.execute("COMMIT")
        finally:
            connection.close()
    return open_segment(path, number)


def put(connection: sqlite3.Connection, ledger: Ledger) -> None:
    """Write what a ledger added, within the caller's transaction."""
    links = [(e.seq, e.record_id, e.kind, e.at, e.payload, e.scores, e.digest) for e in ledger.links]
    connection.executemany(PUT_EVENT, links)
    for statement, values in ledger.inserts:
        connection.execute(statement, values)
    connection.executemany(PUT_PART, ledger.rows.values())
    connection.execute("UPDATE head SET seq = ?, digest = ?", (ledger.seq, ledger.digest))
