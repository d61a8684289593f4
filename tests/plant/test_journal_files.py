"""A whole station whose journal's files are touched: it stops, saves what it can, and says what is lost."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from typing import Any

from station.journal.schema import read_head_file
from station.journal.segments import segment_files


def wait_for(plant: Any, parts: int) -> None:
    until = time.monotonic() + 90
    while len(plant.cell.parts()) < parts:
        assert time.monotonic() < until, "the cell gets no parts done"
        time.sleep(0.02)


def hold_to_its_word(plant: Any) -> None:
    """Every verdict that arrived at the cell stands in the journal, and the audit passes."""
    records = plant.records()
    for part in plant.cell.parts():
        if part["outcome"] is not None:
            assert records[part["part_id"]]["outcome"] == part["outcome"], part
    audit = plant.station_command("journal", "audit", "--journal", str(plant.journal))
    assert audit.returncode == 0, audit.stdout


def is_behind(plant: Any) -> bool:
    """Whether events are in the write-ahead log alone."""
    known = read_head_file(plant.journal)
    assert known is not None
    files = segment_files(plant.journal)
    alone = f"{files[max(files)].as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(alone, uri=True)) as database:
        return bool(database.execute("SELECT max(seq) FROM events").fetchone()[0] < known.seq)


def test_a_station_whose_write_ahead_log_is_deleted_ends_and_starts_again_with_every_verdict(
    small_plant: Any,
) -> None:
    small_plant.start_cell(rate_hz=20, verdict_ms=1000.0)
    station = small_plant.start_station()
    wait_for(small_plant, 10)
    files = segment_files(small_plant.journal)
    file = files[max(files)]
    file.with_name(file.name + "-wal").unlink()
    deleted = time.monotonic()
    said, _ = station.communicate(timeout=20)
    assert station.returncode == 1, said
    assert "-wal was removed or replaced while the station ran" in said
    assert time.monotonic() - deleted < 10
    again = small_plant.start_station()
    wait_for(small_plant, len(small_plant.cell.parts()) + 10)
    code, said = small_plant.stop_station(again)
    assert code == 0, said
    small_plant.cell.stop()
    hold_to_its_word(small_plant)


def test_a_station_killed_with_its_write_ahead_log_starts_only_when_the_loss_is_acknowledged(
    small_plant: Any,
) -> None:
    small_plant.start_cell(rate_hz=20, verdict_ms=1000.0, give_up_s=0.0)
    station = small_plant.start_station()
    wait_for(small_plant, 10)
    station.send_signal(signal.SIGSTOP)
    while not is_behind(small_plant):  # it was just copied
        station.send_signal(signal.SIGCONT)
        time.sleep(0.1)
        station.send_signal(signal.SIGSTOP)
    for file in small_plant.journal.parent.glob("journal.db.0*-wal"):
        file.unlink()
    station.kill()
    station.communicate()
    code, said = small_plant.station_to_its_end()
    assert code == 2, said
    assert "station journal accept-loss" in said
    arguments = ("--by", "Ana", "--why", "test", "--config", str(small_plant.folder / "station.yaml"))
    done = small_plant.station_command("journal", "accept-loss", *arguments)
    assert done.returncode == 0, done.stderr
    again = small_plant.start_station()
    wait_for(small_plant, len(small_plant.cell.parts()) + 5)
    code, said = small_plant.stop_station(again)
    assert code == 0, said
    audit = small_plant.station_command("journal", "audit", "--journal", str(small_plant.journal))
    assert audit.returncode == 0
    assert "acknowledged by Ana: test" in audit.stdout
