"""Pictures with a class per pixel, for translators that draw a defect where a mask says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import pictures_in
from retraining.data.dataset import Dataset, Picture
from retraining.data.manifest import TRUSTED
from retraining.data.outlines import class_mask
from retraining.data.pixels import cut_window
from retraining.data.rendered_parts import has_masks
from retraining.data.rendered_parts import read_mask as read_rendered
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.class_masks import ClassMasks
from retraining.surfaces.pairing import pair
from retraining.surfaces.reading import for_each, read_mask, read_mask_of, read_picture
from retraining.surfaces.training_set import resize_mask
from station.patching.area import resize_picture


@dataclass(frozen=True, slots=True, eq=False)
class MaskedClasses:
    """Pictures of one size and the class of each of their pixels."""

    pixels: NDArray[np.uint8]
    """``(N, S, S, C)``: blue, green, red, or grey under C lights."""
    masks: NDArray[np.uint8]
    """``(N, S, S)`` indices into ``classes``, 0 where there is no defect."""
    labels: NDArray[np.int64]
    """``(N,)``: 0 for a picture without a defect, else the class of its largest one."""
    classes: tuple[str, ...]
    """The background first."""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.masks.shape != self.pixels.shape[:3]:
            raise DatasetError(
                f"pictures {self.pixels.shape} and masks {self.masks.shape} do not belong together"
            )
        if len(self) and int(self.masks.max()) >= len(self.classes):
            raise DatasetError(f"a mask has class {int(self.masks.max())}, but there are {len(self.classes)}")

    def __len__(self) -> int:
        return len(self.pixels)

    @classmethod
    def of(
        cls, pixels: NDArray[np.uint8], masks: NDArray[np.uint8], classes: tuple[str, ...]
    ) -> MaskedClasses:
        """Labelled by the largest defect of each mask."""
        counts = np.stack([(masks == k).sum((1, 2)) for k in range(1, len(classes))], axis=1)
        labels = np.where(counts.any(1), counts.argmax(1) + 1, 0)
        return cls(pixels, masks, labels.astype(np.int64), classes)


def load_masked_classes(
    dataset: Dataset,
    size: int,
    channels: int,
    *,
    background: str,
    split: str | None = None,
    masks: Path | None = None,
    class_of: ClassMasks | None = None,
) -> MaskedClasses:
    """The pictures (or windows) of a split at ``size`` x ``size`` px, with the class of each pixel.

    It comes from ``masks``, a folder of files named like their pictures (bright on the defect, which is of
    the picture's class, or with ``class_of`` a class per value or colour); else from the data set's marks; or
    from the masks beside rendered surfaces. Raises :class:`DatasetError`, which names every picture without a
    mask, whose mask marks nothing, or that is of the class ``background`` and has a marked pixel.
    """
    if background not in dataset.classes:
        raise DatasetError(
            f"no class is called {background!r}; name the one without defects: {', '.join(dataset.classes)}"
        )
    chosen = dataset.select(split=split, labelled_by=TRUSTED).pictures
    if not chosen:
        raise DatasetError("there is no picture that a person or the renderer labelled; choose another split")
    classes = (background, *(name for name in dataset.classes if name != background))
    rendered = masks is None and has_masks(dataset)
    files = _files(chosen, masks) if masks is not None else {}
    lacking = tuple(
        f"{picture.path} ({picture.label}) has no mask; mark its defect, or name a folder of masks by --masks"
        for picture in chosen
        if picture.label != background and picture.path not in files and not picture.marks and not rendered
    )
    if lacking:
        raise DatasetError(lacking[0]) if len(lacking) == 1 else BadFilesError(lacking)

    def whole_mask(picture: Picture, height: int, width: int) -> NDArray[np.uint8]:
        if rendered:
            return _renumbered(read_rendered(dataset, picture.path), dataset.classes, classes)
        if picture.path in files:
            if class_of is not None:
                names = (background, *(name for name in class_of.names if name != background))
                read = partial(class_of.read, classes=names)
                found = read_mask_of(
                    dataset.path_of(picture), files[picture.path], dataset.sixteen_bit_white, read
                )
                return _renumbered(found, names, classes)
            bright = read_mask_of(
                dataset.path_of(picture), files[picture.path], dataset.sixteen_bit_white, read_mask
            )
            return np.where(bright > 0, max(1, classes.index(picture.label)), 0).astype(np.uint8)
        marks = [mark for mark in picture.marks if mark.label in classes]
        return class_mask(marks, classes, height, width)

    def read(rows: list[Picture]) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        whole = read_picture(dataset.path_of(rows[0]), channels, dataset.sixteen_bit_white)
        found = []
        for picture in rows:
            mask = whole_mask(picture, *whole.shape[:2])[..., None]
            own = cut_window(mask, picture)[..., 0]
            if (picture.label == background) == bool(own.any()):
                what = "something on it is marked" if own.any() else "its mask marks nothing"
                raise DatasetError(f"{picture.name} is of the class {picture.label}, but {what}")
            pixels = resize_picture(cut_window(whole, picture), size, size)
            found.append((pixels, resize_mask(own, size, size)))
        return found

    by_path = [list(rows) for _, rows in groupby(sorted(chosen, key=lambda p: p.path), key=lambda p: p.path)]
    pixels, marked = zip(*(one for rows in for_each(read, by_path) for one in rows), strict=True)
    return MaskedClasses.of(np.stack(pixels), np.stack(marked), classes)


def _files(pictures: tuple[Picture, ...], masks: Path) -> dict[str, Path]:
    """The mask's file of each picture that has one."""
    if any(picture.marks for picture in pictures):
        raise DatasetError(
            f"pictures of the data set have marks of their own, which would contradict the masks; leave out "
            f"--masks {masks}"
        )
    if not masks.is_dir():
        raise DatasetError(f"{masks} is not a folder; name the folder of the masks")
    files = [path.relative_to(masks).as_posix() for path in pictures_in(masks, recursive=True)]
    paired = pair(dict.fromkeys(picture.path for picture in pictures), files, masks=True)
    return {picture: masks / file for picture, file in paired.of.items()}


def _renumbered(
    mask: NDArray[np.uint8], names: tuple[str, ...], classes: tuple[str, ...]
) -> NDArray[np.uint8]:
    """A mask of indices into ``names`` by indices into ``classes``; what is not among them is 0."""
    numbers = np.array([classes.index(name) if name in classes else 0 for name in names], np.uint8)
    return numbers[mask]
