"""A candidate that is loaded, and judges, beside a line: measured as observers are."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.bench.beside import cost_beside
from station.bench.shadowed import shadowed
from station.engines import open_engine
from station.recipe import Recipe
from station.spare.patience import Limits
from tests.conftest import tiny_surface

FRAMES = [tiny_surface(kind, 70) for kind in ("good", "bright", "dark")]


def test_a_candidate_is_opened_judges_and_is_measured_beside_other_work(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.bench.shadowed.ANEW_EVERY_S", 1000.0)
    engine = open_engine(tiny_engine, "onnxruntime-cpu", "fp32", cache=tmp_path, recipe=tiny_recipe)
    make = shadowed(tiny_engine, tiny_recipe, engine.info, Limits(gives_way=False))
    cost = cost_beside(make, engine, FRAMES, tiny_recipe, rounds=1, seconds=0.5, pace=20.0, others=1)
    engine.close()
    drift, shadow = sorted(cost.observers, key=lambda one: one.name)
    assert (shadow.failed, drift.failed, cost.busy) == (0, 0, 1)
    assert shadow.observed > 1
    assert "worse on 0 of" in shadow.note
