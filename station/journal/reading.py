"""Reading a journal beside the station that writes it: never blocks it, never changes a byte.

Records come in batches, each its own short read, so that a long export does not keep the station from
reusing its write-ahead log; every record is as it was when its batch was read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from station.journal import legacy
from station.journal.errors import JournalError, explain, journal_name
from station.journal.events import CARRIED, ENGINE, OPENED, OUTCOMES, SETUP, SHOWN_EVENTS, VERDICT
from station.journal.packing import record_of, scores_from_json, unpack, unpack_scores
from station.journal.record import COLUMNS, ENGINE_COLUMNS, SETUP_COLUMNS, PartRecord
from station.journal.schema import (
    GET_EVENTS,
    RECORD_COLUMNS,
    RECORD_TABLES,
    SCHEMA_VERSION,
    Head,
    connect_readonly,
    station_condition,
)
from station.journal.segments import Segment, catalogue, describe, is_index
from station.journal.selection import Selection, is_selected, may_hold, times_of, ways_to

BATCH = 500
"""Records read at a time."""
OPEN_FILES = 4
"""Segments that a reader keeps open."""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """An event for programs that send it on: every value by name, nothing left to look up."""

    seq: int
    record_id: int
    """0 for an event of the station."""
    kind: str
    at: str
    values: dict[str, Any]
    scores: NDArray[np.float32] | None
    digest: str
    """Hex."""


class JournalReader:
    """A journal, or one segment of it, opened for reading. Raises :class:`JournalError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, sqlite3.Connection] = {}
        connection = connect_readonly(path, lowest=2 if path.name != journal_name(path) else SCHEMA_VERSION)
        try:
            self._alone = not is_index(connection)
        finally:
            connection.close()

    def segments(self, *, counted: bool = False) -> list[Segment]:
        """The files that there are, in order; one alone where a segment was named.

        ``counted``: with the records by outcome of the segment that is written, which takes a moment.
        """
        if self._alone:
            return [describe(self.path, 1)]
        return [one for one in catalogue(self.path, counted=counted) if not one.removed_at]

    def records(self, selection: Selection | None = None, *, scores: bool = True) -> Iterator[PartRecord]:
        """The records selected; ``scores=False`` leaves the tables of scores on the disk."""
        selection = selection or Selection()
        found = self._records(selection, scores)
        yield from found if selection.limit is None else islice(found, selection.limit)

    def record(self, record_id: int) -> PartRecord | None:
        """One record with its scores; None when there is none of this number."""
        for segment in reversed(self.segments()):  # a record that was carried over ends in the later one
            if segment.first_record <= record_id <= segment.last_record:
                found = self._query(
                    segment, f"{_select(segment, True)} WHERE parts.record_id = ?", (record_id,)
                )
                if found:
                    return self._record(segment, found[0])
        return None

    def counts(self) -> dict[str, int]:
        """Records by outcome in the files that there are: triggers, accept, reject, fault, open."""
        segments = self.segments(counted=True)
        sums = (
            sum(one.accepted for one in segments),
            sum(one.rejected for one in segments),
            sum(one.faulted for one in segments),
            sum(one.open for one in segments),
        )
        return {"triggers": sum(sums), **dict(zip(OUTCOMES, sums, strict=True))}

    def count(self, selection: Selection) -> int:
        """The number of records selected, whatever the selection's limit."""
        total = 0
        for segment, lowest in self._spans():
            if not may_hold(segment, selection):
                continue
            low, high = self._range(segment, selection)
            # A join costs more than the count itself, and only the lot needs one.
            tables = "parts JOIN setups ON setups.id = parts.setup" if selection.lot is not None else "parts"
            hidden = "" if self._alone else segment.carried
            for _, wheres, values in ways_to(selection):
                between = ("parts.record_id BETWEEN ? AND ?", f"parts.record_id NOT IN ({hidden})")
                sql = f"SELECT count(*) FROM {tables} WHERE {' AND '.join([*between, *wheres])}"
                total += self._query(segment, sql, (max(low, lowest), high, *values))[0][0]
            if segment.carried and not self._alone:
                total += sum(1 for _ in self._carried(segment, lowest, selection, False))
        return total

    def head(self) -> Head:
        """Which journal this is and its last event."""
        last = self.segments()[-1]
        row = self._query(last, "SELECT value FROM meta WHERE key = 'journal_id'", ())
        return Head(str(row[0][0]) if row else "", last.last_seq, last.head)

    def events(self, after_seq: int = 0, *, limit: int | None = None) -> Iterator[JournalEvent]:
        """The events after ``after_seq``, in order, through all segments, up to the last one written.

        Raises :class:`JournalError` when events after it were removed by the policy, or a file is missing.
        """
        segments = self.segments()
        if after_seq and segments and after_seq + 1 < segments[0].first_seq:
            raise JournalError(
                f"journal {self.path}: the events {after_seq + 1} to {segments[0].first_seq - 1} were "
                "removed by the policy: read them from the archive, or start after them"
            )
        found = (
            one
            for segment in segments
            if segment.last_seq > after_seq
            for one in self._events(segment, after_seq)
        )
        yield from found if limit is None else islice(found, limit)

    def station_events(
        self, kinds: Iterable[str] = SHOWN_EVENTS, *, record_id: int | None = None, after_seq: int = 0
    ) -> Iterator[JournalEvent]:
        """What the station did, or what was said of one record later, in order; only after ``after_seq``."""
        wanted = ", ".join(repr(kind) for kind in kinds if kind in SHOWN_EVENTS) or "NULL"
        for segment in self.segments():
            if segment.schema < SCHEMA_VERSION or (record_id or 0) > segment.last_record:
                continue
            if segment.last_seq <= after_seq:
                continue
            one = "" if record_id is None else f" AND record_id = {int(record_id)}"
            where = f"{self._station_condition(segment)} AND kind IN ({wanted}) AND seq > {int(after_seq)}"
            found = self._query(
                segment,
                f"{GET_EVENTS} INDEXED BY events_of_the_station WHERE {where}{one} ORDER BY seq",
                (),
            )
            for seq, about, kind, at, payload, _, digest in found:
                yield JournalEvent(seq, about, kind, at, unpack(kind, payload), None, digest.hex())

    def is_there(self, seq: int) -> bool:
        """Whether the file that holds this event is still there."""
        return any(one.first_seq <= seq <= one.last_seq for one in self.segments())

    def digest(self, seq: int) -> str:
        """The digest of an event, hex. Raises :class:`JournalError` when it is not there."""
        for segment in self.segments():
            if segment.first_seq <= seq <= segment.last_seq:
                found = self._query(segment, "SELECT digest FROM events WHERE seq = ?", (seq,))
                if found:
                    return _hex(found[0][0])
        raise JournalError(f"journal {self.path}: there is no event {seq}")

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """The documents that records name by their digest: digest, what it is, its text; each once."""
        seen: set[str] = set()
        for segment in self.segments():
            if segment.schema < SCHEMA_VERSION:
                continue
            for digest, what, text in self._query(segment, "SELECT digest, what, text FROM texts", ()):
                if digest not in seen:
                    seen.add(digest)
                    yield digest, what, text

    def grouped(
        self, key: str, selection: Selection
    ) -> Iterator[tuple[str, str | None, str | None, int, int, int]]:
        """Counts for a summary: key, outcome, class, records, lowest and highest record number.

        ``key``: an SQL expression over a record's columns. A key comes once per segment that has it.
        """
        wheres, values = times_of(selection)
        for segment in self.segments():
            if not may_hold(segment, selection):
                continue
            hidden = "" if self._alone else segment.carried
            conditions = [*(f"parts.{where}" for where in wheres), f"record_id NOT IN ({hidden})"]
            tables = "parts" if segment.schema < SCHEMA_VERSION else RECORD_TABLES
            missing = {"shift": "NULL", "lot": "NULL"} if segment.schema < SCHEMA_VERSION else {}
            expression = key
            for name, null in missing.items():
                expression = expression.replace(f"coalesce({name},", f"coalesce({null},")
            sql = (
                f"SELECT {expression}, outcome, class_name, count(*), min(record_id), max(record_id) "
                f"FROM {tables} WHERE {' AND '.join(conditions)} GROUP BY 1, 2, 3"
            )
            yield from self._query(segment, sql, tuple(values))

    def ends(self, record_ids: set[int]) -> dict[int, tuple[int, str]]:
        """Record number -> part id and time of its trigger."""
        found: dict[int, tuple[int, str]] = {}
        for segment in self.segments():
            here = [one for one in record_ids if segment.first_record <= one <= segment.last_record]
            for start in range(0, len(here), BATCH):
                ids = ", ".join(map(str, here[start : start + BATCH]))
                sql = f"SELECT record_id, part_id, opened_at FROM parts WHERE record_id IN ({ids})"
                found |= {row[0]: (row[1], row[2]) for row in self._query(segment, sql, ())}
        return found

    def text(self, digest: str) -> tuple[str, str]:
        """What a digest stands for, and its text; the first characters of the digest will do.

        Raises :class:`JournalError` when no text, or more than one, begins so.
        """
        found = {whole: (what, text) for whole, what, text in self.texts() if whole.startswith(digest)}
        if len(found) != 1:
            many = f"{len(found)} texts" if found else "no text"
            raise JournalError(
                f"journal {self.path}: has {many} with the digest {digest}: `station journal text` lists them"
            )
        return next(iter(found.values()))

    def close(self) -> None:
        """Close the files."""
        for connection in self._open.values():
            connection.close()
        self._open = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ records

    def _spans(self) -> list[tuple[Segment, int]]:
        """Each segment, and the first record that is to be read from it."""
        spans: list[tuple[Segment, int]] = []
        opened = 0
        for segment in self.segments():
            # A record that goes on in the next segment stands in both: it comes where it was opened.
            spans.append((segment, opened + 1 if spans else 0))
            opened = max(opened, segment.last_record)
        return spans

    def _records(self, selection: Selection, scores: bool) -> Iterator[PartRecord]:
        spans = self._spans()
        for segment, lowest in reversed(spans) if selection.newest_first else spans:
            if not may_hold(segment, selection):
                continue
            streams = [
                self._stream(segment, lowest, selection, scores, index, wheres, values)
                for index, wheres, values in ways_to(selection)
            ]
            if segment.carried and not self._alone:
                streams.append(self._carried(segment, lowest, selection, scores))
            yield from (
                streams[0]
                if len(streams) == 1
                else merge(*streams, key=lambda record: record.record_id, reverse=selection.newest_first)
            )

    def _carried(
        self, segment: Segment, lowest: int, selection: Selection, scores: bool
    ) -> Iterator[PartRecord]:
        """The records that were opened here and ended in a later segment, as they ended."""
        for record_id in sorted(segment.carried_ids, reverse=selection.newest_first):
            record = self.record(record_id) if record_id >= lowest else None
            if record is not None and is_selected(record, selection):
                yield record if scores else replace(record, scores=None)

    def _stream(
        self,
        segment: Segment,
        lowest: int,
        selection: Selection,
        scores: bool,
        index: str,
        wheres: list[str],
        values: list[Any],
    ) -> Iterator[PartRecord]:
        """The records of one segment that one index leads to, in order of their numbers, batch by batch."""
        low, high = self._range(segment, selection)
        low = max(low, lowest)
        hidden = frozenset() if self._alone else segment.carried_ids
        direction, order = ("<", "DESC") if selection.newest_first else (">", "ASC")
        at, size = (high + 1 if selection.newest_first else low - 1), 20
        far = low if selection.newest_first else high
        if segment.schema < SCHEMA_VERSION and index == "parts_by_class":
            index = ""
        tables = _select(segment, scores, f"INDEXED BY {index}" if index else "NOT INDEXED")
        back = ">=" if selection.newest_first else "<="
        conditions = (f"parts.record_id {direction} ?", f"parts.record_id {back} ?")
        sql = (
            f"{tables} WHERE {' AND '.join([*conditions, *wheres])} ORDER BY parts.record_id {order} LIMIT ?"
        )
        while True:
            batch = self._query(segment, sql, (at, far, *values, size))
            for found in batch:
                at = found[0]
                if at not in hidden:
                    yield self._record(segment, found)
            if len(batch) < size:
                return
            size = BATCH

    def _range(self, segment: Segment, selection: Selection) -> tuple[int, int]:
        """The record numbers between which a selection by time lies."""
        wheres, values = times_of(selection)
        lowest = selection.after_record + 1
        if not wheres:
            return max(segment.first_record, lowest), max(segment.last_record, segment.first_record)
        sql = f"SELECT min(record_id), max(record_id) FROM parts WHERE {' AND '.join(wheres)}"
        low, high = self._query(segment, sql, tuple(values))[0]
        return (1, 0) if low is None else (max(low, lowest), high)

    def _record(self, segment: Segment, found: tuple[Any, ...]) -> PartRecord:
        *columns, packed = found
        row = dict(zip(COLUMNS, columns, strict=True))
        table = legacy.unpack_scores(packed) if segment.schema < SCHEMA_VERSION else unpack_scores(packed)
        return record_of(row, table)

    # ------------------------------------------------------------------ events

    def _events(self, segment: Segment, after_seq: int) -> Iterator[JournalEvent]:
        setups = self._names(segment, "setups", SETUP_COLUMNS)
        engines = self._names(segment, "engines", ENGINE_COLUMNS)
        source = legacy.GET_EVENTS if segment.schema < SCHEMA_VERSION else GET_EVENTS
        while True:
            rows = self._query(segment, f"{source} WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, BATCH))
            for seq, record_id, kind, at, payload, packed, digest in rows:
                after_seq = seq
                if segment.schema < SCHEMA_VERSION:
                    values = legacy.unpack(kind, payload)
                    scores = scores_from_json(values.pop("scores", None))
                else:
                    values, scores = unpack(kind, payload), unpack_scores(packed)
                    if kind == SETUP:
                        setups[values["id"]] = {name: values[name] for name in SETUP_COLUMNS}
                    elif kind == ENGINE:
                        engines[values["id"]] = {name: values[name] for name in ENGINE_COLUMNS}
                    if kind in (OPENED, CARRIED):
                        values |= setups[values.pop("setup")]
                    if kind in (VERDICT, CARRIED):
                        values |= engines.get(values.pop("engine"), dict.fromkeys(ENGINE_COLUMNS))
                yield JournalEvent(seq, record_id, kind, at, values, scores, _hex(digest))
            if len(rows) < BATCH:
                return

    def _names(self, segment: Segment, table: str, columns: tuple[str, ...]) -> dict[int, dict[str, Any]]:
        if segment.schema < SCHEMA_VERSION:
            return {}
        rows = self._query(segment, f"SELECT id, {', '.join(columns)} FROM {table}", ())
        return {number: dict(zip(columns, values, strict=True)) for number, *values in rows}

    def _station_condition(self, segment: Segment) -> str:
        path = self.path if self._alone else self.path.with_name(segment.file)
        try:
            return station_condition(self._connection(path))
        except sqlite3.Error as error:
            raise explain(error, path, sealed=segment.sealed) from error

    def _query(self, segment: Segment, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        path = self.path if self._alone else self.path.with_name(segment.file)
        try:
            return self._connection(path).execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, path, sealed=segment.sealed) from error

    def _connection(self, path: Path) -> sqlite3.Connection:
        found = self._open.pop(path.name, None)
        if found is None:
            found = connect_readonly(path, lowest=2)
            while len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
        self._open[path.name] = found  # the latest one last
        return found


def _select(segment: Segment, scores: bool, hint: str = "") -> str:
    old = segment.schema < SCHEMA_VERSION
    columns = legacy.RECORD_COLUMNS if old else RECORD_COLUMNS
    parts = f"parts {hint}" if hint else "parts"
    tables = parts if old else RECORD_TABLES.replace("parts", parts, 1)
    if not scores:
        return f"SELECT {columns}, NULL FROM {tables}"
    packed = "events.payload" if old else "events.scores"
    return f"SELECT {columns}, {packed} FROM {tables} LEFT JOIN events ON events.seq = parts.verdict_seq"


def _hex(digest: Any) -> str:
    return digest.hex() if isinstance(digest, bytes) else str(digest)
