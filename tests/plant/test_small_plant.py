"""The station as a process, a cell as another, a serial line between them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from station.control import ControlError, ask
from tests.waiting import wait_for

MISBEHAVIOUR: dict[str, dict[str, Any]] = {
    "late": {"late": 0.3, "late_ms": 80.0},
    "silent": {"silent": 0.2},
    "duplicate": {"duplicate": 0.5},
    "garble": {"garble": 0.2},
    "wrong part id": {"wrong_part_id": 0.2},
    "everything": {"late": 0.1, "silent": 0.1, "duplicate": 0.2, "garble": 0.1, "wrong_part_id": 0.1},
}


def no_escape(plant: Any) -> None:
    """No part is in the good bin without an accept of its own in the journal."""
    records = plant.records()
    for part in plant.cell.parts():
        if part["bin"] == 1:
            assert records[part["part_id"]]["outcome"] == "accept", part


def audited(plant: Any) -> str:
    done = plant.station_command("journal", "audit", "--journal", str(plant.journal))
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_every_part_is_decided_told_acknowledged_and_written(small_plant: Any) -> None:
    cell = small_plant.start_cell(parts=18)
    code, out = small_plant.station_to_its_end("--parts", "18")
    assert code == 0, out
    assert "every trigger has one verdict" in out
    cell.wait(10)
    records = small_plant.records()
    assert [records[part]["outcome"] for part in range(1, 10)] == ["accept", "accept", "reject"] * 3
    assert {part["part_id"]: part["bin"] for part in cell.parts()} == {
        part: record["bin"] for part, record in records.items()
    }
    assert all(record["acknowledged"] for record in records.values())
    audited(small_plant)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "everything" else pytest.mark.slow) for kind in MISBEHAVIOUR],
)
def test_a_cell_that_misbehaves_never_gets_a_part_into_the_good_bin(small_plant: Any, kind: str) -> None:
    cell = small_plant.start_cell(parts=40, seed=5, verdict_ms=1000.0, **MISBEHAVIOUR[kind])
    station = small_plant.start_station()
    cell.wait(60)
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    assert len(cell.parts()) == 40
    no_escape(small_plant)
    audited(small_plant)


def test_an_unplugged_line_comes_back_by_itself(small_plant: Any) -> None:
    cell = small_plant.start_cell(parts=36, rate_hz=15, unplug_every_s=0.8, unplug_s=0.2)
    station = small_plant.start_station()
    cell.wait(60)
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    sorted_parts = cell.parts()
    assert len(sorted_parts) == 36
    assert sum(part["bin"] == 1 for part in sorted_parts) > 6, "the line never came back"
    no_escape(small_plant)
    audited(small_plant)


def test_a_clean_stop_leaves_nothing_open(small_plant: Any) -> None:
    cell = small_plant.start_cell(rate_hz=20)
    station = small_plant.start_station()
    wait_for(lambda: len(cell.parts()) >= 20)
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    records = small_plant.records()
    assert records, "the station never got to work"
    assert {record["outcome"] for record in records.values()} <= {"accept", "reject", "fault"}
    audited(small_plant)


def test_check_passes_on_a_plant_that_is_whole(small_plant: Any) -> None:
    small_plant.start_cell()
    done = small_plant.station_command("check", "--config", str(small_plant.folder / "station.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything passed" in done.stdout
    assert "WARNING the recipe has no product.texture" in done.stdout


def test_check_says_what_to_do_about_a_cell_that_does_not_answer(small_plant: Any) -> None:
    done = small_plant.station_command("check", "--config", str(small_plant.folder / "station.yaml"))
    assert done.returncode == 1
    assert "FAILED  sorter" in done.stdout
    assert "FAILED  engine" not in done.stdout


def test_an_engine_that_was_tampered_with_is_not_loaded(small_plant: Any) -> None:
    model = small_plant.folder / "engines" / "tiny" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    small_plant.start_cell()
    code, out = small_plant.station_to_its_end("--parts", "1")
    assert code == 2
    assert "model.onnx" in out
    assert "Traceback" not in out


def test_inspect_decides_about_files_and_a_broken_one_does_not_end_the_run(small_plant: Any) -> None:
    folder = small_plant.folder
    (folder / "frames" / "broken.png").write_bytes(b"not a picture")
    done = small_plant.station_command(
        "inspect",
        str(folder / "frames"),
        *("--recipe", "tiny", "--recipes", str(folder / "recipes"), "--engines", str(folder / "engines")),
        *(
            "--backend",
            "onnxruntime-cpu",
            "--csv",
            str(folder / "out.csv"),
            "--json",
            str(folder / "out.json"),
        ),
        *("--overlays", str(folder / "overlays")),
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "10 pictures: 6 accepted, 3 rejected, 1 could not be inspected" in done.stdout
    assert "broken.png" in (folder / "out.csv").read_text()
    assert len(list((folder / "overlays").iterdir())) == 3


def test_overlays_of_pictures_of_one_name_in_two_folders_are_both_kept(small_plant: Any) -> None:
    folder = small_plant.folder
    rejected = next(path for path in sorted((folder / "frames").glob("*.png")) if "good" not in path.name)
    for shift in ("day", "night"):
        (folder / "shifts" / shift).mkdir(parents=True)
        (folder / "shifts" / shift / "part.png").write_bytes(rejected.read_bytes())
    small_plant.station_command(
        *("inspect", str(folder / "shifts"), "--overlays", str(folder / "overlays"), "--all-overlays"),
        *("--recipe", "tiny", "--recipes", str(folder / "recipes"), "--engines", str(folder / "engines")),
        *("--backend", "onnxruntime-cpu"),
    )
    kept = sorted(path.relative_to(folder / "overlays") for path in (folder / "overlays").rglob("*.png"))
    assert [path.parent.name for path in kept] == ["day", "night"]


def test_a_simulated_camera_with_every_fault_costs_parts_but_never_lets_one_escape(small_plant: Any) -> None:
    config = small_plant.folder / "station.yaml"
    camera = (
        "camera: {kind: simulated, pool: frames, lose: 0.1, incomplete: 0.1, late: 0.1, late_ms: 400,"
        " disconnect: 0.02, seed: 4}"
    )
    lines = config.read_text().splitlines()
    config.write_text("\n".join(camera if line.startswith("camera:") else line for line in lines))
    cell = small_plant.start_cell(parts=50)
    station = small_plant.start_station()
    cell.wait(90)
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    outcomes = [record["outcome"] for record in small_plant.records().values()]
    assert outcomes.count("fault") >= 5
    assert outcomes.count("accept") >= 10
    no_escape(small_plant)
    audited(small_plant)


CHUTE = '''
"""A chute that takes every part at its word, triggered or not."""

import queue
import time
from typing import Literal

from drivers.sorters import PROTOCOLS
from drivers.sorters.interface import Receipt, Result, Sorter, SorterHealth, Trigger
from drivers.sorters.settings import SorterSettings


class ChuteSettings(SorterSettings):
    """A chute."""

    kind: Literal["chute"] = "chute"
    """the sorter's protocol"""


