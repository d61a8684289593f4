"""The streams read from the journal: in the order of the numbers, also across files and around open parts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.sorters.interface import Receipt, Trigger
from station.bench.journal import RECIPE, finished_parts
from station.decision import fault
from station.journal import Journal, JournalSettings, PartDetails
from station.journal.cursors import advance
from station.journal.following import JournalFollower
from station.journal.selection import Selection
from station.telemetry.streams import EventStream, RecordStream, open_telemetry_cursor

PARTS = 350


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A journal of several files."""
    path = tmp_path_factory.mktemp("streams") / "journal.db"
    with Journal(path, station="s", settings=JournalSettings(segment_parts=100)) as journal:
        for seed in range(PARTS // 50):
            made = finished_parts(50, seed)
            journal.write_finished(made, recipe=RECIPE, mode="cell", is_simulated=True)
        with JournalFollower(path) as reader:
            assert len(reader.segments()) > 3
        yield path


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(after=st.integers(0, PARTS + 5), limit=st.integers(1, 120))
def test_records_after_a_number_come_in_order_whatever_file_they_are_in(
    files: Path, after: int, limit: int
) -> None:
    wanted = list(range(after + 1, PARTS + 1))
    with JournalFollower(files) as reader:
        assert [one.number for one in RecordStream(reader).read(after, limit)] == wanted[:limit]
        newest_first = Selection(after_record=after, newest_first=True)
        assert [one.record_id for one in reader.records(newest_first, scores=False)] == wanted[::-1]
        assert reader.count(Selection(after_record=after)) == len(wanted)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=st.integers(0, PARTS))
def test_a_cursor_says_again_what_was_held_when_it_was_moved(files: Path, held: int) -> None:
    with JournalFollower(files) as reader:
        stream = RecordStream(reader)
        cursor, _ = open_telemetry_cursor(files, "records", f"h{held}-{time.monotonic_ns()}", history=True)
        assert stream.held_at(cursor) == 0
        assert stream.held_at(advance(cursor, stream.place(held, cursor))) == held


def test_a_part_in_hand_holds_back_the_records_after_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Journal(path, station="s") as journal, JournalFollower(path) as reader:
        stream, about = RecordStream(reader), {"recipe": RECIPE, "mode": "cell", "is_simulated": True}
        first, second = (
            journal.open_part(Trigger(part, "", time.monotonic_ns()), **about)  # type: ignore[arg-type]
            for part in (1, 2)
        )
        cursor, _ = open_telemetry_cursor(path, "records", "historian", history=True)
        for record in (second, first):
            assert stream.read(0, 10) == []
            assert stream.newest() == 0
            journal.write_verdict(record, fault("no frame", RECIPE), PartDetails())  # type: ignore[arg-type]
            journal.write_receipt(record, Receipt(record, True, 9, time.monotonic_ns()))
            journal.flush()
        assert [one.number for one in stream.read(0, 10)] == [1, 2]
        # What ends the first part lies behind that of the second one: the cursor may not pass it.
        assert stream.held_at(advance(cursor, stream.place(1, cursor))) == 1


class Hurried(JournalFollower):
    """A reader that a part overtakes between any two looks into the file."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal.path)
        self._journal, self._overtakes = journal, True

    def _query(self, *args: Any) -> Any:
        found = super()._query(*args)
        if self._overtakes:
            self._journal.write_finished(finished_parts(1, 1), recipe=RECIPE, mode="cell", is_simulated=True)  # type: ignore[arg-type]
        return found


def test_a_part_that_is_opened_while_the_journal_is_looked_at_is_not_taken_for_delivered(
    tmp_path: Path,
) -> None:
    for look in (
        lambda stream, cursor: stream.held_at(cursor) == 0,
        lambda stream, cursor: stream.oldest() == 1,
    ):
        path = tmp_path / f"{time.monotonic_ns()}.db"
        with Journal(path, station="s") as journal:
            cursor, _ = open_telemetry_cursor(path, "records", "historian", history=False)
            with Hurried(journal) as reader:
                assert look(RecordStream(reader), cursor)


def test_each_event_names_the_one_before_it_wherever_reading_begins(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Journal(path, station="s", settings=JournalSettings(segment_parts=100)) as journal:
        for number in range(6):
            made = finished_parts(100, number)
            journal.write_finished(made, recipe=RECIPE, mode="cell", is_simulated=True)
            journal.write_event("halt", {"reason": str(number)})
        with JournalFollower(path) as reader:
            every = EventStream(reader).read(0, 1000)
            numbers = [one.number for one in every]
            assert [one.body["previous"] for one in every] == [0, *numbers[:-1]]
            for place, number in enumerate(numbers):
                rest = EventStream(reader).read(number, 1000)
                assert rest == every[place + 1 :]
                assert EventStream(reader).waiting(number) == len(rest)
