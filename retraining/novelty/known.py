"""The parts that an engine's novelty is fitted and measured on: rendered ones, or pictures of a data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retraining.data.manifest import TRUSTED, Dataset, Picture
from retraining.data.pixels import picture_pixels
from retraining.errors import DatasetError
from retraining.novelty.engine import KnownParts
from retraining.novelty.material import Patches, RenderedMaterial, grid_patches, surface_patches
from station.engines.manifest import PROBABILITIES
from station.patching import PatchingError, cut
from station.recipe import Recipe

SOUND = 0


def rendered_parts(material: RenderedMaterial) -> KnownParts:
    """Rendered parts: the material's own, all classes of them kept."""
    recipe = material.recipe
    return KnownParts(
        grid_patches(material.trained_on, recipe),
        list(surface_patches(material.held_out, recipe)),
        {name: material.parts_of(name) for name in material.classes[1:]},
        f"{len(material.trained_on)} rendered parts; the threshold on other rendered good parts",
    )


def pictured_parts(
    dataset: Dataset,
    recipe: Recipe,
    say: Callable[[Patches], dict[str, NDArray[np.float32]]],
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> KnownParts:
    """Pictures that persons or the renderer labelled, each a whole frame of one part.

    Split ``train`` is fitted on, the others are unseen. Which patches of a defective picture show the defect
    is not known where there are several: those count that the engine itself (``say``) takes for the
    picture's class. Raises :class:`DatasetError`.
    """
    names = tuple(entry.name for entry in recipe.classes)
    if dataset.classes != names:
        raise DatasetError(
            f"the data set has the classes {', '.join(dataset.classes)}, but the recipe {recipe.name} has "
            f"{', '.join(names)}; they must agree"
        )
    pictures = dataset.select(labelled_by=TRUSTED).pictures
    fitted: list[tuple[Patches, int]] = []
    good: list[Patches] = []
    defective: dict[str, list[Patches]] = {}
    uncut = 0
    for number, picture in enumerate(pictures, start=1):
        report("reading pictures", number, len(pictures))
        patches = _patches(dataset, picture, recipe)
        label = names.index(picture.label)
        if patches is None:
            uncut += 1
        elif picture.split == "train":
            fitted.append((patches, label))
        elif label == SOUND:
            good.append(patches)
        else:
            defective.setdefault(picture.label, []).append(patches)
    if not any(label == SOUND for _, label in fitted) or not good:
        raise DatasetError(
            f"of the good pictures, {sum(label == SOUND for _, label in fitted)} are in the split train and "
            f"{len(good)} in others; novelty needs both: split the data set by `retrain data split`"
        )
    training = _training(fitted, say, recipe, report)
    left_out = f" ({uncut} pictures that the station would not cut were left out)" if uncut else ""
    return KnownParts(
        training,
        good,
        defective,
        f"{len(fitted)} pictures of the split train; the threshold on good ones of other splits{left_out}",
    )


def _patches(dataset: Dataset, picture: Picture, recipe: Recipe) -> Patches | None:
    """The patches of a picture; None where the station would not cut it."""
    whole = picture_pixels(dataset, picture, recipe.surface.channels)
    try:
        return cut(np.ascontiguousarray(whole), recipe).pixels
    except PatchingError:
        return None


def _training(
    fitted: list[tuple[Patches, int]],
    say: Callable[[Patches], dict[str, NDArray[np.float32]]],
    recipe: Recipe,
    report: Callable[[str, int, int], None],
) -> tuple[Patches, NDArray[np.int64]]:
    kept: list[Patches] = []
    labels: list[int] = []
    for number, (patches, label) in enumerate(fitted, start=1):
        report("looking for the defects' patches", number, len(fitted))
        own = patches
        if label != SOUND and recipe.patch_count > 1:
            own = patches[say(patches)[PROBABILITIES].argmax(axis=1) == label]
        kept.append(own)
        labels += [label] * len(own)
    return np.concatenate(kept), np.array(labels, np.int64)
