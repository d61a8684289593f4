"""Lots of parts with their truth: what a line inspects, and what a person would say of each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivers.cameras.picture_files import read_image
from retraining.labels.answers import Box
from simulation.rendering.pool import write_frames
from simulation.truth import PRODUCT_HEIGHT, PartTruth
from station.recipe import Recipe


@dataclass(frozen=True, slots=True)
class LotPart:
    """What is really on one part."""

    label: str
    """Its class; of several defects, that of the most visible one."""
    labels: tuple[str, ...]
    """Every class on it."""
    boxes: tuple[Box, ...]
    """Where, in px of the surface at the recipe's size."""


@dataclass(frozen=True, slots=True)
class Lot:
    """Parts that come before a simulated camera in this order, again and again."""

    simulation: Mapping[str, Any]
    """What the configuration says of the pool."""
    camera: Mapping[str, Any]
    """What it says of the camera beside the kind."""
    parts: tuple[LotPart, ...]
    good: str
    """The class of good parts."""

    def part(self, part_id: int) -> LotPart:
        """What part ``part_id`` (from 1) is."""
        return self.parts[(part_id - 1) % len(self.parts)]


def rendered_lot(
    folder: Path,
    recipe: Recipe,
    *,
    frames: int,
    seed: int,
    good_share: float,
    kinds: tuple[str, ...],
    processes: int,
    margin_px: int = 0,
) -> Lot:
    """Rendered housings in full frames; they are rendered once. Raises ``SimulationError``.

    ``margin_px``: where it is not 0, the camera sees each frame cut so far to both sides of the part.
    """
    truths = write_frames(
        folder, frames, seed, good_share=good_share, multi_share=0.0, kinds=kinds,
        widths=recipe.product.widths_px, workers=processes,
    )  # fmt: skip
    if margin_px:
        for truth in truths:
            _cut(folder / truth.file, truth, margin_px)
    pool = {
        "folder": str(folder), "frames": frames, "seed": seed, "good_share": good_share,
        "multi_share": 0.0, "kinds": list(kinds),
    }  # fmt: skip
    return Lot(
        {"pool": pool}, {}, tuple(_lot_part(truth, recipe) for truth in truths), recipe.classes[0].name
    )


def _cut(frame: Path, truth: PartTruth, margin_px: int) -> None:
    """Lay the narrow frame beside the whole one, as the file that the simulated camera prefers."""
    narrow = frame.with_suffix(".npy")
    if not narrow.is_file():
        left = max(0, truth.region.x - margin_px)
        right = truth.region.x + truth.region.width + margin_px
        np.save(narrow, read_image(frame)[:, left:right])


def _lot_part(truth: PartTruth, recipe: Recipe) -> LotPart:
    across, down = recipe.surface.width / truth.width, recipe.surface.height / PRODUCT_HEIGHT
    boxes = []
    for defect in truth.defects:
        left, top = int(defect.box.x * across), int(defect.box.y * down)
        right = min(recipe.surface.width, -int(-(defect.box.x + defect.box.width) * across // 1))
        bottom = min(recipe.surface.height, -int(-(defect.box.y + defect.box.height) * down // 1))
        boxes.append(Box(defect.class_name, left, top, max(1, right - left), max(1, bottom - top)))
    return LotPart(truth.label, truth.labels, tuple(boxes))
