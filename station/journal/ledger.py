"""What the next transaction will write: events chained, records grown, names given. No I/O.

A :class:`Ledger` extends its parent and leaves it untouched until :meth:`Ledger.keep`, so that one part
that is refused, or one transaction that fails, leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from station.journal.events import (
    CARRIED,
    ENGINE,
    OPENED,
    RECORD_EVENTS,
    SETUP,
    TEXT,
    VERDICT,
    WITHDRAWN,
    ChainError,
    Event,
    Row,
    apply,
    chained,
    problems_of_verdict,
    utc_ago,
)
from station.journal.packing import pack, usable_scores
from station.journal.record import ENGINE_COLUMNS, PART_COLUMNS, SETUP_COLUMNS

_LARGEST = 2**63 - 1
_NAMED = {SETUP: SETUP_COLUMNS, ENGINE: ENGINE_COLUMNS}
_INSERTS = {
    SETUP: f"INSERT INTO setups VALUES ({', '.join('?' * (1 + len(SETUP_COLUMNS)))})",
    ENGINE: f"INSERT INTO engines VALUES ({', '.join('?' * (1 + len(ENGINE_COLUMNS)))})",
    TEXT: "INSERT INTO texts VALUES (?, ?, ?)",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A document that a record names by its digest."""

    digest: str
    what: str
    """``recipe`` or ``configuration``."""
    text: str


@dataclass(frozen=True, slots=True)
class Live:
    """A record that still waits for its verdict or its receipt."""

    row: Row
    received_ns: int | None = None
    """The trigger on this process's monotonic clock; None when another process took it."""
    written_ns: int | None = None
    """The verdict was on the disk."""


class Ledger:
    """The end of a chain, the records in hand and the names given so far in this segment."""

    def __init__(self, seq: int, digest: bytes, last_record: int, parent: Ledger | None = None) -> None:
        self.seq = seq
        self.digest = digest
        self.last_record = last_record
        self._parent = parent
        self.live: dict[int, Live | None] = {}
        """Record -> how it stands; None when it is closed."""
        self.names: dict[tuple[Any, ...], int] = {}
        """Setup or engine -> the number it has in this segment."""
        self.texts: set[str] = set()
        self.links: list[Event] = []
        self.rows: dict[int, Row] = {}
        """Records changed, as they stand after the last event."""
        self.inserts: list[tuple[str, tuple[Any, ...]]] = []

    def fork(self) -> Ledger:
        """A ledger that extends this one and can be kept or dropped."""
        return Ledger(self.seq, self.digest, self.last_record, self)

    def keep(self) -> None:
        """Take what was added into the parent."""
        parent = self._parent
        assert parent is not None
        parent.seq, parent.digest, parent.last_record = self.seq, self.digest, self.last_record
        parent.live |= self.live
        parent.names |= self.names
        parent.texts |= self.texts
        parent.links += self.links
        parent.rows |= self.rows
        parent.inserts += self.inserts

    def settle(self) -> None:
        """Forget what was written: what remains is where the chain ends and what is in hand."""
        self.links, self.rows, self.inserts = [], {}, []
        self.live = {one: live for one, live in self.live.items() if live is not None}

    def find(self, record_id: int) -> Live | None:
        """How a record stands; None when it is closed or was never opened."""
        if record_id in self.live:
            return self.live[record_id]
        return self._parent.find(record_id) if self._parent else None

    def append(
        self,
        kind: str,
        record_id: int,
        values: Mapping[str, Any],
        scores: bytes | None = None,
        received_ns: int | None = None,
    ) -> int:
        """Chain an event; the record it speaks of. ``values`` by name, those of setup and engine included.

        Raises :class:`ChainError`, ValueError or TypeError when it is unlawful; drop this ledger then.
        """
        if kind not in RECORD_EVENTS:
            self._chain(kind, record_id, values)
            return record_id
        if any(type(value) is int and abs(value) > _LARGEST for value in values.values()):
            raise ChainError("a number is larger than the journal can hold")
        if kind == OPENED:
            record_id = self.last_record + 1
        grown = dict(values)
        if kind in (OPENED, CARRIED):
            grown["setup"] = self._number(SETUP, values)
        if kind in (VERDICT, CARRIED):
            grown["engine"] = self._number(ENGINE, values)
        payload = {name: grown[name] for name in PART_COLUMNS[1:]} if kind == CARRIED else grown
        seq = self._chain(kind, record_id, payload, scores)
        live = self.find(record_id)
        row = apply(live.row if live else None, kind, seq, record_id, grown)
        if kind in (VERDICT, WITHDRAWN):
            problems = problems_of_verdict(row, has_scores=usable_scores(scores))
            if problems:
                raise ChainError("; ".join(problems))
        self.last_record = max(self.last_record, record_id)
        self.rows[record_id] = row
        closed = row["acknowledged"] is not None
        self.live[record_id] = None if closed else Live(row, live.received_ns if live else received_ns)
        return record_id

    def name_text(self, text: Text) -> None:
        """Write a document, once in this segment."""
        if not self._knows(text.digest):
            self.texts.add(text.digest)
            self._chain(TEXT, 0, {"digest": text.digest, "what": text.what, "text": text.text})
            self.inserts.append((_INSERTS[TEXT], (text.digest, text.what, text.text)))

    def _knows(self, digest: str) -> bool:
        return digest in self.texts or (self._parent is not None and self._parent._knows(digest))

    def _number(self, kind: str, values: Mapping[str, Any]) -> int | None:
        """The number of a setup or an engine; written when it is new. None where nothing is known of it."""
        columns = _NAMED[kind]
        found = tuple([values[name] for name in columns])
        if kind == ENGINE and not any(found):
            return None
        key = (kind, *found)
        number = self._named(key)
        if number is None:
            number = 1 + self._count(kind)
            self.names[key] = number
            self._chain(kind, 0, {"id": number, **dict(zip(columns, found, strict=True))})
            self.inserts.append((_INSERTS[kind], (number, *found)))
        return number

    def _named(self, key: tuple[Any, ...]) -> int | None:
        number = self.names.get(key)
        return self._parent._named(key) if number is None and self._parent else number

    def _count(self, kind: str) -> int:
        before: int = self._parent._count(kind) if self._parent else 0
        return before + sum(1 for key in self.names if key[0] == kind)

    def _chain(
        self, kind: str, record_id: int, values: Mapping[str, Any], scores: bytes | None = None
    ) -> int:
        event = chained(self.digest, self.seq + 1, record_id, kind, utc_ago(0), pack(kind, values), scores)
        self.links.append(event)
        self.seq, self.digest = event.seq, event.digest
        return event.seq
