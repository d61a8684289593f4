"""Folders of photographs with masks, as surfaces: KolektorSDD's layout ``normal/``, ``defect/``, ``masks/``.

A mask has its picture's name with any extension, perhaps with ``_mask`` or ``_label`` added, and is bright on
the defect. Pictures of one item have the
same number in their names (``kos07_Part3`` is item 7), because a split by picture would show the same
item to training and test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import ImageFileError, read_image, shown
from retraining.errors import BadFilesError, DatasetError, RefusedPictureError
from retraining.surfaces.pairing import pair
from retraining.surfaces.reading import for_each, pictures_directly_in, read_mask, read_mask_of, read_picture
from retraining.surfaces.training_set import Surfaces, resize_mask
from station.patching import Patches, PatchingError, Region, Surface, cut
from station.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Picture:
    """One photograph of one item."""

    path: Path
    item: int
    mask: Path | None
    """None for a picture of a sound surface."""


def list_pictures(root: Path) -> list[Picture]:
    """Every picture below ``root``, by name.

    Raises :class:`DatasetError`, which names all that lack a mask or an item's number, and all that lie in
    ``normal`` although their mask marks a defect.
    """
    paths: dict[str, list[Path]] = {}
    for folder in ("normal", "defect"):
        paths[folder] = pictures_directly_in(root / folder)
        if not paths[folder]:
            raise DatasetError(
                f"{root / folder} holds no pictures; expected {root}/normal, /defect and /masks"
            )
    masks = [mask.name for mask in pictures_directly_in(root / "masks")]
    pairs = pair((path.name for path in paths["defect"]), masks, masks=True)
    found: list[Picture] = []
    faults: list[str] = []
    for path in (*paths["normal"], *paths["defect"]):
        defective = path.parent.name == "defect"
        mask = pairs.of.get(path.name) if defective else None
        try:
            item = item_number(path)
        except DatasetError as error:
            faults.append(str(error))
            continue
        if defective and mask is None:
            faults.append(f"{shown(path)} has no mask {root / 'masks' / path.stem}.*; add it")
            continue
        found.append(Picture(path, item, root / "masks" / mask if mask is not None else None))
    faults += _contradictions(root, paths["normal"], pairs.strangers)
    if faults:
        raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
    return found


def _contradictions(root: Path, normal: list[Path], masks: Iterable[str]) -> list[str]:
    """A sentence for each picture in ``normal`` whose mask marks a defect."""
    pairs = pair((path.name for path in normal), masks, masks=True)
    marked = for_each(lambda mask: bool(read_mask(root / "masks" / mask).any()), list(pairs.of.values()))
    return [
        f"{shown(root / 'normal' / name)} lies in normal, but its mask {shown(root / 'masks' / mask)} marks "
        "a defect; move the picture to defect, or correct the mask"
        for (name, mask), is_marked in zip(pairs.of.items(), marked, strict=True)
        if is_marked
    ]


def item_number(path: Path) -> int:
    """The item's number: the first digits in the file's name."""
    match = re.search(r"\d+", path.stem)
    if match is None:
        raise DatasetError(
            f"{shown(path.name)} does not say which item it shows; expected a name such as kos07_Part3"
        )
    return int(match.group())


def read_pictures(pictures: list[Picture], recipe: Recipe, keep: Callable[[int], bool]) -> Surfaces:
    """The pictures of the items that ``keep`` lets through, as the station cuts them.

    For recipes of two classes whose pictures show nothing but the surface.
    """
    if len(recipe.classes) != 2:
        raise DatasetError(
            f"recipe {recipe.name} has {len(recipe.classes)} classes; but these masks mark only one kind "
            "of defect; use a recipe with two classes"
        )
    size = recipe.surface
    chosen = [p for p in pictures if keep(p.item)]
    if not chosen:
        raise DatasetError("no picture is left after the split by item")

    def read(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        surface = cut_photograph(picture.path, recipe).surface.pixels
        if picture.mask is None:
            return surface, np.zeros((size.height, size.width), np.uint8)
        mask = read_mask_of(picture.path, picture.mask, recipe.product.sixteen_bit_white)
        if not mask.any():
            raise DatasetError(
                f"{shown(picture.path)} lies in defect, but its mask {shown(picture.mask)} marks nothing; "
                "move the picture to normal, or correct the mask"
            )
        return surface, resize_mask(mask, size.height, size.width)

    surfaces, masks = zip(*for_each(read, chosen), strict=True)
    names = tuple(p.path.stem for p in chosen)
    return Surfaces(np.stack(surfaces), np.stack(masks), tuple(c.name for c in recipe.classes), names)


def read_photograph(path: Path, recipe: Recipe) -> NDArray[np.uint8]:
    """A photograph as the station reads it for this recipe: ``(H, W)`` or ``(H, W, 3)`` BGR.

    Raises :class:`DatasetError`.
    """
    try:
        return read_image(path, sixteen_bit_white=recipe.product.sixteen_bit_white)
    except ImageFileError as error:
        raise DatasetError(str(error)) from None


def kept_surface(path: Path, recipe: Recipe) -> Surface:
    """A surface that a station kept, which is cut already. Raises :class:`DatasetError`."""
    size = recipe.surface
    pixels = read_picture(path, size.channels)
    height, width = pixels.shape[:2]
    if (height, width) != (size.height, size.width):
        raise DatasetError(
            f"{shown(path)} is a surface of {width} x {height} px, but recipe {recipe.name} makes "
            f"{size.width} x {size.height} px of a part; use the recipe with which it was kept"
        )
    return Surface(pixels, Region(0, 0, width, height))


def cut_photograph(path: Path, recipe: Recipe) -> Patches:
    """A photograph as the station cuts it. Raises :class:`DatasetError`."""
    return cut_frame(read_photograph(path, recipe), path, recipe)


def cut_frame(frame: NDArray[np.uint8], path: Path, recipe: Recipe) -> Patches:
    """The pixels of a photograph as the station cuts them. Raises :class:`RefusedPictureError`."""
    try:
        return cut(frame, recipe)
    except PatchingError as error:
        raise RefusedPictureError(f"{shown(path)}: {error}") from None
