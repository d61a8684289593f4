"""A small plant on disk: engine, recipe, pictures, configuration; the station is a process of its own."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from simulation.cell.process import CellProcess, start_cell
from simulation.cell.settings import CellSettings
from station.cli import main

RECIPE = """
name: tiny
version: 1
description: grey plates of 64 x 32 px
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

CONFIG = """
station: {name: test}
recipe: tiny
paths: {recipes: recipes, engines: engines, journal: var/journal.db, images: var/images, cache: var/cache}
camera: {kind: folder, path: frames, repeat: true}
sorter: {kind: serial, port: ./cell.pty, ack_timeout_ms: 1000}
engine: {backend: onnxruntime-cpu, precision: fp32, threads: 1}
limits: {part_deadline_ms: 800, grab_timeout_ms: 300, stop_timeout_ms: 3000}
images: {save: none}
"""


OF_A_MOMENT = ("journal", "status", "halt", "resume", "prepare", "activate")
"""Commands that start nothing of the line: they run in this process, as starting Python takes the longest."""


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own would end and print."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(sys, "argv", ["station", *arguments])
        patched.setenv("COLUMNS", "200")
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, code, *said)


@dataclass
class SmallPlant:
    """The folder, and what runs in it."""

    folder: Path
    program: tuple[str, ...] = ("-m", "station.cli")
    """What Python runs as `station run`."""
    cell: CellProcess | None = None
    stations: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        return self.folder / "var" / "journal.db"

    def start_cell(self, **settings: Any) -> CellProcess:
        defaults: dict[str, Any] = {
            "link": str(self.folder / "cell.pty"),
            "good_bin": 1,
            "reject_bin": 9,
            "verdict_ms": 1500.0,
            "recipe": "tiny",
            "log": str(self.folder / "cell.jsonl"),
        }
        self.cell = start_cell(CellSettings(**(defaults | settings)))
        return self.cell

    def start_station(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, *self.program, "run", "--config", str(self.folder / "station.yaml")]
        station = subprocess.Popen(
            [*command, "--plain", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.stations.append(station)
        return station

    def station_to_its_end(self, *arguments: str, timeout_s: float = 60) -> tuple[int, str]:
        station = self.start_station(*arguments)
        out, _ = station.communicate(timeout=timeout_s)
        return station.returncode, out

    def stop_station(self, station: subprocess.Popen[str]) -> tuple[int, str]:
        station.send_signal(signal.SIGTERM)
        out, _ = station.communicate(timeout=60)
        return station.returncode, out

    def station_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if arguments[0] in OF_A_MOMENT:
            return run_here(*arguments)
        return subprocess.run(
            [sys.executable, "-m", "station.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"COLUMNS": "200"},
            check=False,
        )

    def records(self) -> dict[int, dict[str, Any]]:
        """The journal's records by part id."""
        done = self.station_command(
            "journal", "export", "-", "--format", "jsonl", "--journal", str(self.journal)
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        records = {line["part_id"]: line for line in lines}
        assert len(records) == len(lines), "a part has two records"
        return records

    def close(self) -> None:
        for station in self.stations:
            if station.poll() is None:
                station.kill()
                station.wait()
            if station.stdout is not None:
                station.stdout.close()
        if self.cell is not None:
            self.cell.close()


@pytest.fixture
def small_plant(tmp_path: Path, tiny_engine_master: Path) -> Iterator[SmallPlant]:
    for name in ("recipes", "frames", "var"):
        (tmp_path / name).mkdir()
    shutil.copytree(tiny_engine_master, tmp_path / "engines" / "tiny")
    (tmp_path / "recipes" / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "station.yaml").write_text(CONFIG)
    rng = np.random.default_rng(3)
    for number in range(9):  # every third plate has one patch that is too bright or too dark
        plate = rng.normal(115, 8, (64, 32))
        if number % 3 == 2:
            plate[16:32, 0:16] += 110 if number % 2 else -100
        cv2.imwrite(str(tmp_path / "frames" / f"{number:02d}.png"), np.clip(plate, 0, 255).astype(np.uint8))
    plant = SmallPlant(tmp_path)
    yield plant
    plant.close()
