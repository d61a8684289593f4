"""Files deleted, cut or changed by others: noticed at once, refused by the start, acknowledged by name."""

from __future__ import annotations

import os
import random
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from station.cli import app
from station.journal import JournalError
from station.journal.audit import audit
from station.journal.events import LOSS
from station.journal.policy import finish_all
from station.journal.reading import JournalReader
from station.journal.schema import head_file
from station.journal.segments import segment_file
from tests.waiting import wait_for

PLANT = Path(__file__).with_name("journal_plant.py")
plant = SimpleNamespace(**runpy.run_path(str(PLANT)))
NOTICED_WITHIN_S = 1.0


class Station:
    """A station under load, or an idle one, as a process of its own, and what it promised."""

    def __init__(self, scenario: str, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PLANT), scenario, str(path)], stdout=subprocess.PIPE, text=True
        )
        self.told: list[tuple[int, int, float]] = []
        assert self._line() == "begun"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def until(self, word: str) -> tuple[float, str]:
        """Read on until it says this; when, and what more."""
        while True:
            said, _, rest = self._line().partition(" ")
            if said == "told":
                record, seq, at = rest.split()
                self.told.append((int(record), int(seq), float(at)))
            if said == word:
                at, _, more = rest.partition(" ")
                return (float(at), more) if word in ("refused", "found") else (0.0, rest)
            assert said, "it has ended"

    def tell(self, parts: int) -> None:
        for _ in range(parts):
            self.until("told")

    def kill(self) -> None:
        """As a power cut would, and hear what it had still said."""
        self.process.send_signal(signal.SIGKILL)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, *rest = line.split()
            if word == "told":
                self.told.append((int(rest[0]), int(rest[1]), float(rest[2])))
        self.process.wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def start(path: Path) -> Iterator[Callable[..., Station]]:
    stations: list[Station] = []

    def begin(scenario: str = "steady") -> Station:
        stations.append(Station(scenario, path))
        return stations[-1]

    yield begin
    for one in stations:
        if one.process.poll() is None:
            one.kill()
        assert one.process.stdout is not None
        one.process.stdout.close()


def beside(path: Path, ending: str) -> Path:
    file: Path = plant.active(path)
    return file.with_name(file.name + ending)


def edit(file: Path, *statements: str) -> None:
    """What another program with SQLite does."""
    database = sqlite3.connect(file)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def accept_loss(path: Path) -> Any:
    arguments = ["journal", "accept-loss", "--journal", str(path), "--by", "Ana", "--why", "disk replaced"]
    return CliRunner().invoke(app, arguments)


