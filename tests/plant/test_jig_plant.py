"""The paper's cell: a robot, a rotating jig, a station, and a second station for accepted parts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulation.switchboard import Switchboard

GOOD = {number for number in range(1, 10) if number % 3}
"""Every third plate of the small plant has a patch that is too bright or too dark."""
QUICK = {"surface_mm_s": 200.0, "diameters": "40,62.5", "load_ms": 30.0, "leave_ms": 30.0, "unload_ms": 30.0}


def with_a_simulated_camera(folder: Path) -> str:
    """Let the camera show what the cell lays before it; the file that they share."""
    config = folder / "station.yaml"
    lines = [
        "camera: {kind: simulated, pool: frames, place: ./cell.place}" if line.startswith("camera:") else line
        for line in config.read_text().splitlines()
    ]
    config.write_text("\n".join(lines))
    return str(folder / "cell.place")


def test_parts_on_the_jig_are_triggered_when_the_robot_is_out_of_view(small_plant: Any) -> None:
    place = with_a_simulated_camera(small_plant.folder)
    cell = small_plant.start_cell(parts=9, place=place, **QUICK)
    code, out = small_plant.station_to_its_end("--parts", "9")
    assert code == 0, out
    summary = cell.wait(10)
    parts = cell.parts()
    assert {part["part_id"] for part in parts if part["bin"] == 1} == GOOD
    assert summary["robot_inside"] == 0
    assert {part["diameter_mm"] for part in parts} == {40.0, 62.5}
    for part in parts:  # one speed of the surface, 200 mm/s
        assert part["turns_per_minute"] * part["diameter_mm"] == pytest.approx(
            60 * 200 / 3.14159265, rel=1e-4
        )


def test_a_trigger_with_the_robot_in_view_is_a_fault_of_the_cell_and_shown_as_such(
    small_plant: Any,
) -> None:
    place = with_a_simulated_camera(small_plant.folder)
    switches = small_plant.folder / "switches"
    Switchboard(switches).set({"cell-robot-inside": 1.0})
    cell = small_plant.start_cell(parts=6, place=place, switches=str(switches), **QUICK)
    station = small_plant.start_station()
    summary = cell.wait(30)
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    assert summary["robot_inside"] == 6
    assert "part 6 was triggered with the robot in view" in summary["faults"][-1]
    assert all((part["bin"], part["why"]) == (9, "fault of the cell") for part in cell.parts())
    assert "the cell reports DEVICE: part 1 was triggered with the robot in view" in out


def test_accepted_parts_go_on_to_a_second_station_under_their_ids(small_plant: Any, tmp_path: Path) -> None:
    with_a_simulated_camera(small_plant.folder)
    second = type(small_plant)(tmp_path / "second")
    second.folder.mkdir()
    for name in ("recipes", "frames", "engines"):
        shutil.copytree(small_plant.folder / name, second.folder / name)
    (second.folder / "var").mkdir()
    recipe = (second.folder / "recipes" / "tiny.yaml").read_text().replace("name: tiny", "name: bore", 1)
    (second.folder / "recipes" / "bore.yaml").write_text(recipe)
    config = (small_plant.folder / "station.yaml").read_text()
    config = config.replace("name: test", "name: second").replace("recipe: tiny", "recipe: bore")
    (second.folder / "station.yaml").write_text(config)
    try:
        first_cell = small_plant.start_cell(parts=9, place=str(small_plant.folder / "cell.place"), **QUICK)
        second_cell = second.start_cell(
            parts=len(GOOD), place=str(second.folder / "cell.place"), recipe="bore",
            feed=str(first_cell.log_path), feed_bin=1, **QUICK,
        )  # fmt: skip
        after = second.start_station("--parts", str(len(GOOD)))
        code, out = small_plant.station_to_its_end("--parts", "9")
        assert code == 0, out
        out, _ = after.communicate(timeout=30)
        assert after.returncode == 0, out
        first_cell.wait(10)
        second_cell.wait(10)
        one, two = small_plant.records(), second.records()
        assert {part for part, record in one.items() if record["outcome"] == "accept"} == set(two) == GOOD
        assert {record["recipe"] for record in two.values()} == {"bore"}
    finally:
        second.close()


@pytest.mark.slow  # two stations with the shipped engine; the test above has small ones
def test_the_command_shows_both_stations_of_the_paper(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation.two_stations", "--parts", "8", "--folder", str(tmp_path / "two")],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 parts, 5 went on to the second station, 4 are good at both" in done.stdout
