"""The measurement of what the rare-defect log costs runs the log itself, and every part passes by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from station.bench.rare import rare_cost
from station.engines.interface import Engine, EngineInfo, Scores
from station.recipe import load_recipe

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


def test_the_rare_log_is_measured_beside_the_same_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "strip.yaml").write_text(RECIPE)
    frames = list(np.random.default_rng(2).integers(60, 200, (3, 32, 16)).astype(np.uint8))
    cost = rare_cost(Rejecting(), frames, load_recipe(tmp_path / "strip.yaml"), rounds=2, seconds=0.1)
    assert cost.without > 0
    assert cost.ratio > 0
    assert cost.looked_at > 0
    assert "kept" in cost.note