ATTACKS: dict[str, Callable[[Path], object]] = {
    "the WAL deleted": lambda path: beside(path, "-wal").unlink(),
    "the WAL emptied": lambda path: os.truncate(beside(path, "-wal"), 0),
    "the WAL cut in the middle": lambda path: os.truncate(
        beside(path, "-wal"), beside(path, "-wal").stat().st_size // 2
    ),
    "the WAL replaced": lambda path: (beside(path, "-wal").unlink(), beside(path, "-wal").touch()),
    "the shared memory deleted": lambda path: beside(path, "-shm").unlink(),
    "the database deleted": lambda path: beside(path, "").unlink(),
    "the database cut": lambda path: os.truncate(beside(path, ""), 8192),
    "the index deleted": lambda path: path.unlink(),
    "a trigger dropped": lambda path: edit(beside(path, ""), "DROP TRIGGER events_are_not_edited"),
    "a trigger added": lambda path: edit(
        beside(path, ""), "CREATE TRIGGER t AFTER INSERT ON parts BEGIN DELETE FROM texts; END"
    ),
    "a property edited": lambda path: edit(beside(path, ""), "UPDATE meta SET value = 'x'"),
    "a record edited": lambda path: edit(beside(path, ""), "UPDATE parts SET outcome = 'accept'"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("scenario", ["steady", "idle"])
def test_a_file_that_somebody_touches_while_the_station_runs_stops_it_within_a_second(
    path: Path, start: Callable[..., Station], scenario: str, attack: str
) -> None:
    station = start(scenario)
    if scenario == "steady":
        station.tell(30)
    else:
        time.sleep(0.3)
    ATTACKS[attack](path)
    attacked = time.monotonic()
    at, why = station.until("refused" if scenario == "steady" else "found")
    assert at - attacked < NOTICED_WITHIN_S
    assert "while the station ran" in why or "disk" in why or "malformed" in why, why


def test_a_deleted_write_ahead_log_costs_no_verdict_that_was_sent(
    path: Path, start: Callable[..., Station]
) -> None:
    station = start()
    station.tell(40)
    beside(path, "-wal").unlink()
    station.until("refused")
    station.kill()
    with plant.make(path) as journal:
        journal.recover()
    with JournalReader(path) as reader:
        there = {record.record_id for record in reader.records(scores=False)}
    assert {record for record, _, _ in station.told} <= there
    assert audit(path).passed


def test_a_reader_does_not_keep_a_deleted_write_ahead_log_from_being_copied(
    path: Path, tmp_path: Path
) -> None:
    with plant.make(path) as journal:
        plant.whole_part(journal, 1)
        journal.flush()
        reader = sqlite3.connect(plant.active(path), isolation_level=None, check_same_thread=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        plant.whole_part(journal, 2)
        journal.flush()
        written = journal.head.seq
        beside(path, "-wal").unlink()
        threading.Timer(0.4, reader.close).start()
        wait_for(lambda: journal.problem)
        with pytest.raises(JournalError, match="-wal was removed"):
            plant.open_part(journal, 3)
        alone = tmp_path / "alone"
        shutil.copyfile(plant.active(path), alone)  # as after a kill: without the WAL
    database = sqlite3.connect(f"{alone.as_uri()}?mode=ro&immutable=1", uri=True)
    assert database.execute("SELECT max(seq) FROM events").fetchone()[0] == written
    database.close()


def test_the_database_file_alone_is_never_more_than_a_second_behind(
    path: Path, start: Callable[..., Station], tmp_path: Path
) -> None:
    station = start()
    lags = []
    for number in range(4):
        station.tell(25)
        alone = tmp_path / f"alone-{number}"
        copied = time.monotonic()
        shutil.copyfile(plant.active(path), alone)  # without the WAL
        database = sqlite3.connect(f"{alone.as_uri()}?mode=ro&immutable=1", uri=True)
        there = database.execute("SELECT max(seq) FROM events").fetchone()[0]
        database.close()
        station.tell(5)
        late = [copied - at for _, seq, at in station.told if seq > there and at < copied]
        lags.append(max(late, default=0.0))
    assert max(lags) < 1.0, lags


def test_killed_together_with_its_write_ahead_log_a_station_says_how_many_events_are_gone(
    path: Path, start: Callable[..., Station]
) -> None:
    chance = random.Random(4)
    station = start()
    station.tell(30 + chance.randrange(20))
    station.process.send_signal(signal.SIGSTOP)  # it cannot notice
    beside(path, "-wal").unlink()
    station.kill()
    sent = {record for record, _, _ in station.told}
    report = audit(path)
    assert any("known to be written" in one.text for one in report.findings)
    with pytest.raises(JournalError, match=r"events are gone.*accept-loss"):
        plant.make(path)
    done = accept_loss(path)
    assert done.exit_code == 0, done.output
    with plant.make(path) as journal:
        journal.recover()
        plant.whole_part(journal, 1)
    report = audit(path)
    assert report.passed, report.findings
    with JournalReader(path) as reader:
        (loss,) = (event for event in reader.events() if event.kind == LOSS)
        there = {record.record_id for record in reader.records(scores=False)}
    assert (loss.values["by"], loss.values["why"]) == ("Ana", "disk replaced")
    assert 0 < loss.values["events"] >= len(sent - there)
    assert any("acknowledged by Ana: disk replaced" in note for note in report.notes)
    assert any(f"{loss.values['events']} events after event" in note for note in report.notes)


def three_segments(path: Path) -> None:
    with plant.make(path) as journal:
        for number in range(6):
            if number in (2, 4):
                journal.change_segment()
            plant.whole_part(journal, number + 1)
        journal.flush()
    assert finish_all(path, "test")


def remove(path: Path, *numbers: int) -> None:
    for number in numbers:
        segment_file(path, number).unlink()


def remove_all(path: Path) -> None:
    remove(path, 1, 2, 3)
    path.unlink()


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the first": (lambda path: remove(path, 1), "000001 is missing"),
    "one between": (lambda path: remove(path, 2), "000002 is missing"),
    "the last": (lambda path: remove(path, 3), "000003 is missing"),
    "the last two": (lambda path: remove(path, 2, 3), "000002 is missing"),
    "all but the index": (lambda path: remove(path, 1, 2, 3), "000001 is missing"),
    "all": (remove_all, "all its segments are missing, and 29 events were written"),
    "a trigger": (
        lambda path: edit(segment_file(path, 3), "DROP TRIGGER events_are_not_deleted"),
        "the trigger events_are_not_deleted was removed",
    ),
    "a view": (
        lambda path: edit(segment_file(path, 3), "DROP VIEW records", "CREATE VIEW records AS SELECT 1"),
        "the view records was changed",
    ),
    "foreign things": (
        lambda path: edit(
            segment_file(path, 3),
            "CREATE TABLE mine (x)",
            "CREATE VIEW v AS SELECT 1",
            "CREATE TRIGGER bad AFTER INSERT ON parts BEGIN DELETE FROM parts; END",
        ),
        "the trigger bad was added",
    ),
    "a property": (
        lambda path: edit(segment_file(path, 3), "UPDATE meta SET value = 'y' WHERE key = 'station'"),
        "the property station .* was changed",
    ),
}


@pytest.mark.parametrize("what", LOSSES)
def test_what_is_lost_or_changed_is_refused_by_the_start_found_by_the_audit_and_acknowledged_once(
    path: Path, what: str
) -> None:
    three_segments(path)
    attack, said = LOSSES[what]
    attack(path)
    if path.exists() and plant.segment_files(path):
        assert not audit(path).passed
    else:
        with pytest.raises(JournalError, match="all its"):
            audit(path)
    with pytest.raises(JournalError, match=said):
        plant.make(path)
    done = accept_loss(path)
    assert done.exit_code == 0, done.output
    again = accept_loss(path)
    assert again.exit_code == 2
    assert "nothing is lost" in again.output
    with plant.make(path) as journal:
        journal.recover()
        plant.whole_part(journal, 100)
        journal.change_segment()
        plant.whole_part(journal, 101)
    plant.make(path).close()
    report = audit(path)
    assert report.passed, report.findings
    assert any("acknowledged by Ana" in note for note in report.notes)
    with JournalReader(path) as reader:
        assert [record.part_id for record in reader.records()][-2:] == [100, 101]
        assert sum(event.kind == LOSS for event in reader.events()) == 1


def test_a_sealed_segment_deleted_while_the_station_runs_stops_it(path: Path) -> None:
    with plant.make(path) as journal:
        plant.whole_part(journal, 1)
        journal.change_segment()
        plant.whole_part(journal, 2)
        segment_file(path, 1).unlink()
        wait_for(lambda: journal.problem)
        assert "000001 was removed while the station ran" in journal.problem
        with pytest.raises(JournalError, match="was removed while"):
            plant.open_part(journal, 3)


def test_a_changed_trigger_in_a_sealed_segment_is_found_by_the_audit(path: Path) -> None:
    three_segments(path)
    assert audit(path).passed
    file = segment_file(path, 2)
    file.chmod(0o644)
    edit(file, "DROP TRIGGER events_are_not_deleted")
    file.chmod(0o444)
    assert ["the trigger events_are_not_deleted was removed" in one.text for one in audit(path).findings] == [
        True
    ]


def test_a_station_killed_while_a_loss_is_acknowledged_still_refuses_to_start(path: Path) -> None:
    three_segments(path)
    known = head_file(path).read_bytes()
    remove_all(path)
    plant.make(path.with_name("fresh.db")).close()  # as far as a kill lets the command come
    for file in list(path.parent.glob("fresh.db*")):
        file.rename(path.with_name(file.name.replace("fresh.db", path.name)))
    head_file(path).write_bytes(known)
    with pytest.raises(JournalError, match="not the journal that was written here last, which had"):
        plant.make(path)
    assert accept_loss(path).exit_code == 0
    assert audit(path).passed


def test_after_a_kill_alone_nothing_is_to_be_acknowledged(path: Path, start: Callable[..., Station]) -> None:
    station = start()
    station.tell(20)
    station.kill()
    done = accept_loss(path)
    assert done.exit_code == 2
    assert "nothing is lost: the station can start" in done.output
    with plant.make(path) as journal:
        journal.recover()
    assert audit(path).passed


def test_a_segment_of_a_release_with_other_events_is_read_and_gone_on_with(path: Path) -> None:
    """Its index of the station's events leads to fewer kinds than today's."""
    with plant.make(path) as journal:
        journal.write_event("start", {})
        plant.whole_part(journal, 1)
    file = plant.active(path)
    edit(
        file,
        "DROP INDEX events_of_the_station",
        "CREATE INDEX events_of_the_station ON events (kind, record_id) WHERE kind IN ('start', 'stop')",
    )
    with JournalReader(path) as reader:
        assert [event.kind for event in reader.station_events()] == ["start"]
    with plant.make(path) as journal:
        journal.write_event("degraded", {"what": "pictures"})
    with JournalReader(path) as reader:
        assert [event.kind for event in reader.station_events()] == ["start", "degraded"]
    assert audit(path).passed
