"""Pictures with the mask of their defects, from a data set of whole pictures.

A mask comes from a folder of masks, or from the outlines that persons marked in the data set. A picture of
the sound class needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import pictures_in
from models.segmenters import STEP_PX
from retraining.data.dataset import Dataset, Picture
from retraining.data.outlines import class_mask
from retraining.data.pixels import picture_pixels
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.pairing import pair
from retraining.surfaces.reading import for_each, read_mask_of
from retraining.surfaces.training_set import resize_mask
from station.patching.area import resize_picture


@dataclass(frozen=True, slots=True)
class MaskedPictures:
    """Pictures of one size and which of their pixels are defective."""

    pixels: NDArray[np.uint8]
    """``(N, S, S, C)``."""
    masks: NDArray[np.uint8]
    """``(N, S, S)``: 1 on a defect, 0 elsewhere."""
    names: tuple[str, ...]
    groups: tuple[str, ...]
    """What a split never cuts."""

    def __len__(self) -> int:
        return len(self.pixels)


def load_masked(
    dataset: Dataset, masks: Path | None, side: int, channels: int, split: str, *, sound: str = ""
) -> MaskedPictures:
    """The pictures of a split at ``side`` x ``side`` px with their masks.

    ``masks`` is a folder of masks named like their pictures, bright on the defect; without it the data set's
    outlines count. ``sound`` is the class whose pictures need no mask. Raises :class:`DatasetError`, which
    names every picture that lacks a mask or contradicts its own.
    """
    if side < STEP_PX or side % STEP_PX:
        raise DatasetError(f"a segmenter takes pictures whose side is a multiple of {STEP_PX} px, not {side}")
    chosen = dataset.select(split=split).pictures
    if not chosen:
        raise DatasetError(
            f"no picture is in the split {split}; split the data set by `retrain data split` first"
        )
    if sound and sound not in dataset.classes:
        raise DatasetError(
            f"no class is called {sound!r}; name by --sound one of {', '.join(dataset.classes)}, or none"
        )
    cut = [picture.name for picture in chosen if picture.window is not None]
    if cut:
        raise DatasetError(
            f"{cut[0]} and {len(cut) - 1} more are windows; segmenters learn from whole pictures: make the "
            "data set without --side, or by --whole"
        )
    files = _files(chosen, masks, sound)

    def read(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        whole = picture_pixels(dataset, picture, channels)
        height, width = whole.shape[:2]
        mask = np.zeros((height, width), np.uint8)
        if picture.path in files:
            path = dataset.path_of(picture)
            mask = (read_mask_of(path, files[picture.path], dataset.sixteen_bit_white) > 0).astype(np.uint8)
        elif picture.marks:
            mask = (class_mask(picture.marks, ("", *dataset.classes), height, width) > 0).astype(np.uint8)
        if picture.label == sound and mask.any():
            raise DatasetError(f"{picture.path} is of the class {sound}, but something on it is marked")
        if picture.label != sound and not mask.any():
            raise DatasetError(f"{picture.path} is of the class {picture.label}, but its mask marks nothing")
        return resize_picture(whole, side, side), resize_mask(mask, side, side)

    pixels, marked = zip(*for_each(read, chosen), strict=True)
    return MaskedPictures(
        np.stack(pixels), np.stack(marked), tuple(p.name for p in chosen), tuple(p.group for p in chosen)
    )


def _files(pictures: tuple[Picture, ...], masks: Path | None, sound: str) -> dict[str, Path]:
    """The mask's file of each picture that has one; raises :class:`DatasetError` for those that lack any."""
    marked = {picture.path for picture in pictures if picture.marks}
    found: dict[str, Path] = {}
    if masks is not None:
        if marked:
            raise DatasetError(
                f"{len(marked)} pictures of the data set have outlines of their own, which would contradict "
                f"the masks; leave out --masks {masks}"
            )
        if not masks.is_dir():
            raise DatasetError(f"{masks} is not a folder; name the folder of the masks")
        files = [path.relative_to(masks).as_posix() for path in pictures_in(masks, recursive=True)]
        found = {
            picture: masks / file
            for picture, file in pair((p.path for p in pictures), files, masks=True).of.items()
        }
    where = f"no mask in {masks}; add it" if masks else "no outline; mark it, or name its mask by --masks"
    faults = tuple(
        f"{picture.path} has {where}"
        for picture in pictures
        if picture.label != sound and picture.path not in found and picture.path not in marked
    )
    if faults:
        hint = "" if sound else " (name by --sound the class whose pictures need no mask)"
        raise DatasetError(faults[0] + hint) if len(faults) == 1 else BadFilesError(faults)
    return found
