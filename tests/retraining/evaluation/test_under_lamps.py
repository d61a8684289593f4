"""Engines for a stereo rig: trained and tested on parts as the station sees them under the recipe's lamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retraining.errors import DatasetError
from retraining.evaluation.parts import evaluate, rendered_test_part
from retraining.evaluation.robustness import measure_robustness
from retraining.shipping.export import golden_parts
from retraining.surfaces.rendered import check_renderable, frames_of, station_surface
from station.patching import cut_part
from station.recipe import Recipe, load_recipe


@pytest.fixture(scope="module")
def rig() -> Recipe:
    return load_recipe(Path(__file__).parents[3] / "recipes" / "servo-motor-housing-stereo.yaml")


def test_what_is_trained_on_is_what_the_station_cuts(rig: Recipe) -> None:
    check_renderable(rig)
    part = rendered_test_part(rig, 1, 3, 1)
    surface, mask = station_surface(part, rig)
    assert surface.shape == (2048, 512, 3)
    assert mask.any()
    assert np.array_equal(surface, cut_part(frames_of(part, rig), rig).surface.pixels)


def test_whole_parts_are_tested_under_all_lamps(rig: Recipe) -> None:
    seen = []

    def good(patches: np.ndarray) -> np.ndarray:
        seen.append(patches.shape)
        return np.eye(5, dtype=np.float32)[np.zeros(len(patches), int)]

    results = evaluate({"good": good}, rig, [rendered_test_part(rig, 1, 3, number) for number in (0, 1)])
    assert [one.outcome for one in results] == ["accept", "accept"]
    assert seen == [(16, 256, 256, 3)] * 2


def test_golden_parts_have_all_channels(rig: Recipe) -> None:
    ((truth, surface),) = golden_parts(rig, lambda name, patches: None, count=1)
    assert truth == "defect-free"
    assert surface.shape == (2048, 512, 3)


def test_disturbances_of_one_frame_are_refused_for_several(rig: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="lights a part by 4 lamps"):
        measure_robustness({}, rig, tmp_path, per_class=1, seed=1)
