"""What can be proven about one segment of a journal; run in a process of its own by the audit."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from station.journal import legacy
from station.journal.errors import explain
from station.journal.events import (
    ACCEPT,
    CARRIED,
    ENGINE,
    FAULT,
    KNOWN,
    LOSS,
    OPENED,
    RECORD_EVENTS,
    REJECT,
    REMOVED,
    SEALED,
    SEGMENT,
    SETUP,
    TEXT,
    WITHDRAWN,
    ChainError,
    Row,
    apply,
    digest_of,
    genesis,
    problems_of_verdict,
)
from station.journal.packing import unpack, usable_scores
from station.journal.record import COLUMNS, ENGINE_COLUMNS, FLAGS, PART_COLUMNS, SETUP_COLUMNS
from station.journal.schema import GET_EVENTS, SCHEMA_VERSION, connect_readonly, read_head, read_meta
from station.journal.segments import is_finished
from station.journal.shape import changes_of_shape

LISTED = 200
"""Findings of one kind that are listed; the rest are counted."""
ROWS = 2000
"""Rows of ``parts`` that are read at a time."""


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


@dataclass(slots=True)
class Found:
    """Findings: the first ones of each kind, and how many there are."""

    findings: list[Finding] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, text: str, record_id: int | None = None) -> None:
        """Note one."""
        self.kinds[kind] += 1
        if self.kinds[kind] <= LISTED:
            self.findings.append(Finding(kind, text, record_id))

    def extend(self, findings: tuple[Finding, ...], kinds: Mapping[str, int]) -> None:
        """Take over those of one segment."""
        for one in findings:
            if sum(other.kind == one.kind for other in self.findings) < LISTED:
                self.findings.append(one)
        self.kinds.update(kinds)

    def all(self) -> tuple[Finding, ...]:
        """Those listed, and how many more of each kind there are."""
        more = [
            Finding(kind, f"and {count - LISTED} more of this kind")
            for kind, count in self.kinds.items()
            if count > LISTED
        ]
        return (*self.findings, *more)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentProof:
    """What was found in one file, and how it joins its neighbours."""

    file: str
    number: int
    journal_id: str
    before: str
    """The digest before its first event, hex."""
    first_seq: int
    seq: int
    """The last event, and its digest:"""
    head: str
    events: int
    base: dict[str, int]
    """Records by outcome in all earlier segments, as this one says."""
    records_before: int
    totals: dict[str, int]
    """Records by outcome up to the end of this one, those that go on in the next included."""
    records: int
    """The last record number up to the end of this one."""
    open: int
    recovered: int
    unacknowledged: int
    withdrawn: int
    carried: str
    """The digest of the records that it took over, and of those that it leaves in hand."""
    in_hand: str
    in_hand_outcomes: list[tuple[int, str | None]]
    removed_through: int
    """The last segment that an event says was removed."""
    lost: list[int]
    """Segments that a person has acknowledged as lost, and in words what was lost and who said so."""
    losses: list[str]
    sealed: bool
    findings: tuple[Finding, ...] = ()
    findings_total: dict[str, int] = field(default_factory=dict)
    file_digest: str = ""
    """SHA-256 of the file, hex; empty while it is written."""
    remembered: bool = False
    """Proven by an earlier audit; this one has seen that the file is the same."""

    def to_json(self) -> dict[str, Any]:
        """As the audit's memory holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From the audit's memory. Raises TypeError, KeyError or ValueError."""
        pairs = [(int(record_id), outcome) for record_id, outcome in values["in_hand_outcomes"]]
        return cls(**{**values, "in_hand_outcomes": pairs, "findings": (), "remembered": True})


def prove(
    path: Path, earlier: SegmentProof | None, progress: Callable[[int, int], None] | None = None
) -> SegmentProof:
    """Check one segment from end to end, or see that it is the file that was proven earlier.

    Raises :class:`JournalError` when it cannot be read as a journal at all.
    """
    file_digest = ""
    if is_finished(path):
        with path.open("rb") as file:
            file_digest = hashlib.file_digest(file, "sha256").hexdigest()
    if earlier is not None and file_digest and earlier.file_digest == file_digest:
        return earlier
    with closing(connect_readonly(path, lowest=2)) as connection:
        return _Walk(path, connection, file_digest, progress).proof()


class _Walk:
    """One pass over the events of a segment, with the records that they make."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        file_digest: str,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._path = path
        self._connection = connection
        self._file_digest = file_digest
        self._progress = progress
        self._found = Found()
        self._rows: dict[int, Row] = {}
        """Records in hand."""
        self._stored: dict[int, tuple[Any, ...]] = {}
        """Rows of ``parts`` read ahead, not yet compared."""
        self._read_to = -1
        self._setups: dict[int, Row] = {}
        self._engines: dict[int, Row] = {}
        self._texts: dict[str, tuple[str, str]] = {}
        self._carried: list[Row] = []
        self._totals: Counter[str | None] = Counter()
        self._opened = self._recovered = self._unacknowledged = self._removed = self._records = 0
        self._withdrawn = 0
        self._lost: list[int] = []
        self._losses: list[str] = []
        self._legacy = False
        self._columns: tuple[str, ...] = PART_COLUMNS
        self._values = itemgetter(*PART_COLUMNS)

    def proof(self) -> SegmentProof:
        """Walk through the file, once."""
        connection, found = self._connection, self._found
        seq, digest, before, first_seq, events, first, sealed = 0, "", "", 0, 0, {}, False
        journal_id = ""
        try:
            connection.execute("BEGIN")
            self._legacy = connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION
            journal_id = read_meta(connection, "journal_id")
            self._columns = legacy.LEGACY_COLUMNS if self._legacy else PART_COLUMNS
            self._values = itemgetter(*self._columns)
            for (problem,) in connection.execute("PRAGMA integrity_check(20)").fetchall():
                if problem != "ok":
                    found.add("file", problem)
            for change in changes_of_shape(connection):
                found.add("file", f"another program changed {self._path.name}: {change}")
            if not journal_id:
                found.add("chain", "the journal's identity (table meta) was taken out")
            first = self._first_values()
            before = str(first.get("head", ""))
            first_seq = int(first["seq"]) + 1
            records = int(first.get("records", 0))
            events, seq, digest, kind = self._walk(first_seq, before, records)
            stored = read_head(connection)
            if (seq, digest) != (stored[0], stored[1].hex()):
                text = f"ends with event {seq}, its own head says {stored[0]}: it was cut or extended"
                found.add("chain", text)
            sealed = self._legacy or kind == SEALED
            self._compare_rest()
            self._compare_names()
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            found.add("file", str(explain(error, self._path, sealed=True)))
        base = {outcome: int(first.get("counts", {}).get(outcome, 0)) for outcome in (ACCEPT, REJECT, FAULT)}
        totals = {one: base[one] + self._totals[one] for one in base}
        records_before = int(first.get("records", 0))
        rows = self._records_in_hand()
        return SegmentProof(
            file=self._path.name,
            number=int(first.get("number", 1)),
            journal_id=journal_id,
            before=before,
            first_seq=first_seq,
            seq=seq,
            head=digest,
            events=events,
            base=base,
            records_before=records_before,
            totals=totals,
            records=records_before + self._opened,
            open=self._totals[None],
            recovered=self._recovered,
            unacknowledged=self._unacknowledged,
            withdrawn=self._withdrawn,
            carried=self._digest_of_records(self._carried),
            in_hand=self._digest_of_records(rows),
            in_hand_outcomes=[(row["record_id"], row["outcome"]) for row in rows],
            removed_through=self._removed,
            lost=self._lost,
            losses=self._losses,
            sealed=sealed,
            findings=found.all(),
            findings_total=dict(found.kinds),
            file_digest=self._file_digest,
        )

    def _first_values(self) -> dict[str, Any]:
        """What the first event says; the journal's beginning where it is not one of a segment."""
        start: dict[str, Any] = {"seq": 0, "head": genesis(read_meta(self._connection, "journal_id")).hex()}
        if self._legacy:
            return start
        row = self._connection.execute("SELECT kind, payload FROM events ORDER BY seq LIMIT 1").fetchone()
        try:
            if row is None or row[0] != SEGMENT:
                raise ChainError("is not there")
            values = unpack(SEGMENT, row[1])
            bytes.fromhex(values["head"])
            return {**start, **values, "seq": int(values["seq"])}
        except (ChainError, KeyError, TypeError, ValueError) as error:
            self._found.add("chain", f"the first event of the segment {error}")
            return start

    def _walk(self, first_seq: int, before: str, records_before: int) -> tuple[int, int, str, str]:
        """Follow the chain: how many events, and the last one's number, digest and kind."""
        found, events, kind = self._found, 0, ""
        expected = first_seq
        last: Any = before if self._legacy else bytes.fromhex(before)
        source = legacy.GET_EVENTS if self._legacy else GET_EVENTS
        make: Callable[..., Any] = legacy.digest_of if self._legacy else digest_of
        of = self._connection.execute("SELECT max(seq) FROM events").fetchone()[0]
        self._records = records_before
        query = f"{source} ORDER BY seq"
        for seq, record_id, kind, at, payload, scores, digest in self._connection.execute(query):
            if seq != expected:
                found.add("chain", f"events {expected} to {seq - 1} are missing", record_id)
            try:
                if make(last, seq, record_id, kind, at, payload, scores) != digest:
                    text = f"event {seq} ({kind}) does not fit its digest and the event before"
                    found.add("chain", text, record_id)
            except ChainError as error:
                found.add("chain", f"event {seq} ({kind}): {error}", record_id)
            expected, last = seq + 1, digest
            try:
                self._take(seq, record_id, kind, payload, scores, events == 0)
            except (ChainError, KeyError, TypeError) as error:
                found.add("record", f"event {seq} ({kind}): {error}", record_id)
            events += 1
            if self._progress is not None and events % 1000 == 0:
                self._progress(events, of - first_seq + 1)
        return events, expected - 1, last.hex() if isinstance(last, bytes) else str(last), kind

    def _take(
        self, seq: int, record_id: int, kind: str, payload: str, scores: bytes | None, is_first: bool
    ) -> None:
        """One event, and what it does to its record. Raises :class:`ChainError`."""
        values = legacy.unpack(kind, payload) if self._legacy else unpack(kind, payload)
        if kind not in RECORD_EVENTS:
            self._take_other(kind, values, is_first)
            return
        table = values.pop("scores", None) if self._legacy else None
        row = apply(self._rows.get(record_id), kind, seq, record_id, values)
        self._rows[record_id] = row
        if kind == OPENED:
            self._opened += 1
            if record_id != self._records + self._opened:
                text = f"is the {self._records + self._opened}th record that was opened"
                self._found.add("conservation", text, record_id)
        if kind == CARRIED:
            self._carried.append(self._whole(row))
        self._withdrawn += kind == WITHDRAWN
        if row["verdict_seq"] == seq or kind == WITHDRAWN:
            has_scores = legacy.usable_scores(table) if self._legacy else usable_scores(scores)
            for problem in problems_of_verdict(self._whole(row), has_scores=has_scores):
                self._found.add("law", problem, record_id)
        if row["acknowledged"] is not None:
            self._close(self._rows.pop(record_id))

    def _take_other(self, kind: str, values: dict[str, Any], is_first: bool) -> None:
        if kind not in KNOWN or self._legacy or (kind == SEGMENT) is not is_first:
            raise ChainError(f"is an event that this station does not know here (kind {kind!r})")
        if kind == SETUP:
            self._setups[values.pop("id")] = values
        elif kind == ENGINE:
            self._engines[values.pop("id")] = values
        elif kind == REMOVED:
            self._removed = max(self._removed, int(values["through"]))
        elif kind == LOSS:
            self._lost += [int(one) for one in values["segments"]]
            self._losses.append(
                f"{values['events']} events after event {values['after_seq']} are lost "
                f"({'; '.join(values['found'])}); acknowledged by {values['by']}: {values['why']}"
            )
        elif kind == TEXT:
            digest, what, text = values["digest"], values["what"], values["text"]
            if hashlib.sha256(text.encode()).hexdigest() != digest:
                self._found.add("record", f"the text of {what} {digest[:12]} is not the one of its digest")
            self._texts[digest] = (what, text)

    def _whole(self, row: Row) -> Row:
        """The record with the columns of its setup and engine."""
        if self._legacy:
            return row
        setup = self._setups.get(row["setup"])
        if setup is None:
            raise ChainError(f"names setup {row['setup']}, which no event before it gave")
        if row["engine"] is None:
            return {**row, **setup}
        engine = self._engines.get(row["engine"])
        if engine is None:
            raise ChainError(f"names engine {row['engine']}, which no event before it gave")
        return {**row, **setup, **engine}

    def _close(self, row: Row) -> None:
        """One record as its events make it: counted, compared with ``parts`` and with the cell's word."""
        record_id, outcome, sent, put = row["record_id"], row["outcome"], row["bin"], row["ack_bin"]
        self._totals[outcome] += 1
        self._recovered += bool(row["recovered"])
        self._unacknowledged += row["acknowledged"] in (False, 0)
        self._compare(row)
        if row["acknowledged"] and put is None:
            self._found.add("bin", "is acknowledged without a bin", record_id)
        elif put is not None and put != sent:
            good_bin = self._whole(row)["good_bin"]
            good = ", the bin of good parts" if put == good_bin and outcome != ACCEPT else ""
            text = f"a {outcome} sent to bin {sent} was put into bin {put}{good}"
            self._found.add("bin", text, record_id)

    def _compare(self, row: Row) -> None:
        record_id = row["record_id"]
        while record_id > self._read_to and self._read_ahead():
            pass
        stored = self._stored.pop(record_id, None)
        if stored is None:
            self._found.add("record", "has events, but its row in parts is gone", record_id)
        elif stored != self._values(row):
            for name, value in zip(self._columns, stored, strict=True):
                if value != row[name] or (value is None) is not (row[name] is None):
                    text = f"parts says {name} = {value!r}, its events say {row[name]!r}"
                    self._found.add("record", text, record_id)

    def _read_ahead(self) -> bool:
        """Read more rows of ``parts``; False at their end."""
        query = f"SELECT {', '.join(self._columns)} FROM parts WHERE record_id > ? ORDER BY record_id LIMIT ?"
        rows = self._connection.execute(query, (self._read_to, ROWS)).fetchall()
        self._stored |= {row[0]: row for row in rows}
        self._read_to = rows[-1][0] if len(rows) == ROWS else 2**63 - 1
        return len(rows) == ROWS

    def _compare_rest(self) -> None:
        """The records still in hand, and rows of ``parts`` that no event made."""
        for row in self._rows.values():
            self._totals[row["outcome"]] += 1
            self._compare(row)
        while True:
            for record_id in sorted(self._stored):
                self._found.add("conservation", "stands in parts, but no trigger opened it", record_id)
            self._stored = {}
            if self._read_to == 2**63 - 1:
                return
            self._read_ahead()

    def _compare_names(self) -> None:
        """Setups, engines and texts are what their events say."""
        if self._legacy:
            return
        for table, columns, made in (
            ("setups", SETUP_COLUMNS, self._setups),
            ("engines", ENGINE_COLUMNS, self._engines),
        ):
            rows = self._connection.execute(f"SELECT id, {', '.join(columns)} FROM {table}").fetchall()
            if {row[0]: row[1:] for row in rows} != {
                number: tuple(values[name] for name in columns) for number, values in made.items()
            }:
                self._found.add("record", f"the table {table} is not what its events say")
        rows = self._connection.execute("SELECT digest, what, text FROM texts").fetchall()
        if {row[0]: row[1:] for row in rows} != self._texts:
            self._found.add("record", "the table texts is not what its events say")

    def _records_in_hand(self) -> list[Row]:
        """The records that wait for their verdict or receipt at the end, by number."""
        rows = []
        for record_id in sorted(self._rows):
            with suppress(ChainError):
                rows.append(self._whole(self._rows[record_id]))
        return rows

    def _digest_of_records(self, rows: list[Row]) -> str:
        """One digest for records, by all they are known by; the same in both of two neighbours."""
        names = [name for name in COLUMNS if name != "verdict_seq"]
        table = [[_plain(name, row.get(name)) for name in names] for row in rows]
        return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def _plain(name: str, value: Any) -> Any:
    return int(value) if name in FLAGS and value is not None else value
