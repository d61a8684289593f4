"""Novelty is appended to a graph and changes nothing else in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deploy.novelty import append_novelty, remove_novelty, what_it_says
from deploy.scoring import onnx_novelty, onnx_scorer
from retraining.novelty.methods import METHODS, core_set, mahalanobis
from station.engines.graph import require_plain
from station.engines.interface import EngineError


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("file", ["model.onnx", "model.int8.onnx", "model.int8-signed.onnx"])
def test_every_method_becomes_an_output_and_the_probabilities_stay_bit_by_bit(
    tiny_engine_master: Path, tiny_patches: NDArray[np.uint8], method: str, file: str
) -> None:
    content = (tiny_engine_master / file).read_bytes()
    said = what_it_says(content)(tiny_patches)
    distance = METHODS[method](said, said["probabilities"].argmax(axis=1))
    expected = distance(said)
    made = append_novelty(onnx.load_from_string(content), distance, float(np.median(expected)))
    after = made.SerializeToString()
    require_plain(after, Path(file))
    np.testing.assert_array_equal(onnx_scorer(after)(tiny_patches), onnx_scorer(content)(tiny_patches))
    found = onnx_novelty(after)(tiny_patches)
    assert (found.shape, found.dtype) == ((len(tiny_patches),), np.float32)
    np.testing.assert_allclose(found, expected / np.median(expected), rtol=1e-3, atol=1e-4)
    assert abs(np.mean(found > 1) - 0.5) < 0.1
    again = append_novelty(made, distance, float(np.median(expected)))
    assert len(again.SerializeToString()) == len(after), "the earlier output is replaced"
    remove_novelty(again)
    assert [output.name for output in again.graph.output] == ["probabilities", "features"]
    assert len(again.graph.node) == len(onnx.load_from_string(content).graph.node)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_is_none_is_refused(tiny_engine_master: Path, threshold: float) -> None:
    said = {"features": np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)}
    distance = mahalanobis(said, np.zeros(50, np.int64))
    with pytest.raises(EngineError, match="is no threshold"):
        append_novelty(onnx.load(str(tiny_engine_master / "model.onnx")), distance, threshold)


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(4, 10))
@settings(deadline=None, max_examples=15)
def test_with_many_patches_the_distance_is_mahalanobis_own(seed: int, classes: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(width, width)))[0]
    mixing = rng.uniform(0.5, 3, width)[:, None] * turned
    centres = rng.normal(scale=20, size=(classes, width))
    labels = np.arange(6000) % classes
    features = (rng.normal(size=(6000, width)) @ mixing + centres[labels]).astype(np.float32)
    distance = mahalanobis({"features": features}, labels)
    asked = features[:40] + rng.normal(scale=5, size=(40, width)).astype(np.float32)
    inverse = np.linalg.inv(mixing.T @ mixing)
    off = asked[:, None] - centres[None]
    true = np.sqrt(np.einsum("nci,ij,ncj->nc", off, inverse, off).min(axis=1))
    np.testing.assert_allclose(distance({"features": asked}), true, rtol=0.1, atol=0.1)


def test_a_core_set_covers_all_points_better_than_a_draw() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(size=(900, 3)), rng.normal(8, 1, size=(20, 3))])

    def cover(chosen: NDArray[np.int64]) -> float:
        return float(np.sqrt(((points[:, None] - points[chosen][None]) ** 2).sum(-1)).min(axis=1).max())

    chosen = core_set(points, 30)
    assert len(set(chosen.tolist())) == 30
    assert cover(chosen) < cover(rng.choice(len(points), 30, replace=False))
    assert len(core_set(points[:5], 30)) == 5
