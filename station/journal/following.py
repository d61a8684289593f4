"""Reading a journal onwards from a place in it, for programs that send on what is written.

Events are read in their order by their number, so that a step costs what is new and not what is there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from station.journal.events import OPENED, SHOWN_EVENTS
from station.journal.packing import unpack
from station.journal.reading import JournalEvent, JournalReader
from station.journal.record import PartRecord
from station.journal.schema import GET_EVENTS, SCHEMA_VERSION
from station.journal.segments import Segment, catalogue, segment_file
from station.journal.selection import Selection

_NUMBERS = """
SELECT (SELECT max(seq) FROM events), (SELECT coalesce(min(record_id), 0) FROM parts),
       (SELECT coalesce(max(record_id), 0) FROM parts)
"""
_SHOWN = ", ".join(repr(kind) for kind in SHOWN_EVENTS)


class JournalFollower(JournalReader):
    """A journal read onwards, many times a second; its files are looked through when there is a new one only.

    Raises :class:`JournalError`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._known: list[Segment] = []
        self._last_listed = 0

    def segments(self, *, counted: bool = False) -> list[Segment]:
        """The files that there are; of the one that is written, numbers that are up to date."""
        if counted or not self._known or self._files_changed():
            every = catalogue(self.path, counted=counted)
            self._known = [one for one in every if not one.removed_at]
            self._last_listed = max((one.last_record for one in every), default=0)
        *before, last = self._known
        if last.sealed:  # the next one is just being made
            self._known = []
            return [*before, last]
        ((seq, first, newest),) = self._query(last, _NUMBERS, ())
        return [*before, replace(last, last_seq=seq, first_record=first, last_record=newest)]

    def head_seq(self) -> int:
        """The last event on the disk."""
        return self.segments()[-1].last_seq

    def last_record(self) -> int:
        """The newest record that was opened; also where the policy has removed it."""
        return self._newest_of(self.segments())

    def oldest_record(self) -> int:
        """The lowest number whose record can still be here; one more than the newest where none is."""
        segments = self.segments()  # looked at once: the first record of all may be written any moment
        found = next((one.first_record for one in segments if one.first_record), 0)
        return found or self._newest_of(segments) + 1

    def _newest_of(self, segments: list[Segment]) -> int:
        return max(segments[-1].last_record, self._last_listed)

    def _files_changed(self) -> bool:
        """Whether a segment was begun, or the oldest one removed."""
        following = segment_file(self.path, self._known[-1].number + 1)
        return following.exists() or not self.path.with_name(self._known[0].file).exists()

    def closed_records(self, after: int, *, limit: int) -> list[PartRecord]:
        """The records that have come to their end, from ``after + 1`` on, up to the first that has not.

        Without their scores. Records that the policy has removed are left out.
        """
        found: list[PartRecord] = []
        for record in self.records(Selection(after_record=after, limit=limit), scores=False):
            if record.acknowledged is None:
                break
            found.append(record)
        return found

    def opening(self, record_id: int, after_seq: int) -> int | None:
        """The event after ``after_seq`` that opened a record; None when there is none.

        It looks through the events from there on: name an ``after_seq`` that is near.
        """
        found = self._first("record_id = ? AND kind = ?", (record_id, OPENED), after_seq)
        return None if found is None else found[0]

    def next_record(self, after_seq: int) -> int | None:
        """The number of the first record that was opened after an event; None when there is none."""
        found = self._first("kind = ?", (OPENED,), after_seq)
        return None if found is None else found[1]

    def shown_events(self, after_seq: int, *, limit: int) -> list[JournalEvent]:
        """What the station did and what was said of records later, read forwards from ``after_seq``.

        Reads the events in their order, where :meth:`station_events` looks for a few among many.
        """
        found: list[JournalEvent] = []
        for segment in self.segments():
            if segment.schema < SCHEMA_VERSION or segment.last_seq <= after_seq:
                continue
            rows = self._query(
                segment,
                f"{GET_EVENTS} NOT INDEXED WHERE seq > ? AND kind IN ({_SHOWN}) ORDER BY seq LIMIT ?",
                (after_seq, limit - len(found)),
            )
            found += [
                JournalEvent(seq, about, kind, at, unpack(kind, payload), None, digest.hex())
                for seq, about, kind, at, payload, _, digest in rows
            ]
            if len(found) >= limit:
                break
        return found

    def last_shown_event(self, until_seq: int) -> int:
        """The number of the last such event up to ``until_seq``; 0 where there is none."""
        for segment in reversed(self.segments()):
            if segment.schema >= SCHEMA_VERSION and segment.first_seq <= until_seq:
                rows = self._query(
                    segment,
                    f"SELECT seq FROM events NOT INDEXED WHERE seq <= ? AND kind IN ({_SHOWN}) "
                    "ORDER BY seq DESC LIMIT 1",
                    (until_seq,),
                )
                if rows:
                    return int(rows[0][0])
        return 0

    def count_shown_events(self, after_seq: int) -> int:
        """How many such events there are after ``after_seq``."""
        sql = "SELECT count(*) FROM events INDEXED BY events_of_the_station WHERE seq > ? AND"
        return sum(
            int(self._query(segment, f"{sql} {self._station_condition(segment)}", (after_seq,))[0][0])
            for segment in self.segments()
            if segment.schema >= SCHEMA_VERSION and segment.last_seq > after_seq
        )

    def _first(self, where: str, values: tuple[Any, ...], after_seq: int) -> tuple[int, int] | None:
        """The first event after another for which a condition holds: its number and its record."""
        for segment in self.segments():
            if segment.last_seq <= after_seq:
                continue
            sql = f"SELECT seq, record_id FROM events NOT INDEXED WHERE seq > ? AND {where}"
            for seq, record_id in self._query(segment, f"{sql} ORDER BY seq LIMIT 1", (after_seq, *values)):
                return int(seq), int(record_id)
        return None
