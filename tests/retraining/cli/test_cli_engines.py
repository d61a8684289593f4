"""What ``retrain evaluate`` opens for each precision it is asked for."""

from pathlib import Path

import numpy as np
import pytest

from retraining.cli.options import open_scorers
from station.engines.interface import EngineError
from station.recipe import PatchGrid, Recipe


def test_bf16_is_opened_beside_what_the_folder_has_files_for(
    tiny_engine_master: Path,
    tiny_recipe: Recipe,
    tiny_patches: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATION_CACHE", str(tmp_path))
    scorers = open_scorers([tiny_engine_master], tiny_recipe, "openvino", ("fp32", "bf16", "int8"))
    assert list(scorers) == ["tiny openvino fp32", "tiny openvino bf16", "tiny openvino int8"]
    assert all(score(tiny_patches).shape == (len(tiny_patches), 3) for score in scorers.values())


def test_a_precision_that_the_back_end_does_not_compute_is_an_error(
    tiny_engine_master: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATION_CACHE", str(tmp_path))
    with pytest.raises(EngineError, match="computes int8, fp32, not bf16"):
        open_scorers([tiny_engine_master], tiny_recipe, "onnxruntime-cpu", ("bf16",))


def test_an_engine_that_was_proven_on_other_patches_is_not_evaluated(
    tiny_engine_master: Path, tiny_recipe: Recipe
) -> None:
    other = tiny_recipe.model_copy(update={"patch": PatchGrid(size=16, overlap_px=8)})
    with pytest.raises(EngineError, match="was proven on 8 patches of 16 px"):
        open_scorers([tiny_engine_master], other, "openvino")
