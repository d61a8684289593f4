"""kill -9 at random moments under load: conservation, and no part in the good bin without a verdict."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest


def cut_power(plant: Any, kills: int, seed: int) -> dict[str, int]:
    """Kill the station ``kills`` times while the cell goes on; then audit everything against everything."""
    chance = random.Random(seed)
    cell = plant.start_cell(rate_hz=0, in_flight=2, verdict_ms=1500.0, give_up_s=0.0)
    for _ in range(kills):
        before = len(cell.parts())
        station = plant.start_station()
        until = time.monotonic() + 90
        while len(cell.parts()) <= before and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.6))
        station.send_signal(signal.SIGKILL)
        station.communicate()
        if plant.journal.exists():  # else it was killed before it began
            audit = plant.station_command("journal", "audit", "--journal", str(plant.journal))
            assert audit.returncode == 0, audit.stdout + audit.stderr
    before = len(cell.parts())
    station = plant.start_station()
    until = time.monotonic() + 90
    while len(cell.parts()) <= before + 3 and time.monotonic() < until:
        time.sleep(0.01)
    code, out = plant.stop_station(station)
    assert code == 0, out
    cell.stop()
    records, parts = plant.records(), cell.parts()
    audit = plant.station_command("journal", "audit", "--journal", str(plant.journal))
    assert audit.returncode == 0, audit.stdout
    assert all(record["outcome"] in ("accept", "reject", "fault") for record in records.values())
    for part in parts:
        if part["outcome"] is not None:  # a verdict arrived at the cell
            record = records[part["part_id"]]
            assert record["outcome"] == part["outcome"], (part, record)
        if part["bin"] == 1:
            assert records[part["part_id"]]["outcome"] == "accept", part
    return {
        "kills": kills,
        "parts at the cell": len(parts),
        "records": len(records),
        "accepted": sum(record["outcome"] == "accept" for record in records.values()),
        "faulted": sum(record["outcome"] == "fault" for record in records.values()),
        "in the good bin": sum(part["bin"] == 1 for part in parts),
    }


def test_killed_three_times_the_station_loses_no_verdict(small_plant: Any) -> None:
    found = cut_power(small_plant, kills=3, seed=1)
    assert found["in the good bin"] > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_two_hundred_times_the_station_loses_no_verdict(small_plant: Any) -> None:
    found = cut_power(small_plant, kills=200, seed=2)
    print(found)
    assert found["kills"] == 200
