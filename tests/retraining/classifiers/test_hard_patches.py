"""Hard patches, and the stage that repeats them."""

from pathlib import Path

import numpy as np
import torch

from retraining.classifiers.hard_patches import hard_windows, train_on_hard_patches
from retraining.classifiers.loop import TrainingPlan, load_weights, train
from retraining.surfaces import Surfaces
from retraining.surfaces.crops import RandomCrops
from station.recipe import PatchGrid, Recipe


def scores_of(*rows: tuple[float, float, float]):
    """The same scores for every patch whose pixels are bright somewhere, sound ones otherwise."""
    sound, marked = (np.float32(row) for row in rows)

    def score(patches: np.ndarray) -> np.ndarray:
        bright = (patches > 165).mean(axis=(1, 2, 3)) > 0.005
        return np.where(bright[:, None], marked, sound)

    return score


def test_false_alarms_are_hard_and_labelled_sound(toy_surfaces: Surfaces, toy_recipe: Recipe) -> None:
    windows = hard_windows(toy_surfaces, toy_recipe, scores_of((0.9, 0.1, 0.0), (0.0, 0.5, 0.5)))
    sound = windows[windows[:, 3] == 0]
    assert len(sound) == 9 * 4 - 6
    for surface, top, left, _ in sound:
        assert not toy_surfaces.masks[surface, top : top + 128, left : left + 128].any()


def test_the_wrong_kind_is_hard_and_a_missed_defect_is_not(
    toy_surfaces: Surfaces, toy_recipe: Recipe
) -> None:
    wrong = hard_windows(toy_surfaces, toy_recipe, scores_of((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    assert wrong[:, 3].tolist() == [2, 2, 2]
    missed = hard_windows(toy_surfaces, toy_recipe, scores_of((1.0, 0.0, 0.0), (0.9, 0.1, 0.0)))
    assert len(missed) == 0


def test_the_last_stage_starts_from_the_weights_before(
    toy_surfaces: Surfaces, toy_recipe: Recipe, tmp_path: Path
) -> None:
    plan = TrainingPlan(steps=1, batch=4, precision="fp32", replay_share=0.5)
    weights = train(plan, RandomCrops(toy_surfaces, PatchGrid(size=128)), tmp_path / "first")
    seen: list[int] = []
    better = train_on_hard_patches(
        plan, weights, toy_surfaces, toy_surfaces, toy_recipe, tmp_path / "hard", mined=seen.append
    )
    before, after = load_weights(weights), load_weights(tmp_path / "hard" / "best.pt")
    for name, value in load_weights(better).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (before[name] + after[name]) / 2)
    assert seen == list(range(1, 10))
