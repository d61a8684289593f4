"""Parts of known truth and the scores of their patches: what thresholds and temperature are set from.

They come from the renderer (seeds that neither training nor the tests use), from photographs with masks, or
from a data set whose pictures are whole frames. The truth of single patches is known only where masks are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retraining.data.manifest import TRUSTED, Dataset
from retraining.data.pixels import picture_pixels
from retraining.data.rendered_parts import patch_label, station_windows
from retraining.errors import DatasetError
from retraining.evaluation.part_runs import PartLog, in_processes
from retraining.evaluation.parts import check_test_seeds, rendered_test_part
from retraining.surfaces import SOUND, Surfaces, resize_mask
from retraining.surfaces.crops import CropRules, find_defects
from retraining.surfaces.rendered import check_renderable, frames_of
from station.engines.interface import Scorer
from station.patching import PatchingError, cut, cut_part, cut_surface
from station.recipe import Recipe

UNKNOWN = -1
"""The label of a patch whose truth is not known, or that a defect only peeks into."""
Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """One part of known truth, and what the engine makes of its patches."""

    name: str
    labels: tuple[int, ...]
    """Every class on the part; ``(0,)`` for a good one."""
    scores: NDArray[np.float32] | None
    """``(N, classes)``; None for a frame that the station would not cut."""
    patch_labels: NDArray[np.int64]
    """``(N,)``, :data:`UNKNOWN` where the truth of a patch is not known."""
    reason: str = ""
    """Why it was not cut."""

    @property
    def defective(self) -> bool:
        """Whether the part has a defect."""
        return self.labels != (SOUND,)


def rendered_parts(
    score: Scorer,
    recipe: Recipe,
    folder: Path,
    *,
    digests: tuple[str, ...],
    per_class: int,
    seed: int,
    processes: int = 2,
    report: Report = lambda done: None,
) -> list[ScoredPart]:
    """``per_class`` rendered parts of each class, on whole frames; kept in ``folder`` part by part.

    ``digests`` name the network, so that scores kept of another one are not taken for its. Raises
    :class:`DatasetError`.
    """
    check_renderable(recipe)
    count = check_test_seeds(recipe, per_class, seed)
    plan = {"recipe": recipe.digest, "digests": list(digests), "parts_per_class": per_class}
    log = PartLog(folder, "scored parts", plan, {"validation parts": seed})
    work = partial(_rendered_patches, recipe=recipe, per_class=per_class, seed=seed)
    report(len(log.records))
    missing = [n for n in range(count) if n not in log.records]
    for number, (record, patches) in in_processes(work, missing, processes):
        record["scores"] = None if patches is None else score(patches).tolist()
        log.add(number, record)
        report(len(log.records))
    log.close("finished", {"parts": count})
    return [_part_of(log.records[n]) for n in range(count)]


def surface_parts(
    surfaces: Surfaces, recipe: Recipe, score: Scorer, report: Report = lambda done: None
) -> list[ScoredPart]:
    """Surfaces with masks, cut as the station cuts them."""
    found = []
    for index in range(len(surfaces)):
        mask = np.asarray(surfaces.masks[index])
        scores = score(cut_surface(np.asarray(surfaces.pixels[index]), recipe.patch))
        found.append(
            ScoredPart(
                surfaces.names[index], surfaces.part_classes(index), scores, patch_labels(mask, recipe)
            )
        )
        report(index + 1)
    return found


def picture_parts(
    dataset: Dataset, recipe: Recipe, score: Scorer, split: str | None, report: Report = lambda done: None
) -> list[ScoredPart]:
    """The pictures of a data set, each a whole frame of one part, that persons or the renderer labelled.

    The truth of patches is known on good parts, and where a part is one patch. Raises :class:`DatasetError`.
    """
    names = tuple(c.name for c in recipe.classes)
    if dataset.classes != names:
        raise DatasetError(
            f"the data set has the classes {dataset.classes}, but the recipe {recipe.name} has {names}; "
            "they must agree"
        )
    pictures = dataset.select(split=split, labelled_by=TRUSTED).pictures
    if not pictures:
        raise DatasetError(
            f"no picture of split {split!r} was labelled by a person; label some, or name another --split"
        )
    found = []
    for number, picture in enumerate(pictures, start=1):
        label = names.index(picture.label)
        whole = picture_pixels(dataset, picture, recipe.surface.channels)
        known = label == SOUND or recipe.patch_count == 1
        truth = np.full(recipe.patch_count, label if known else UNKNOWN, np.int64)
        try:
            patches = cut(np.ascontiguousarray(whole), recipe).pixels
        except PatchingError as error:
            found.append(ScoredPart(picture.name, (label,), None, truth, str(error)))
        else:
            found.append(ScoredPart(picture.name, (label,), score(patches), truth))
        report(number)
    return found


def patch_labels(mask: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.int64]:
    """``(N,)``: the class of every patch of a surface's mask ``(H, W)``.

    By the rules of training (:class:`retraining.surfaces.crops.CropRules`): a patch with too little of a
    defect, or too much of another, is :data:`UNKNOWN`.
    """
    defects, rules = find_defects(0, mask), CropRules()
    found = (patch_label(mask, window, defects, rules) for window in station_windows(recipe))
    return np.array([UNKNOWN if label is None else label for label in found], np.int64)


def known_patches(parts: list[ScoredPart]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores ``(M, classes)`` and labels ``(M,)`` of all patches whose truth is known."""
    scored = [part for part in parts if part.scores is not None]
    if not scored:
        raise DatasetError("the station can cut none of the parts; `station inspect` shows why")
    scores = np.concatenate([part.scores for part in scored if part.scores is not None])
    labels = np.concatenate([part.patch_labels for part in scored])
    return scores[labels != UNKNOWN], labels[labels != UNKNOWN]


def _rendered_patches(
    number: int, recipe: Recipe, per_class: int, seed: int
) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """A part's record without scores, and its patches."""
    part = rendered_test_part(recipe, per_class, seed, number)
    names = [c.name for c in recipe.classes]
    mask = resize_mask(part.mask, recipe.surface.height, recipe.surface.width)
    record: dict[str, Any] = {
        "name": f"seed-{part.truth.seed}",
        "labels": [names.index(label) for label in part.truth.labels],
        "patch_labels": patch_labels(mask, recipe).tolist(),
        "reason": "",
    }
    try:
        return record, cut_part(frames_of(part, recipe), recipe).pixels
    except PatchingError as error:
        return {**record, "reason": str(error)}, None


def _part_of(record: dict[str, Any]) -> ScoredPart:
    scores = None if record["scores"] is None else np.array(record["scores"], np.float32)
    truth = np.array(record["patch_labels"], np.int64)
    return ScoredPart(record["name"], tuple(record["labels"]), scores, truth, record["reason"])
