"""Folders of photographs with masks, as surfaces: KolektorSDD's layout ``normal/``, ``defect/``, ``masks/``.

A mask bears its picture's name, any extension, and is bright where the defect is. Pictures of one item are
told by the number in their names (``kos07_Part3`` is item 7), because a split by picture would show the same
item to training and test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from retraining.errors import DatasetError
from retraining.surfaces.training_set import Surfaces, resize_mask
from station.patching import cut
from station.recipe import Recipe

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One photograph of one item."""

    path: Path
    item: int
    mask: Path | None
    """None for a picture of a sound surface."""


def list_pictures(root: Path) -> list[Picture]:
    """Every picture below ``root``, by name; raises :class:`DatasetError` for one without mask or number."""
    found: list[Picture] = []
    for folder, defective in (("normal", False), ("defect", True)):
        paths = sorted(p for p in (root / folder).glob("*") if p.suffix.lower() in _SUFFIXES)
        if not paths:
            raise DatasetError(
                f"{root / folder} holds no pictures; expected {root}/normal, /defect and /masks"
            )
        for path in paths:
            masks = sorted((root / "masks").glob(f"{path.stem}.*")) if defective else []
            if defective and not masks:
                raise DatasetError(f"{path} has no mask {root / 'masks' / path.stem}.*")
            found.append(Picture(path, item_number(path), masks[0] if masks else None))
    return found


def item_number(path: Path) -> int:
    """The item's number: the first digits in the file's name."""
    match = re.search(r"\d+", path.stem)
    if match is None:
        raise DatasetError(
            f"{path.name} does not say which item it shows; expected a name such as kos07_Part3"
        )
    return int(match.group())


def read_pictures(pictures: list[Picture], recipe: Recipe, keep: Callable[[int], bool]) -> Surfaces:
    """The pictures of the items that ``keep`` lets through, as the station cuts them.

    For recipes of two classes whose pictures show nothing but the surface.
    """
    if len(recipe.classes) != 2:
        raise DatasetError(
            f"recipe {recipe.name} has {len(recipe.classes)} classes; these masks tell only two apart"
        )
    size = recipe.surface
    chosen = [p for p in pictures if keep(p.item)]
    if not chosen:
        raise DatasetError("no picture is left after the split by item")
    surfaces, masks = [], []
    for picture in chosen:
        surfaces.append(cut(read_image(picture.path, size.channels), recipe).surface.pixels)
        masks.append(np.zeros((size.height, size.width), np.uint8))
        if picture.mask is not None:
            mask = read_image(picture.mask, 1)
            masks[-1] = resize_mask((mask > 127).astype(np.uint8), size.height, size.width)
    names = tuple(p.path.stem for p in chosen)
    return Surfaces(np.stack(surfaces), np.stack(masks), tuple(c.name for c in recipe.classes), names)


def read_image(path: Path, channels: int) -> NDArray[np.uint8]:
    """uint8 ``(H, W)`` or ``(H, W, 3)`` BGR; raises :class:`DatasetError`."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path} is not an image that OpenCV reads; remove or replace it")
    return np.ascontiguousarray(image, dtype=np.uint8)
