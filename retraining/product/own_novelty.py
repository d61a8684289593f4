"""How far from training a part is, in the classifier's own features, for an engine just made.

It is fitted on training patches whose class is certain, its threshold is chosen on good validation
parts, and it is counted on good test parts. Where it cannot be had, the words say why; the engine works
without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.scoring import onnx_novelty
from retraining.errors import TrainingError
from retraining.evaluation.scored_parts import UNKNOWN, patch_labels
from retraining.novelty.engine import KnownParts, add_novelty
from retraining.novelty.material import Labelled, Patches
from retraining.product.counting import Share, share_of
from retraining.product.parts import Parts
from retraining.surfaces import SOUND, Surfaces
from station.decision import FAR
from station.engines.folder import load_manifest
from station.patching import cut_surface
from station.recipe import Recipe

FEWEST_GOOD = 10
"""Good validation parts; the highest of fewer would be no threshold."""
_MOST_PATCHES = 2000
"""Of the training, drawn: more would cost minutes and change nothing."""


@dataclass(frozen=True, slots=True)
class OwnNovelty:
    """What :func:`add_own_novelty` did."""

    refusal: str = ""
    """Why the engine has no novelty; empty where it has."""
    method: str = ""
    threshold_parts: int = 0
    above: Share | None = None
    """Good test parts that are above the threshold."""


def add_own_novelty(
    engine: Path, parts: Parts, recipe: Recipe, report: Callable[[str], None] = lambda what: None
) -> OwnNovelty:
    """Give an engine folder novelty in its own features, or say why it gets none."""
    if not load_manifest(engine).features:
        return OwnNovelty("the network has no features before a fully connected head")
    validation, unseen = parts.of("validation"), parts.of("test")
    good = _good(validation, recipe)
    if len(good) < FEWEST_GOOD:
        return OwnNovelty(
            f"its threshold is chosen on good validation parts, of which there are {len(good)}; give "
            f"{FEWEST_GOOD} or more"
        )
    training = certain_patches(parts.real("train"), recipe)
    defective: dict[str, list[Patches]] = {}
    for index in range(len(validation)):
        if label := validation.part_class(index):
            patches = cut_surface(validation.pixels[index], recipe.patch)
            defective.setdefault(validation.classes[label], []).append(patches)
    described = f"the threshold on {len(good)} good validation parts"
    try:
        added = add_novelty(
            engine, KnownParts(training, good, defective, described),
            report=lambda what, done, total: report(f"{what}, {done} of {total}"),
        )  # fmt: skip
    except TrainingError as error:
        return OwnNovelty(str(error))
    far = onnx_novelty(added.manifest.files.get("int8", added.manifest.files["fp32"]))
    groups = parts.groups_of("test")
    above = share_of(
        (groups[k], bool((far(cut_surface(unseen.pixels[k], recipe.patch)) > FAR).any()))
        for k in range(len(unseen))
        if unseen.part_class(k) == SOUND
    )
    return OwnNovelty(method=added.novelty.method, threshold_parts=len(good), above=above)


def certain_patches(surfaces: Surfaces, recipe: Recipe) -> Labelled:
    """The station's patches of some parts whose class is certain, or a share of them, and their classes."""
    kept: list[Patches] = []
    labels: list[np.ndarray] = []
    share = min(1.0, _MOST_PATCHES / max(1, len(surfaces) * recipe.patch_count))
    rng = np.random.default_rng(29)
    for index in range(len(surfaces)):
        truth = patch_labels(np.asarray(surfaces.masks[index]), recipe)
        drawn = (truth > SOUND) | (rng.random(len(truth)) < share)
        chosen = np.flatnonzero((truth != UNKNOWN) & drawn)
        kept.append(cut_surface(surfaces.pixels[index], recipe.patch)[chosen])
        labels.append(truth[chosen])
    return np.concatenate(kept), np.concatenate(labels)


def _good(surfaces: Surfaces, recipe: Recipe) -> list[Patches]:
    return [
        cut_surface(surfaces.pixels[index], recipe.patch)
        for index in range(len(surfaces))
        if surfaces.part_class(index) == SOUND
    ]
