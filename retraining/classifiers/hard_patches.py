"""Hard patches: where a trained network raises a false alarm or names the wrong kind of defect.

The next stage begins with them as the patches that are shown again
(:func:`retraining.classifiers.loop.train`). Missed defects are left out on purpose; the loop says why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retraining.classifiers.loop import (
    Reporter,
    TrainingPlan,
    Validator,
    build_network,
    load_weights,
    probabilities,
    save_weights,
    train,
)
from retraining.surfaces import SOUND, Surfaces, join_surfaces
from retraining.surfaces.crops import RandomCrops
from station.engines.interface import Scorer
from station.patching import cut_surface, patch_boxes
from station.recipe import Recipe

ALARM = 0.05
"""Probability of any defect from which on a sound patch counts as hard."""
DOUBT = 0.9
"""Share of a defective patch's defect probability that its own class must have, or the patch is hard."""
_MIN_PX = 60
"""Pixels of a defect that a patch must show to be used; less of it is ambiguous."""


def hard_windows(
    surfaces: Surfaces,
    recipe: Recipe,
    score: Scorer,
    report: Callable[[int], None] = lambda done: None,
) -> NDArray[np.int64]:
    """Windows ``(n, 4)`` (surface, top, left, label) of the hard patches on the station's grid."""
    boxes = patch_boxes(recipe.surface.height, recipe.surface.width, recipe.patch)
    found: list[tuple[int, int, int, int]] = []
    for index in range(len(surfaces)):
        scores = score(cut_surface(surfaces.pixels[index], recipe.patch))
        for number, box in enumerate(boxes):
            top, left = box.y, box.x
            mask = surfaces.masks[index, top : top + box.height, left : left + box.width]
            seen = np.bincount(mask.ravel(), minlength=len(surfaces.classes))[1:]
            alarm = float(1.0 - scores[number, SOUND])
            if not seen.any():
                if alarm >= ALARM:
                    found.append((index, top, left, SOUND))
            elif np.count_nonzero(seen) == 1 and seen.max() >= _MIN_PX and alarm >= 0.5:
                label = int(seen.argmax()) + 1
                if scores[number, label] < DOUBT * alarm:
                    found.append((index, top, left, label))
        report(index + 1)
    return np.array(found, np.int64).reshape(-1, 4)


def train_on_hard_patches(
    plan: TrainingPlan,
    weights: Path,
    known: Surfaces,
    fresh: Surfaces,
    recipe: Recipe,
    folder: Path,
    *,
    validate: Validator | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
    mined: Callable[[int], None] = lambda done: None,
) -> Path:
    """A last stage: train on ``known`` and ``fresh`` parts, the hard patches of the fresh ones replayed.

    Fresh parts are needed, because a network makes no more mistakes on those it was trained on. Returns
    ``folder/mean.pt``, the mean of the weights before and after: the repeated patches are exceptions, and
    half the way towards them costs nothing on the rule.
    """
    source = RandomCrops(join_surfaces(fresh, known), recipe.patch)
    network = build_network(plan, source)
    network.load_state_dict(load_weights(weights))
    hard = hard_windows(fresh, recipe, lambda patches: probabilities(network, patches), mined)
    after = load_weights(
        train(
            plan,
            source,
            folder,
            validate=validate,
            start_from=weights,
            replay_first=hard,
            resume=resume,
            report=report,
        )
    )
    before = load_weights(weights)
    mean = {k: (before[k] + v) / 2 if v.is_floating_point() else v for k, v in after.items()}
    save_weights(mean, folder / "mean.pt")
    return folder / "mean.pt"
