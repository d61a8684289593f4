"""The command that measures what a wire costs."""

from __future__ import annotations

import json
from pathlib import Path

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
