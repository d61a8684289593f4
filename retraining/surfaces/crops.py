"""Sources of training patches: random crops of surfaces, or folders of ready patches.

A source is a pure function of a random generator, so step ``n`` of a run with seed ``s`` draws the same
patches whether the run was interrupted or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import pictures_in, shown
from retraining.errors import DatasetError
from retraining.surfaces.reading import for_each, pictures_directly_in, read_picture
from retraining.surfaces.training_set import SOUND, Surfaces
from station.recipe import PatchGrid

WINDOW = 4
"""A window is ``(surface, top, left, label)``, px of the surface."""


@dataclass(frozen=True, slots=True)
class Batch:
    """``N`` training patches."""

    pixels: NDArray[np.uint8]
    """``(N, patch, patch, C)``."""
    labels: NDArray[np.int64]
    """``(N,)`` class indices."""
    windows: NDArray[np.int64]
    """``(N, 4)``: what :meth:`Source.cut` needs to cut the same patches again."""


class Source(Protocol):
    """What the training loop draws from."""

    classes: tuple[str, ...]
    channels: int
    sound: int | None
    """The index of the class without a defect, or None where every class is one."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the patches, px."""
        ...

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """``(size, 4)`` windows, in the proportions that the source stands for."""
        ...

    def cut(self, windows: NDArray[np.int64]) -> Batch:
        """The patches of ``windows``."""
        ...


@dataclass(frozen=True, slots=True)
class CropRules:
    """How random crops are chosen and labelled."""

    sound_share: float = 0.5
    aligned_share: float = 0.5
    """Share of crops on the station's own patch grid; the rest lies anywhere."""
    min_visible: float = 0.3
    """A defect counts as visible from this share of its own pixels in the crop ..."""
    min_extent: float = 0.4
    """... or from this share of its length (at most the crop's side) on: a single roll mark could be an
    imprint, two in a row are not. A crop with less of a defect, but some, is ambiguous and not used."""
    max_other: float = 0.15
    """A crop where another class has more than this share of the defect pixels is not used."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect of a set of surfaces."""

    surface: int
    label: int
    pixels: NDArray[np.int32]
    """``(n, 2)``: rows and columns of (at most 512 of) its pixels."""
    area: int
    extent: int
    """px; the longer side of its box."""


