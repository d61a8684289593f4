"""The command that measures what a wire costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from simulation.cell import measure


def test_a_wire_is_measured_healthy_dead_slow_and_flooded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    assert measure.main(["--wires", "serial", "--parts", "5", "--seconds", "0.1", "--json", str(file)]) == 0
    (figures,) = json.loads(file.read_text())
    assert figures["acknowledged_ms"]["p99"] > 0
    assert set(figures["path"]) == {"healthy", "dead", "slow", "flooding"}
    said = capsys.readouterr().out
    assert "serial: verdict to acknowledgement" in said
    assert said.count("call to the sorter") == 4


def test_a_killed_measurement_leaves_nothing_behind_that_floods_a_line(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "simulation.cell.measure", "--wires", "serial", "--seconds", "60"]
    measuring = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=Path(measure.__file__).parents[2])
    children: list[psutil.Process] = []
    until = time.monotonic() + 30
    while not children and time.monotonic() < until:
        time.sleep(0.05)
        children = [c for c in psutil.Process(measuring.pid).children() if "fork" in " ".join(c.cmdline())]
    assert children
    measuring.kill()
    measuring.wait()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone
    assert not alive
