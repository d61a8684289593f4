"""A part is taken from under the camera while the station is held up: its frame shows the next part."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest

DEFECTIVE = 3
"""Every third plate of the small plant has a patch that is too bright or too dark."""


def with_places(plant: Any, **camera: Any) -> str:
    """Let the simulated camera show what the cell lays before it; the file that they share."""
    config, place = plant.folder / "station.yaml", str(plant.folder / "cell.place")
    settings = {"kind": "simulated", "pool": "frames", "place": "./cell.place"} | camera
    section = "camera: {" + ", ".join(f"{key}: {value}" for key, value in settings.items()) + "}"
    lines = config.read_text().splitlines()
    config.write_text("\n".join(section if line.startswith("camera:") else line for line in lines))
    return place


def escaped(plant: Any) -> list[int]:
    """Defective parts that lie in the good bin."""
    return [p["part_id"] for p in plant.cell.parts() if p["bin"] == 1 and p["part_id"] % DEFECTIVE == 0]


@pytest.mark.parametrize("version", [1, 2])
def test_each_part_is_judged_by_its_own_picture_where_camera_and_cell_share_a_place(
    small_plant: Any, version: int
) -> None:
    place = with_places(small_plant)
    cell = small_plant.start_cell(parts=18, first_part=4, in_flight=2, place=place, protocol_version=version)
    code, out = small_plant.station_to_its_end("--parts", "18")
    assert code == 0, out
    cell.wait(10)
    bins = {part["part_id"]: part["bin"] for part in cell.parts()}
    assert {part for part, bin_ in bins.items() if bin_ == 1} == {n for n in range(4, 22) if n % DEFECTIVE}
    early = [part for part in cell.parts() if part["left_camera_ns"] < part["result_ns"]]
    assert bool(early) == (version == 2), "from version 2 on a part leaves the camera before its result"


@pytest.mark.slow  # half a minute; tests/station/test_line_swapped_parts.py holds the camera up instead
def test_a_part_swapped_while_the_station_stands_still_is_never_judged_by_the_next_ones_picture(
    small_plant: Any,
) -> None:
    place = with_places(small_plant, rate_hz=5)  # slower than the cell, which does not wait for it
    cell = small_plant.start_cell(parts=24, in_flight=2, take_away_ms=170.0, place=place, verdict_ms=3000.0)
    station = small_plant.start_station()
    chance, until = random.Random(1), time.monotonic() + 60
    while cell.process.poll() is None and time.monotonic() < until:
        time.sleep(chance.uniform(0.2, 0.8))
        station.send_signal(signal.SIGSTOP)
        time.sleep(0.42)
        station.send_signal(signal.SIGCONT)
    cell.wait(10)
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    assert escaped(small_plant) == []
    assert sum(part["bin"] == 1 for part in cell.parts()) > 4, "parts are judged all the same"