class RandomCrops:
    """Crops around and away from the defects of a set of surfaces."""

    def __init__(self, surfaces: Surfaces, patch: PatchGrid, rules: CropRules | None = None) -> None:
        height, width = surfaces.masks.shape[1:]
        patch_px = patch.size
        if patch_px > height or patch_px > width:
            raise DatasetError(f"patches of {patch_px} px do not fit on surfaces of {height} x {width}")
        self.surfaces = surfaces
        self.classes = surfaces.classes
        self.patch_px = patch_px
        self._stride = patch.stride
        self.size = (patch_px, patch_px)
        self.channels = int(surfaces.pixels.shape[3])
        self.sound: int | None = SOUND
        self.rules = rules or CropRules()
        self._limits = (height - patch_px, width - patch_px)
        self._defects: dict[int, list[Defect]] = {}
        for index in range(len(surfaces)):
            for defect in find_defects(index, np.asarray(surfaces.masks[index])):
                self._defects.setdefault(defect.label, []).append(defect)
        missing = [name for k, name in enumerate(self.classes) if k and k not in self._defects]
        if missing:
            raise DatasetError(f"no surface shows {', '.join(missing)}; render or add more parts")

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """See :class:`Source`."""
        windows = np.empty((size, WINDOW), np.int64)
        labels = sorted(self._defects)
        sound = round(size * self.rules.sound_share)
        first = int(rng.integers(len(labels)))
        for row in range(size):
            if row < sound:
                windows[row] = self._draw_sound(rng)
            else:
                windows[row] = self._draw_defect(rng, labels[(first + row) % len(labels)])
        return windows

    def cut(self, windows: NDArray[np.int64]) -> Batch:
        """See :class:`Source`."""
        side = self.patch_px
        pixels = np.empty((len(windows), side, side, self.channels), np.uint8)
        for row, (surface, top, left, _) in enumerate(windows):
            pixels[row] = self.surfaces.pixels[surface, top : top + side, left : left + side]
        return Batch(pixels, windows[:, 3].copy(), windows)

    def _place(self, rng: np.random.Generator, anchor: tuple[int, int] | None) -> tuple[int, int]:
        """Top and left of a crop: anywhere, or somewhere around ``anchor``; often on the patch grid."""
        aligned = rng.random() < self.rules.aligned_share
        side = self.patch_px
        corner = []
        for axis in range(2):
            limit = self._limits[axis]
            low, high = (0, limit)
            if anchor is not None:
                low, high = max(0, anchor[axis] - side + 1), min(limit, anchor[axis])
                low = min(low, high)
            at = int(rng.integers(low, high + 1))
            if aligned:
                first = last = at // self._stride
                if anchor is not None:  # the patches that hold the anchor; with an overlap there are several
                    first = max(0, (anchor[axis] - side) // self._stride + 1)
                    last = anchor[axis] // self._stride
                number = first if first == last else int(rng.integers(first, last + 1))
                at = number * self._stride
            corner.append(min(at, limit))
        return corner[0], corner[1]

    def _draw_sound(self, rng: np.random.Generator) -> tuple[int, int, int, int]:
        side = self.patch_px
        for _ in range(10_000):
            surface = int(rng.integers(len(self.surfaces)))
            top, left = self._place(rng, None)
            if not self.surfaces.masks[surface, top : top + side, left : left + side].any():
                return surface, top, left, SOUND
        raise DatasetError("no sound patch found in 10,000 tries; add surfaces without defects")

    def _draw_defect(self, rng: np.random.Generator, label: int) -> tuple[int, int, int, int]:
        side, rules = self.patch_px, self.rules
        defects = self._defects[label]
        for _ in range(1_000):
            defect = defects[int(rng.integers(len(defects)))]
            row, column = defect.pixels[int(rng.integers(len(defect.pixels)))]
            top, left = self._place(rng, (int(row), int(column)))
            mask = self.surfaces.masks[defect.surface, top : top + side, left : left + side]
            visible = np.bincount(mask.ravel(), minlength=len(self.classes))
            others = int(visible[1:].sum() - visible[label])
            if visible[label] == 0 or others > rules.max_other * visible[label]:
                continue
            _, _, width, height = cv2.boundingRect((mask == label).astype(np.uint8))
            long_enough = max(width, height) >= rules.min_extent * min(defect.extent, side)
            if visible[label] >= rules.min_visible * defect.area or long_enough:
                return defect.surface, top, left, label
        raise DatasetError(
            f"no usable crop of {self.classes[label]} in 1,000 tries; are its masks too small?"
        )


def find_defects(index: int, mask: NDArray[np.uint8]) -> list[Defect]:
    """The defects on one surface; pixels of a class within 24 px across and 96 px down are one."""
    found: list[Defect] = []
    for label in range(1, int(mask.max()) + 1):
        own = (mask == label).astype(np.uint8)
        if not cv2.hasNonZero(own):
            continue
        joined = cv2.dilate(own, np.ones((1, 25), np.uint8))
        joined = cv2.dilate(joined, np.ones((97, 1), np.uint8))
        count, numbers, boxes, _ = cv2.connectedComponentsWithStats(joined)
        for number in range(1, count):
            left, top, width, height = (int(v) for v in boxes[number, :4])
            window = (slice(top, top + height), slice(left, left + width))
            pixels = np.argwhere((numbers[window] == number) & (own[window] > 0)).astype(np.int32)
            extent = int(np.ptp(pixels, axis=0).max()) + 1
            kept = pixels[:: max(1, len(pixels) // 512)] + np.array([top, left], np.int32)
            found.append(Defect(index, label, kept, len(pixels), extent))
    return found


class PatchFolder:
    """Ready patches in one sub-folder per class, which has the name of the class."""

    def __init__(
        self,
        root: Path,
        classes: tuple[str, ...],
        patch_px: int,
        channels: int,
        sixteen_bit_white: int | None = None,
    ) -> None:
        self.classes = classes
        self.size = (patch_px, patch_px)
        self.channels = channels
        self.sound: int | None = SOUND
        paths: list[Path] = []
        self._of_class: list[NDArray[np.int64]] = []
        everything = pictures_in(root, recursive=True) if root.is_dir() else []
        others = {path.relative_to(root).parts[0] for path in everything} - set(classes)
        if others:
            raise DatasetError(
                f"{shown(root)} holds pictures that are of no class: {', '.join(map(shown, sorted(others)))}"
                f"; rename the folders or move them away; the recipe's classes are {', '.join(classes)}"
            )
        for name in classes:
            own = pictures_directly_in(root / name)
            if not own:
                raise DatasetError(
                    f"{root / name} holds no pictures; every class needs a sub-folder of patches"
                )
            self._of_class.append(np.arange(len(paths), len(paths) + len(own), dtype=np.int64))
            paths += own
        read = partial(read_patch, patch_px=patch_px, channels=channels, sixteen_bit_white=sixteen_bit_white)
        self._pixels = np.stack(for_each(read, paths))

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """See :class:`Source`."""
        windows = np.zeros((size, WINDOW), np.int64)
        defects = len(self.classes) - 1
        first = int(rng.integers(defects))
        for row in range(size):
            label = SOUND if row < size // 2 else 1 + (first + row) % defects
            windows[row] = (rng.choice(self._of_class[label]), 0, 0, label)
        return windows

    def cut(self, windows: NDArray[np.int64]) -> Batch:
        """See :class:`Source`."""
        return Batch(self._pixels[windows[:, 0]], windows[:, 3].copy(), windows)


def read_patch(
    path: Path, patch_px: int, channels: int, sixteen_bit_white: int | None = None
) -> NDArray[np.uint8]:
    """One patch file as uint8 ``(patch, patch, C)``; raises :class:`DatasetError` on another size."""
    image = read_picture(path, channels, sixteen_bit_white)
    if image.shape[:2] != (patch_px, patch_px):
        raise DatasetError(
            f"{shown(path)} is {image.shape[0]} x {image.shape[1]}, but the recipe's patches are {patch_px}"
        )
    return image
