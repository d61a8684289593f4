"""Adding a camera family or a sorter protocol touches no other file: toys, from file to `station check`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOY = '''
"""A camera that shows one grey level."""

import time
from typing import Literal

import numpy as np

from drivers.cameras import FAMILIES
from drivers.cameras.counters import Counters
from drivers.cameras.interface import Camera, CameraHealth, Frame
from drivers.cameras.settings import CameraSettings
from drivers.settings import FilePath


class GreySettings(CameraSettings):
    """One grey level."""

    kind: Literal["grey"] = "grey"
    """the camera family"""
    level: int = 128
    """the grey level, 0 to 255"""
    lens: FilePath | None = None
    """the file of the lens"""


@FAMILIES.register(GreySettings)
class GreyCamera(Camera):
    def __init__(self, settings: GreySettings) -> None:
        self._settings, self._counters, self._next = settings, Counters("grey", simulated=True), 0

    def open(self) -> None:
        self._counters.opened(f"grey {self._settings.level}, lens {self._settings.lens.name}")

    def arm(self) -> None:
        self._next = 0

    def trigger(self, timeout_s: float) -> None: ...

    def grab(self, timeout_s: float) -> Frame:
        pixels = np.full((64, 32), self._settings.level, np.uint8)
        self._next += 1
        return self._counters.frame(Frame(pixels, self._next - 1, 0, True, time.monotonic_ns()))

    def disarm(self) -> None: ...

    def health(self) -> CameraHealth:
        return self._counters.health()

    def close(self) -> None:
        self._counters.gone()
'''
TOY_SORTER = '''
"""A cell that takes every result at its word, for a station beside a blinking lamp."""

import queue
import time
from typing import Literal

from drivers.sorters import PROTOCOLS
from drivers.sorters.interface import Receipt, Result, Sorter, SorterHealth, Trigger
from drivers.sorters.settings import SorterSettings


class LampSettings(SorterSettings):
    """A lamp."""

    kind: Literal["lamp"] = "lamp"
    """the sorter's protocol"""
    colour: Literal["red", "green"] = "red"
    """`red` or `green`"""


@PROTOCOLS.register(LampSettings)
class Lamp(Sorter):
    def __init__(self, settings: LampSettings, station: str) -> None:
        self._name, self._recipe = f"{settings.colour} lamp of {station}", ""
        self._receipts: queue.SimpleQueue[Receipt] = queue.SimpleQueue()

    def open(self) -> None: ...
    def set_ready(self, ready: bool, reason: str = "") -> None: ...
    def acknowledge(self, trigger: Trigger) -> None: ...
    def close(self) -> None: ...

    def prepare(self, recipe: str) -> None:
        self._recipe = recipe

    def wait_trigger(self, timeout_s: float) -> Trigger | None:
        return Trigger(1, self._recipe, time.monotonic_ns())

    def send(self, result: Result) -> None:
        self._receipts.put(Receipt(result.part_id, True, result.bin, time.monotonic_ns()))

    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        return self._receipts.get(timeout=timeout_s)

    def health(self) -> SorterHealth:
        return SorterHealth(True, f"{self._name}, {self._recipe}", 0, 0, 0, 0, 0, 0)
'''
CONFIG = """\
station: {name: toy}
recipe: tiny
paths:
  recipes: recipes
  engines: engines
  journal: journal.db
  images: images
  cache: cache
camera:
  kind: grey
  level: 7
  lens: lens.json
sorter: {kind: lamp, colour: green}
engine: {backend: onnxruntime-cpu}
limits: {part_deadline_ms: 2000, grab_timeout_ms: 1000}
"""
RECIPE = """
name: tiny
version: 1
description: a whole picture of eight patches
product: {background: none, widths_px: [32], height_px: 64, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 64, width: 32}
patch: {size: 16}
engine: tiny
classes:
  - {name: good, bin: 1}
  - {name: bright, bin: 2}
  - {name: dark, bin: 3}
fault_bin: 9
"""
STATION = """
import sys
import drivers.cameras
import drivers.sorters
# As if the files had been dropped into the folders themselves.
drivers.cameras.__path__.append(sys.argv[1] + "/cameras")
drivers.sorters.__path__.append(sys.argv.pop(1) + "/sorters")
sys.argv[0] = "station"
from station.cli import main
main()
"""


@pytest.fixture
def folder(tmp_path: Path, tiny_engine: Path) -> Path:
    (tmp_path / "added" / "cameras").mkdir(parents=True)
    (tmp_path / "added" / "sorters").mkdir()
    (tmp_path / "added" / "cameras" / "grey.py").write_text(TOY)
    (tmp_path / "added" / "sorters" / "lamp.py").write_text(TOY_SORTER)
    (tmp_path / "station.yaml").write_text(CONFIG)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text(RECIPE)
    return tmp_path


def station(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what was printed, in one line, by a `station` that has the toy family."""
    command = [sys.executable, "-c", STATION, str(folder / "added"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)


def test_a_family_of_one_file_is_configured_and_proven_by_station_check(folder: Path) -> None:
    code, said = station(folder, "check", "--config", str(folder / "station.yaml"))
    assert code == 0, said
    assert "camera: grey 7, lens lens.json, 32 x 64 px, 1 frame, 0 lost, 0 incomplete" in said, said
    assert re.search(
        r"camera families found: aravis \(.*\), folder, grey, harvesters \(.*\), pylon \(.*\), simulated",
        said,
    )
    assert re.search(r"sorter protocols found: camera-lines, gpio \(gpiod [0-9.]+\), lamp, modbus", said)
    assert "sorter: green lamp of toy, tiny; the cell answers" in said


def test_the_keys_of_a_family_of_one_file_are_listed_and_checked(folder: Path) -> None:
    code, said = station(folder, "config", "keys")
    assert code == 0
    assert "### `camera (kind: grey)` One grey level." in said
    assert "| `level` | `128` | the grey level, 0 to 255 |" in said
    file = folder / "station.yaml"
    file.write_text(file.read_text().replace("level: 7", "levle: 7"))
    code, said = station(folder, "check", "--config", str(file))
    assert code == 2
    assert f"{file}:11: camera.levle: is not a known key: did you mean `level`?" in said


def test_a_family_that_cannot_be_read_is_named_when_it_is_asked_for(folder: Path) -> None:
    (folder / "added" / "cameras" / "grey.py").write_text("import a_package_that_nobody_has\n" + TOY)
    code, said = station(folder, "check", "--config", str(folder / "station.yaml"))
    assert code == 2
    assert f"{folder / 'station.yaml'}:10: camera.kind: 'grey' is not known" in said
    file = folder / "added" / "cameras" / "grey.py"
    assert f"not read: {file} (line 1: ModuleNotFoundError" in said
    known = "known are: aravis, folder, harvesters, pylon, simulated"
    assert f"{known}; these files cannot be read: {file} (line 1: ModuleNotFound" in said


def test_a_family_that_is_there_twice_stops_the_station(folder: Path) -> None:
    (folder / "added" / "cameras" / "gray.py").write_text(TOY)
    code, said = station(folder, "check", "--config", str(folder / "station.yaml"))
    assert code == 2
    assert "camera family 'grey' is registered twice, by drivers.cameras.gray.GreyCamera and by" in said


def test_a_simulated_cell_needs_a_sorter_on_a_serial_line(folder: Path) -> None:
    file = folder / "station.yaml"
    file.write_text(file.read_text() + "simulation: {cell: {verdict_ms: 3000}}\n")
    code, said = station(folder, "check", "--config", str(file))
    assert code == 2
    assert "simulation.cell: needs a serial line to the station: write `kind: serial`" in said
