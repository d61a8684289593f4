"""The two streams of numbered messages, read from the journal: records and events.

A record's number is its number in the journal: 1, 2, 3 … in the order of the triggers, without a gap. It is
sent when it has come to its end, and after every record with a lower number. An event's number is its number
in the journal's chain; as the chain holds other events too, each names the one sent before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from station.journal.cursors import Cursor, cursors, open_cursor
from station.journal.events import utc_text
from station.journal.following import JournalFollower
from station.journal.record import COLUMNS, PartRecord
from station.journal.selection import Selection
from station.telemetry.settings import EVENTS, RECORDS

PREFIX = "telemetry"
LEFT_OUT = ("record_id", "verdict_seq")
"""Columns that the message has under another name, or that mean nothing outside the journal."""

_FAR = 1000
"""Events of the chain."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """One message of a stream, without what changes from one sending to the next."""

    number: int
    body: dict[str, Any]


class Stream(ABC):
    """One stream, read onwards. Raises ``JournalError``."""

    name: str

    def __init__(self, reader: JournalFollower) -> None:
        self._reader = reader

    @abstractmethod
    def held_at(self, cursor: Cursor) -> int:
        """The number up to which a cursor says that everything is delivered."""

    @abstractmethod
    def read(self, after: int, limit: int) -> list[Numbered]:
        """The messages with higher numbers, in order, that can be sent now."""

    @abstractmethod
    def oldest(self) -> int:
        """The lowest number that the journal still has, or may have."""

    @abstractmethod
    def newest(self) -> int:
        """The highest number that can be sent now."""

    @abstractmethod
    def waiting(self, held: int) -> int:
        """How many messages with higher numbers there are."""

    @abstractmethod
    def place(self, held: int, cursor: Cursor) -> int:
        """The event to which a cursor moves when everything up to ``held`` is delivered."""

    def may_move(self, held: int, cursor: Cursor, head: int) -> bool:
        """Whether a cursor may move on though nothing more was delivered."""
        return False

    @abstractmethod
    def replay_from(self, held: int, cursor: Cursor, replay_s: float) -> int:
        """The first number that was sent at most ``replay_s`` before the cursor was moved to ``held``."""


class RecordStream(Stream):
    """Parts that have come to their end."""

    name = RECORDS

    def held_at(self, cursor: Cursor) -> int:
        """Below the first record that was opened after the cursor."""
        last = self._reader.last_record()  # first: a record that is opened between the two was never sent
        following = self._reader.next_record(cursor.seq)
        return last if following is None else following - 1

    def read(self, after: int, limit: int) -> list[Numbered]:
        """Closed records; the first may lie further on where the policy has removed some."""
        return [
            Numbered(one.record_id, body_of(one)) for one in self._reader.closed_records(after, limit=limit)
        ]

    def oldest(self) -> int:
        """The first record of the oldest file."""
        return self._reader.oldest_record()

    def newest(self) -> int:
        """The record before the first open one."""
        last = self._reader.last_record()  # first: one that is opened between the two has not come to its end
        opened = self._reader.records(Selection(outcomes=("open",), limit=1), scores=False)
        return min([last, *(one.record_id - 1 for one in opened)])

    def waiting(self, held: int) -> int:
        """Records have no gaps; those in hand are not counted."""
        return max(0, self.newest() - held)

    def place(self, held: int, cursor: Cursor) -> int:
        """Before the event that opened the next record: all that is said of later records lies behind it."""
        head = self._reader.head_seq()
        opening = self._reader.opening(held + 1, cursor.seq)
        return max(cursor.seq, head if opening is None else opening - 1)

    def replay_from(self, held: int, cursor: Cursor, replay_s: float) -> int:
        """By the times at which the records were opened, going back from ``held``."""
        since = _before(cursor.moved_at, replay_s)
        first = held + 1
        for low in range(held, 0, -100):
            batch = self._reader.closed_records(max(0, low - 100), limit=100)
            inside = [one.record_id for one in batch if one.record_id <= held and one.opened_at >= since]
            if not inside:
                break
            first = min(inside)
            if first > max(0, low - 100) + 1:
                break
        return first


class EventStream(Stream):
    """What the station did, and what was said of records later."""

    name = EVENTS

    def __init__(self, reader: JournalFollower) -> None:
        super().__init__(reader)
        self._nothing_until = (0, 0)
        """After which event nothing was found, and up to which one."""

    def held_at(self, cursor: Cursor) -> int:
        """The cursor stands on an event of the chain; the last one sent lies there or before."""
        return cursor.seq

    def read(self, after: int, limit: int) -> list[Numbered]:
        """Each names the one before it."""
        quiet_after, quiet_until = self._nothing_until
        start = quiet_until if quiet_after <= after <= quiet_until else after
        head = self._reader.head_seq()
        found = self._reader.shown_events(start, limit=limit)
        if not found:
            self._nothing_until = (min(after, start), head)
            return []
        previous = self._reader.last_shown_event(found[0].seq - 1)
        messages = []
        for one in found:
            record = one.record_id or None
            event = {"kind": one.kind, "at": one.at, "record": record, "values": one.values}
            messages.append(Numbered(one.seq, {"previous": previous, "event": event}))
            previous = one.seq
        return messages

    def oldest(self) -> int:
        """The first event of the oldest file."""
        return next((one.first_seq for one in self._reader.segments()), 1)

    def newest(self) -> int:
        """The last event of the stream."""
        return self._reader.last_shown_event(self._reader.head_seq())

    def waiting(self, held: int) -> int:
        """Counted one by one."""
        quiet_after, quiet_until = self._nothing_until
        return self._reader.count_shown_events(max(held, quiet_until) if held >= quiet_after else held)

    def place(self, held: int, cursor: Cursor) -> int:
        """On to the head where nothing of the stream lies between."""
        head = self._reader.head_seq()
        following = self._reader.shown_events(held, limit=1)
        return max(cursor.seq, head if not following else following[0].seq - 1)

    def may_move(self, held: int, cursor: Cursor, head: int) -> bool:
        """Events are few: without this, a cursor would keep files that hold nothing of the stream."""
        return head > cursor.seq + _FAR

    def replay_from(self, held: int, cursor: Cursor, replay_s: float) -> int:
        """By the times at which the events were written; they are few, and the latest hundred are enough."""
        since, first = _before(cursor.moved_at, replay_s), held + 1
        for _ in range(100):
            number = self._reader.last_shown_event(first - 1)
            found = self._reader.shown_events(number - 1, limit=1) if number else []
            if not found or found[0].at < since:
                break
            first = number
        return first


def streams_of(reader: JournalFollower) -> tuple[Stream, ...]:
    """Every stream there is."""
    return RecordStream(reader), EventStream(reader)


def cursor_name(stream: str, holder: str) -> str:
    """The name of the cursor that says how far a holder is."""
    return f"{PREFIX}-{stream}-{holder}"


def open_telemetry_cursor(journal: Path, stream: str, holder: str, *, history: bool) -> tuple[Cursor, bool]:
    """A holder's cursor, and whether it was there; a new one begins with the oldest event or at the head."""
    name = cursor_name(stream, holder)
    was_there = any(one.name == name for one in cursors(journal))
    return open_cursor(journal, name, at_head=not history), was_there


def body_of(record: PartRecord) -> dict[str, Any]:
    """A record as the message has it: every column by its name in the journal, without the scores."""
    return {"record": {name: getattr(record, name) for name in COLUMNS if name not in LEFT_OUT}}


def _before(moment: str, seconds: float) -> str:
    return utc_text(datetime.fromisoformat(moment) - timedelta(seconds=seconds))
