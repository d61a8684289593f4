"""What can be proven about a journal: that every trigger has one end, and that nobody changed it since.

The audit reads in one snapshot, beside a running station. It recomputes the hash chain over all events,
makes every record again from its events and compares it with the table ``parts``, counts, and checks the
laws: an accept has its evidence, and nothing but an accept went to the bin of good parts.

What a chain cannot show: somebody who may write the whole file can make a new chain from any event on.
A head noted elsewhere - printed by an earlier audit, or in the file ``.head`` if that is out of reach -
shows that, too (``expect_head``).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from station.journal.events import (
    ACCEPT,
    COLUMNS,
    FAULT,
    OPENED,
    REJECT,
    STATION_EVENTS,
    ChainError,
    Event,
    Row,
    apply,
    digest_of,
    genesis,
    problems_of_verdict,
    usable_scores,
)
from station.journal.lock import writer_of
from station.journal.schema import (
    GET_EVENTS,
    Head,
    JournalError,
    connect_readonly,
    explain,
    head_file,
    read_head,
    read_head_file,
)

LISTED = 200
"""Findings of one kind that are listed; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    """``file``, ``chain``, ``record``, ``conservation``, ``law`` or ``bin``."""
    text: str
    record_id: int | None = None

    def __str__(self) -> str:
        where = "" if self.record_id is None else f"record {self.record_id}: "
        return f"{self.kind}: {where}{self.text}"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found."""

    path: Path
    journal_id: str
    events: int
    head: str
    """The digest of the last event; note it elsewhere."""
    triggers: int
    accepted: int
    rejected: int
    faulted: int
    open: int
    """Without a verdict: in hand of a running station, or in doubt."""
    recovered: int
    unacknowledged: int
    """Verdicts whose receipt says that the cell did not acknowledge the bin told."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """Worth knowing, and no fault of the journal."""
    findings_total: int

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return not self.findings_total

    @property
    def conserved(self) -> bool:
        """Every trigger has one end, or is still open."""
        return self.triggers == self.accepted + self.rejected + self.faulted + self.open


@dataclass(slots=True)
class _Found:
    findings: list[Finding] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, text: str, record_id: int | None = None) -> None:
        self.kinds[kind] += 1
        if self.kinds[kind] <= LISTED:
            self.findings.append(Finding(kind, text, record_id))

    def all(self) -> tuple[Finding, ...]:
        more = [
            Finding(kind, f"and {count - LISTED} more of this kind")
            for kind, count in self.kinds.items()
            if count > LISTED
        ]
        return (*self.findings, *more)


@dataclass(slots=True)
class _Totals:
    opened: int = 0
    outcomes: Counter[str | None] = field(default_factory=Counter)
    recovered: int = 0
    unacknowledged: int = 0


def audit(
    path: Path, *, expect_head: str | None = None, progress: Callable[[int, int], None] | None = None
) -> AuditReport:
    """Check a journal from end to end; ``progress(done, of)`` counts events.

    ``expect_head``: a digest noted earlier, which must still be in the chain. Raises
    :class:`JournalError` only when the file cannot be read as a journal at all.
    """
    found, totals = _Found(), _Totals()
    notes: list[str] = []
    head: Head | None = None
    end = (0, "")
    writer = writer_of(path)
    connection = connect_readonly(path)
    try:
        side = _side_head(path, found)  # before the snapshot: it can only be older
        connection.execute("BEGIN")
        head = read_head(connection)
        for (problem,) in connection.execute("PRAGMA integrity_check(20)").fetchall():
            if problem != "ok":
                found.add("file", problem)
        if not head.journal_id:
            found.add("chain", "the journal's identity (table meta) was taken out")
        wanted = {} if expect_head is None else {expect_head.strip().lower(): "the head that was expected"}
        if side is not None and side.journal_id != head.journal_id:
            found.add("chain", f"{head_file(path).name} belongs to another journal: the file was replaced")
        elif side is not None and side.seq:
            wanted[side.digest] = f"event {side.seq}, known to be written ({head_file(path).name})"
        end = _walk(connection, genesis(head.journal_id), wanted, found, totals, progress)
        if end != (head.seq, head.digest):
            found.add(
                "chain",
                f"ends with event {end[0]}, its own head says {head.seq}: it was cut or extended",
            )
        for missing in wanted.values():
            found.add("chain", f"{missing} is not in the chain: it was cut, or changed and chained anew")
        _conservation(connection, found, totals)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        found.add("file", str(explain(error, path)))
    finally:
        connection.close()
    still_open = totals.outcomes[None]
    if still_open and writer:
        notes.append(f"{still_open} parts are in hand of the running station (process {writer})")
    elif still_open:
        notes.append(
            f"{still_open} records are in doubt: the next start of the station faults and lists them"
        )
    if totals.recovered:
        notes.append(f"{totals.recovered} records were closed after the station had ended too early")
    if totals.unacknowledged:
        notes.append(f"{totals.unacknowledged} verdicts were not acknowledged by the cell")
    return AuditReport(
        path=path,
        journal_id=head.journal_id if head else "",
        events=end[0],
        head=end[1],
        triggers=totals.opened,
        accepted=totals.outcomes[ACCEPT],
        rejected=totals.outcomes[REJECT],
        faulted=totals.outcomes[FAULT],
        open=still_open,
        recovered=totals.recovered,
        unacknowledged=totals.unacknowledged,
        findings=found.all(),
        notes=tuple(notes),
        findings_total=found.kinds.total(),
    )


def _side_head(path: Path, found: _Found) -> Head | None:
    try:
        return read_head_file(path)
    except JournalError as error:
        found.add("file", str(error))
        return None


def _walk(
    connection: sqlite3.Connection,
    start: str,
    wanted: dict[str, str],
    found: _Found,
    totals: _Totals,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, str]:
    """Follow the chain and the records in it; digests met are taken out of ``wanted``. Where it ends."""
    of = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    rows: dict[int, Row] = {}
    scored: set[int] = set()
    seq, digest = 0, start
    for values in connection.execute(GET_EVENTS):
        event = Event(*values)
        where = f"event {event.seq} ({event.kind})"
        if event.seq != seq + 1:
            found.add("chain", f"events {seq + 1} to {event.seq - 1} are missing", event.record_id)
        try:
            right = digest_of(digest, event.seq, event.record_id, event.kind, event.at, event.payload)
            if right != event.digest:
                found.add("chain", f"{where} does not fit its digest and the event before", event.record_id)
        except ChainError as error:
            found.add("chain", f"{where}: {error}", event.record_id)
        seq, digest = event.seq, event.digest
        wanted.pop(digest, None)
        if event.kind in STATION_EVENTS:
            continue
        try:
            row = rows[event.record_id] = apply(rows.get(event.record_id), event)
        except ChainError as error:
            found.add("record", f"{where}: {error}", event.record_id)
            continue
        totals.opened += event.kind == OPENED
        if row["verdict_seq"] == event.seq and usable_scores(json.loads(event.payload).get("scores")):
            scored.add(event.record_id)
        if row["acknowledged"] is not None:
            _check(connection, rows.pop(event.record_id), event.record_id in scored, found, totals)
            scored.discard(event.record_id)
        if progress is not None and event.seq % 1000 == 0:
            progress(event.seq, of)
    for record_id, row in rows.items():
        _check(connection, row, record_id in scored, found, totals)
    if progress is not None:
        progress(of, of)
    return seq, digest


def _check(
    connection: sqlite3.Connection, row: Row, has_scores: bool, found: _Found, totals: _Totals
) -> None:
    """One record as its events make it: counted, compared with ``parts``, held against the laws."""
    record_id, outcome, sent, put = row["record_id"], row["outcome"], row["bin"], row["ack_bin"]
    totals.outcomes[outcome] += 1
    totals.recovered += bool(row["recovered"])
    totals.unacknowledged += row["acknowledged"] in (False, 0)
    stored = connection.execute(_GET_PART, (record_id,)).fetchone()
    if stored is None:
        found.add("record", "has events, but its row in parts is gone", record_id)
    else:
        for name, value in zip(COLUMNS, stored, strict=True):
            if value != row[name] or (value is None) is not (row[name] is None):
                found.add("record", f"parts says {name} = {value!r}, its events say {row[name]!r}", record_id)
    if outcome is not None:
        for problem in problems_of_verdict(row, has_scores=has_scores):
            found.add("law", problem, record_id)
    if row["acknowledged"] and put is None:
        found.add("bin", "is acknowledged without a bin", record_id)
    elif put is not None and put != sent:
        good = ", the bin of good parts" if put == row["good_bin"] and outcome != ACCEPT else ""
        found.add("bin", f"a {outcome} told to bin {sent} was put into bin {put}{good}", record_id)


def _conservation(connection: sqlite3.Connection, found: _Found, totals: _Totals) -> None:
    """One row in ``parts`` a trigger, none without a trigger, and the same sums in both."""
    without = (
        "SELECT record_id FROM parts WHERE record_id NOT IN (SELECT record_id FROM events WHERE kind = ?)"
    )
    for (record_id,) in connection.execute(without, (OPENED,)):
        found.add("conservation", "stands in parts, but no trigger opened it", record_id)
    last = connection.execute("SELECT coalesce(max(record_id), 0) FROM events").fetchone()[0]
    if last != totals.opened:
        found.add("conservation", f"record numbers go up to {last}, but {totals.opened} records were opened")
    in_parts = dict(connection.execute("SELECT outcome, count(*) FROM parts GROUP BY outcome").fetchall())
    for outcome in (ACCEPT, REJECT, FAULT, None):
        stored, made = in_parts.get(outcome, 0), totals.outcomes[outcome]
        if stored != made:
            found.add("conservation", f"{outcome or 'open'}: {stored} in parts, {made} by the events")
    if totals.opened != totals.outcomes.total():
        found.add("conservation", f"{totals.opened} triggers, but {totals.outcomes.total()} ends")


_GET_PART = f"SELECT {', '.join(COLUMNS)} FROM parts WHERE record_id = ?"
