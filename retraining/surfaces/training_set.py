"""A training set as the station sees it: product surfaces at patching's size, with a class per pixel.

Whole surfaces are kept rather than patches, so that a patch may be cut anywhere, at any size, and is
labelled by what is visible in it (:mod:`retraining.surfaces.crops`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.regular_files import read_text
from retraining.errors import DatasetError
from station.patching.area import resize_picture

SOUND = 0
"""The mask value, and the class index, of a surface without a defect."""
MIN_COVER = 0.12
"""A pixel of the reduced mask belongs to a defect from this share of its area on: a 1-px scratch reduced
three times covers a third of a pixel."""


@dataclass(frozen=True, slots=True)
class Surfaces:
    """Surfaces of ``P`` parts of one product."""

    pixels: NDArray[np.uint8]
    """``(P, H, W, C)``."""
    masks: NDArray[np.uint8]
    """``(P, H, W)``: index of the class that a pixel belongs to, 0 where it is sound."""
    classes: tuple[str, ...]
    """``classes[0]`` is the good one."""
    names: tuple[str, ...]
    """Where each surface comes from: a file's stem or a seed."""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.masks.shape != self.pixels.shape[:3]:
            raise DatasetError(
                f"pixels {self.pixels.shape} must be (P, H, W, C) and masks {self.masks.shape} (P, H, W)"
            )
        if len(self.names) != len(self.pixels):
            raise DatasetError(f"{len(self.names)} names for {len(self.pixels)} surfaces")

    def __len__(self) -> int:
        return len(self.pixels)

    def part_class(self, index: int) -> int:
        """Class of the whole part: that of the defect with the most pixels, 0 when there is none."""
        counts = np.bincount(self.masks[index].ravel(), minlength=len(self.classes))
        counts[SOUND] = 0
        return int(counts.argmax()) if counts.any() else SOUND

    def part_classes(self, index: int) -> tuple[int, ...]:
        """Every defect class on the part, ``(0,)`` where there is none."""
        return tuple(int(k) for k in np.unique(self.masks[index]) if k != SOUND) or (SOUND,)

    def select(self, indices: list[int]) -> Surfaces:
        """The surfaces at ``indices``, copied."""
        return Surfaces(
            self.pixels[indices], self.masks[indices], self.classes, tuple(self.names[i] for i in indices)
        )


def resize_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A mask of class indices ``(H, W)`` at another size, area-averaged as its surface is.

    No defect vanishes: the cover that counts (:data:`MIN_COVER`) falls to half of what a 1-px line keeps
    where that is less, and a spot that is left no pixel keeps the one it covers most, unless another class
    has it.
    """
    line = min(1.0, height / mask.shape[0], width / mask.shape[1])
    least = max(1, int(min(MIN_COVER * 255 + 1, 0.5 * line * 255)))
    reduced = np.zeros((height, width), np.uint8)
    best = np.full((height, width), least - 1, np.uint8)
    covers: dict[int, NDArray[np.uint8]] = {}
    for index in (int(k) for k in np.unique(mask) if k != SOUND):
        whole = (mask == index).astype(np.uint8) * 255
        cover = covers[index] = resize_picture(whole[..., None], height, width)[..., 0]
        reduced[cover > best] = index
        best = np.maximum(best, cover)
    for index, cover in covers.items():
        _, _, boxes, _ = cv2.connectedComponentsWithStats((mask == index).astype(np.uint8))
        for left, top, wide, high, _ in boxes[1:]:
            rows = slice(top * height // mask.shape[0], -(-(top + high) * height // mask.shape[0]))
            columns = slice(left * width // mask.shape[1], -(-(left + wide) * width // mask.shape[1]))
            if not np.any(reduced[rows, columns] == index):
                own = cover[rows, columns]
                row, column = np.unravel_index(int(own.argmax()), own.shape)
                if reduced[rows, columns][row, column] == SOUND:
                    reduced[rows, columns][row, column] = index
    return reduced


def save_surfaces(surfaces: Surfaces, folder: Path) -> None:
    """Write a set as ``pixels.npy``, ``masks.npy`` and ``surfaces.json``, the last one meaning complete."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "pixels.npy", surfaces.pixels)
    np.save(folder / "masks.npy", surfaces.masks)
    describe_surfaces(folder, surfaces.classes, surfaces.names)


def describe_surfaces(folder: Path, classes: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Write ``surfaces.json`` beside pixels and masks that are complete."""
    described = {"classes": list(classes), "names": list(names)}
    (folder / "surfaces.json").write_text(json.dumps(described), encoding="utf-8")


def load_surfaces(folder: Path) -> Surfaces:
    """Read what :func:`save_surfaces` wrote, memory-mapped; raises :class:`DatasetError`."""
    described_at = folder / "surfaces.json"
    if not described_at.is_file():
        raise DatasetError(
            f"{folder} does not hold a complete set of surfaces; remove it and render it again"
        )
    described = json.loads(read_text(described_at))
    return Surfaces(
        np.load(folder / "pixels.npy", mmap_mode="r"),
        np.load(folder / "masks.npy", mmap_mode="r"),
        tuple(described["classes"]),
        tuple(described["names"]),
    )


def join_surfaces(first: Surfaces, second: Surfaces) -> Surfaces:
    """Both sets as one; raises :class:`DatasetError` when sizes or classes differ."""
    if first.classes != second.classes or first.pixels.shape[1:] != second.pixels.shape[1:]:
        raise DatasetError("two sets can be joined only with the same classes and the same surface size")
    return Surfaces(
        np.concatenate([first.pixels, second.pixels]),
        np.concatenate([first.masks, second.masks]),
        first.classes,
        first.names + second.names,
    )