@PROTOCOLS.register(ChuteSettings)
class Chute(Sorter):
    def __init__(self, settings: ChuteSettings, station: str) -> None:
        self._receipts: queue.SimpleQueue[Receipt] = queue.SimpleQueue()

    def open(self) -> None: ...
    def set_ready(self, ready: bool, reason: str = "") -> None: ...
    def prepare(self, recipe: str) -> None: ...
    def acknowledge(self, trigger: Trigger) -> None: ...
    def close(self) -> None: ...

    def wait_trigger(self, timeout_s: float) -> None:
        time.sleep(timeout_s)

    def send(self, result: Result) -> None:
        self._receipts.put(Receipt(result.part_id, True, result.bin, time.monotonic_ns()))

    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        try:
            return self._receipts.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def health(self) -> SorterHealth:
        return SorterHealth(True, "chute", 0, 0, 0, 0, 0, 0)
'''
WITH_CHUTE = """
import sys
import drivers.sorters
drivers.sorters.__path__.append(sys.argv.pop(1))
from station.cli import main
main()
"""


def with_chute(plant: Any) -> None:
    """Free running, and a sorter that needs no trigger, as if its file lay in the folder of the others."""
    (plant.folder / "added").mkdir()
    (plant.folder / "added" / "chute.py").write_text(CHUTE)
    plant.program = ("-c", WITH_CHUTE, str(plant.folder / "added"))
    camera = "camera: {kind: simulated, mode: free-running, pool: frames, rate_hz: 20, lose: 0.1}"
    config = plant.folder / "station.yaml"
    lines = config.read_text().splitlines()
    lines = [camera if line.startswith("camera:") else line for line in lines]
    lines = ["sorter: {kind: chute}" if line.startswith("sorter:") else line for line in lines]
    config.write_text("\n".join(lines))


def test_free_running_every_frame_of_the_camera_is_a_part(small_plant: Any) -> None:
    with_chute(small_plant)
    code, out = small_plant.station_to_its_end("--parts", "40")
    assert code == 0, out
    records = small_plant.records()
    assert sorted(records) == list(range(1, 41))
    assert {"accept", "reject", "fault"} <= {record["outcome"] for record in records.values()}
    audited(small_plant)


def test_a_free_running_station_starts_only_if_the_width_of_its_parts_is_known(small_plant: Any) -> None:
    with_chute(small_plant)
    recipe = small_plant.folder / "recipes" / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("widths_px: [32]", "widths_px: [32, 64]"))
    code, out = small_plant.station_to_its_end("--parts", "2")
    assert code == 2, out
    assert "station.yaml: recipe: tiny has the widths 32, 64" in " ".join(out.split())
    assert "tiny@32" in out
    config = small_plant.folder / "station.yaml"
    config.write_text(config.read_text().replace("recipe: tiny\n", "recipe: tiny@32\n"))
    code, out = small_plant.station_to_its_end("--parts", "2")
    assert code == 0, out


@pytest.mark.parametrize("parts", [3, 15])
def test_a_free_running_station_that_is_stopped_has_settled_every_part(small_plant: Any, parts: int) -> None:
    with_chute(small_plant)
    station = small_plant.start_station()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.05)
        with contextlib.suppress(ControlError):
            if ask(small_plant.journal.with_suffix(".sock"), "GET", "/status")["parts"]["triggers"] >= parts:
                break
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    assert "every trigger has one verdict" in out
    assert all(record["outcome"] for record in small_plant.records().values())
    audited(small_plant)


def watcher_of(station: Any) -> int:
    """The process that watches a station."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        children = Path(f"/proc/{station.pid}/task/{station.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if b"station.watcher" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.05)
    raise AssertionError("nobody watches the station")


def test_a_station_that_is_stopped_for_too_long_is_ended_and_the_next_start_settles_its_parts(
    small_plant: Any,
) -> None:
    config = small_plant.folder / "station.yaml"
    config.write_text(config.read_text().replace("limits: {", "limits: {hung_after_ms: 1000, "))
    small_plant.start_cell(parts=30, rate_hz=10)
    station = small_plant.start_station()
    watcher_of(station)
    time.sleep(2)
    station.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    out, _ = station.communicate(timeout=30)
    assert time.monotonic() - stopped < 1 + 2
    assert station.returncode == -signal.SIGKILL
    assert "hangs; the station is ended" in out
    again = small_plant.start_station()
    small_plant.cell.wait(60)
    code, out = small_plant.stop_station(again)
    assert code == 0, out
    no_escape(small_plant)
    audited(small_plant)


def test_a_watcher_that_is_killed_is_started_again(small_plant: Any) -> None:
    small_plant.start_cell(parts=10)
    station = small_plant.start_station()
    first = watcher_of(station)
    time.sleep(6)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: watcher_of(station) != first)
    second = watcher_of(station)
    assert second != first
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    assert "the watcher has ended; it is started again" in out
    wait_for(lambda: not os.path.exists(f"/proc/{second}"))
    assert not os.path.exists(f"/proc/{second}"), "a watcher ends with its station"


def test_under_systemd_every_part_has_one_line_with_its_priority_and_no_colour(small_plant: Any) -> None:
    small_plant.start_cell(rate_hz=20.0)
    read_end, write_end = os.pipe()
    there = os.fstat(write_end)
    environment = os.environ | {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}", "FORCE_COLOR": "1"}
    command = [
        sys.executable,
        "-m",
        "station.cli",
        "run",
        "--config",
        str(small_plant.folder / "station.yaml"),
    ]
    with open(read_end) as journal:
        subprocess.run(
            [*command, "--parts", "3", "--verbose"],
            stdout=write_end,
            stderr=write_end,
            env=environment,
            timeout=60,
            check=True,
        )
        os.close(write_end)
        text = journal.read()
    assert "\x1b" not in text
    assert len(re.findall(r"(?m)^<6>station\.line: part \d+: \w+ to bin \d after [\d.]+ ms: ", text)) == 3
