"""What novelty is measured on: parts of known classes, any of which can be left out of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retraining.classifiers.loop import TrainingPlan, build_network, in_epochs, load_weights, train
from retraining.classifiers.patch_sizes import Stage, train_in_stages
from retraining.classifiers.validation import recipe_at
from retraining.data.pixels import PictureSet
from retraining.data.source import PictureSource
from retraining.errors import DatasetError
from retraining.evaluation.scored_parts import UNKNOWN, patch_labels
from retraining.shipping.export import export_onnx
from retraining.surfaces import SOUND, Surfaces
from retraining.surfaces.crops import RandomCrops
from station.patching import cut_surface
from station.recipe import Recipe

Patches = NDArray[np.uint8]
"""``(N, patch, patch, C)``."""
Labelled = tuple[Patches, NDArray[np.int64]]
"""Patches and the class of each, by its number among the classes that are kept."""
Report = Callable[[int, int, str], None]
"""Takes the steps done, the steps of all stages and a line of text."""


class Material(Protocol):
    """Parts of several classes; the first one may be that of good parts."""

    @property
    def classes(self) -> tuple[str, ...]:
        """All of them, in the order of their numbers."""
        ...

    @property
    def good(self) -> str:
        """The class of good parts; empty where there is none."""
        ...

    @property
    def usual(self) -> str:
        """What the parts are called by which the threshold is chosen."""
        ...

    def train(self, left_out: str, folder: Path, report: Report) -> Path:
        """Train a classifier without a class; the ONNX file in ``folder``, the same call continuing a run."""
        ...

    def training_patches(self, left_out: str) -> Labelled:
        """Patches of the classes that are kept, of parts that the classifier was trained on."""
        ...

    def usual_parts(self, left_out: str) -> tuple[list[Patches], list[Patches]]:
        """Unseen parts that are not to surface: for the threshold, and to count with it."""
        ...

    def parts_of(self, name: str) -> list[Patches]:
        """Unseen parts of one class."""
        ...


@dataclass(frozen=True, slots=True)
class RenderedMaterial:
    """Surfaces with masks, cut by a recipe; each part has defects of one kind at most."""

    recipe: Recipe
    trained_on: Surfaces
    held_out: Surfaces
    """Unseen good parts; the first half sets the threshold, the second is counted."""
    defective: Surfaces
    """Unseen parts with one defect."""
    stages: tuple[Stage, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """See :class:`Material`."""
        return self.trained_on.classes

    @property
    def good(self) -> str:
        """See :class:`Material`."""
        return self.classes[SOUND]

    @property
    def usual(self) -> str:
        """See :class:`Material`."""
        return "good parts"

    def train(self, left_out: str, folder: Path, report: Report) -> Path:
        """See :class:`Material`."""
        kept = self._kept(left_out)
        steps = sum(stage.plan.steps for stage in self.stages)

        def show(stage: Stage, step: int, line: str) -> None:
            before = self.stages[: self.stages.index(stage)]
            report(sum(one.plan.steps for one in before) + step, steps, line)

        weights = train_in_stages(
            self.stages,
            lambda patch_px: RandomCrops(kept, recipe_at(self.recipe, patch_px).patch),
            folder,
            report=show,
        )
        network = build_network(self.stages[-1].plan, RandomCrops(kept, self.recipe.patch))
        network.load_state_dict(load_weights(weights))
        export_onnx(network, folder / "model.onnx", self.recipe.patch.size, self.recipe.surface.channels)
        return folder / "model.onnx"

    def training_patches(self, left_out: str) -> Labelled:
        """See :class:`Material`: the patches of the station's own grid whose class is certain."""
        return grid_patches(self._kept(left_out), self.recipe)

    def usual_parts(self, left_out: str) -> tuple[list[Patches], list[Patches]]:
        """See :class:`Material`."""
        parts = list(surface_patches(self.held_out, self.recipe))
        return parts[: len(parts) // 2], parts[len(parts) // 2 :]

    def parts_of(self, name: str) -> list[Patches]:
        """See :class:`Material`."""
        label = self.classes.index(name)
        which = [n for n in range(len(self.defective)) if self.defective.part_class(n) == label]
        return list(surface_patches(self.defective.select(which), self.recipe))

    def _kept(self, left_out: str) -> Surfaces:
        """The training parts without a class, the others numbered anew."""
        label = self.classes.index(left_out)
        which = [n for n in range(len(self.trained_on)) if not np.any(self.trained_on.masks[n] == label)]
        kept = self.trained_on.select(which)
        masks = np.where(kept.masks > label, kept.masks - 1, kept.masks).astype(np.uint8)
        classes = tuple(name for name in self.classes if name != left_out)
        return Surfaces(kept.pixels, masks, classes, kept.names)


@dataclass(frozen=True, slots=True)
class PictureMaterial:
    """A data set of whole pictures, each one part of one patch; there need be no good class.

    What is not to surface are unseen pictures of the classes that are kept, or the good ones among them.
    """

    trained_on: PictureSet
    unseen: PictureSet
    plan: TrainingPlan
    epochs: float
    good: str = ""
    """The class of good parts; empty where there is none."""

    @property
    def classes(self) -> tuple[str, ...]:
        """See :class:`Material`."""
        return self.trained_on.classes

    @property
    def usual(self) -> str:
        """See :class:`Material`."""
        return "good pictures" if self.good else "pictures of known classes"

    def train(self, left_out: str, folder: Path, report: Report) -> Path:
        """See :class:`Material`."""
        kept = self._kept(self.trained_on, left_out)
        plan = in_epochs(self.plan, self.epochs, len(kept))
        source = PictureSource(kept, sampling="natural")
        weights = train(plan, source, folder, report=lambda step, line: report(step, plan.steps, line))
        network = build_network(plan, source)
        network.load_state_dict(load_weights(weights))
        export_onnx(network, folder / "model.onnx", source.patch_px, source.channels)
        return folder / "model.onnx"

    def training_patches(self, left_out: str) -> Labelled:
        """See :class:`Material`."""
        kept = self._kept(self.trained_on, left_out)
        return kept.pixels, kept.labels

    def usual_parts(self, left_out: str) -> tuple[list[Patches], list[Patches]]:
        """See :class:`Material`: unseen pictures in turn, one for the threshold and one to be counted."""
        kept = self._kept(self.unseen, left_out)
        if self.good:
            kept = kept.of_class(kept.classes.index(self.good))
        pictures = [picture[None] for picture in kept.pixels]
        return pictures[::2], pictures[1::2]

    def parts_of(self, name: str) -> list[Patches]:
        """See :class:`Material`."""
        return [picture[None] for picture in self.unseen.of_class(self.classes.index(name)).pixels]

    def _kept(self, pictures: PictureSet, left_out: str) -> PictureSet:
        label = self.classes.index(left_out)
        kept = pictures.select(pictures.labels != label)
        classes = tuple(name for name in self.classes if name != left_out)
        return replace(kept, labels=kept.labels - (kept.labels > label), classes=classes)


def surface_patches(surfaces: Surfaces, recipe: Recipe) -> Iterator[Patches]:
    """The patches of each surface, cut as the station cuts them."""
    for index in range(len(surfaces)):
        yield cut_surface(np.asarray(surfaces.pixels[index]), recipe.patch)


def grid_patches(surfaces: Surfaces, recipe: Recipe) -> Labelled:
    """The patches of the station's grid whose class is certain. Raises :class:`DatasetError` without any."""
    found: list[Patches] = []
    labels: list[NDArray[np.int64]] = []
    for index, patches in enumerate(surface_patches(surfaces, recipe)):
        own = patch_labels(np.asarray(surfaces.masks[index]), recipe)
        found.append(patches[own != UNKNOWN])
        labels.append(own[own != UNKNOWN])
    if not any(np.any(own == SOUND) for own in labels):
        raise DatasetError("no patch of the training parts is good; render or add good parts")
    return np.concatenate(found), np.concatenate(labels)
