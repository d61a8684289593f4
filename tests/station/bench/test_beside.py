"""The measurement of what observers cost runs the observers themselves, and every part passes by them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from station.bench.beside import cost_beside, observers_of, rare_log
from station.bench.scraped import scraped_metrics
from station.cli import app
from station.config import load_config
from station.engines.interface import Engine, EngineInfo, Scores
from station.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[3]

RECIPE = """
name: strip
version: 1
product: {background: none, widths_px: [16], height_px: 32, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 32, width: 16}
patch: {size: 16}
engine: scripted
classes:
  - {name: defect-free, bin: 1}
  - {name: scratches, bin: 2}
fault_bin: 9
"""


class Rejecting(Engine):
    info = EngineInfo("e", "a" * 64, "scripted", "fp32", "none", ("defect-free", "scratches"), 16, 1, 0, 2)

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        p = np.tile(np.array([0.1, 0.9], np.float32), (len(patches), 1))
        return Scores(p, patches.reshape(len(patches), -1)[:, :2].astype(np.float32))

    def close(self) -> None:
        pass


@pytest.fixture
def strip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "strip.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "strip.yaml")


FRAMES = list(np.random.default_rng(2).integers(60, 200, (3, 32, 16)).astype(np.uint8))


def test_the_rare_log_is_measured_beside_the_same_parts_in_turn(strip: Recipe) -> None:
    said: list[str] = []
    cost = cost_beside(rare_log, Rejecting(), FRAMES, strip, rounds=2, seconds=0.1, progress=said.append)
    assert [line.split(": ")[1] for line in said[1:]] == ["without", "with", "with", "without"]
    for side in (cost.without, cost.beside):
        assert 0 < side.parts_per_s.lowest <= side.parts_per_s.median <= side.parts_per_s.highest
        assert 0 < side.verdict.p50 <= side.verdict.p99
        assert side.processor_ms.lowest > 0
    assert cost.pace_ratio.lowest > 0
    assert cost.processor_ratio.lowest > 0
    (log,) = cost.observers
    assert log.observed + log.dropped >= cost.beside.verdict.count
    assert "kept" in log.note


def test_parts_come_at_the_pace_that_is_asked_for(strip: Recipe) -> None:
    cost = cost_beside(rare_log, Rejecting(), FRAMES, strip, rounds=1, seconds=0.5, pace=20.0)
    assert cost.pace == 20.0
    assert cost.without.parts_per_s.median <= 24.0
    assert cost.without.verdict.p50 < 1000 / 20


def test_all_observers_of_a_configuration_are_measured_and_nothing_of_its_own_is_touched(
    strip: Recipe, tmp_path: Path
) -> None:
    text = (ROOT / "config" / "demo.yaml").read_text().replace("../", f"{tmp_path}/own/")
    text = text.replace("\nrare:\n", "\nrare:\n  pretrained_share: 0\n")  # it looks at accepted parts alone
    (tmp_path / "station.yaml").write_text(text)
    config = load_config(tmp_path / "station.yaml")
    cost = cost_beside(observers_of(config), Rejecting(), FRAMES, strip, rounds=1, seconds=0.1)
    assert {one.name for one in cost.observers} == {"drift", "pictures", "rare parts", "shadow"}
    assert all(one.observed for one in cost.observers)
    assert not (tmp_path / "own").exists()


def test_a_pace_without_observers_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "--pace", "5.8"])
    assert done.exit_code == 2
    said = " ".join(done.output.replace("│", " ").split())
    assert "needs --with-rare or --with-metrics or --with-telemetry or --with-shadow or --beside" in said


def test_two_things_to_measure_at_once_are_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "--with-rare", "--with-metrics"])
    assert done.exit_code == 2
    assert "give --with-rare or --with-metrics, not both" in " ".join(done.output.replace("│", " ").split())


def test_metrics_are_scraped_over_http_beside_the_same_parts(strip: Recipe) -> None:
    cost = cost_beside(scraped_metrics, Rejecting(), FRAMES, strip, rounds=1, seconds=1.2)
    (metrics,) = cost.observers
    assert metrics.failed == 0
    scrapes = re.fullmatch(r"(\d+) scrapes of \d+ kB", metrics.note)
    assert scrapes is not None
    assert int(scrapes[1]) >= 2
