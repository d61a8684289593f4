"""The pixels of a data set, in memory at one size."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retraining.data.manifest import TRUSTED, Dataset, Picture
from retraining.errors import DatasetError
from retraining.surfaces.reading import for_each, read_picture
from station.patching.area import resize_picture

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PictureSet:
    """``N`` pictures of one size in memory."""

    pixels: NDArray[np.uint8]
    """``(N, H, W, C)``, BGR or grey."""
    labels: NDArray[np.int64]
    """``(N,)`` indices into ``classes``."""
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8 or self.pixels.shape[3] not in (1, 3):
            raise DatasetError(
                f"pixels {self.pixels.shape} {self.pixels.dtype} must be uint8 (N, H, W, 1 or 3)"
            )
        if not count == len(self.pixels) == len(self.groups) == len(self.names) or self.labels.ndim != 1:
            raise DatasetError(
                f"{len(self.pixels)} pictures, {self.labels.shape} labels, {len(self.groups)} groups and "
                f"{len(self.names)} names do not belong together"
            )
        if count and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise DatasetError(f"labels must lie in 0 to {len(self.classes) - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, which: Any) -> PictureSet:
        """The pictures of a mask ``(N,)`` bool or of indices, copied."""
        indices = np.arange(len(self))[np.asarray(which, dtype=None if len(which) else np.int64)]
        return PictureSet(
            self.pixels[indices],
            self.labels[indices],
            self.classes,
            tuple(self.groups[i] for i in indices),
            tuple(self.names[i] for i in indices),
        )

    def of_class(self, k: int) -> PictureSet:
        """The pictures of class ``k``, copied."""
        return self.select(self.labels == k)

    def count(self) -> dict[str, int]:
        """Pictures by class."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {name: int(counts[k]) for k, name in enumerate(self.classes)}


def join(a: PictureSet, b: PictureSet) -> PictureSet:
    """Both sets, ``a`` first; raises :class:`DatasetError` when classes or sizes differ."""
    if a.classes != b.classes or a.pixels.shape[1:] != b.pixels.shape[1:]:
        raise DatasetError(
            f"two sets can be joined only if they have the same classes and size, not {a.classes} "
            f"{a.pixels.shape[1:]} "
            f"and {b.classes} {b.pixels.shape[1:]}"
        )
    return PictureSet(
        np.concatenate([a.pixels, b.pixels]),
        np.concatenate([a.labels, b.labels]),
        a.classes,
        a.groups + b.groups,
        a.names + b.names,
    )


def load_pixels(
    dataset: Dataset,
    side: int | tuple[int, int],
    channels: int,
    split: str | None = None,
    labelled_by: Collection[str] = TRUSTED,
) -> PictureSet:
    """Read a data set's pictures in the manifest's order, at ``side`` x ``side`` or ``(height, width)``.

    Pictures of another size are area-averaged on each axis, as the station does
    (:mod:`station.patching.area`); the aspect ratio is not kept. Pictures
    labelled by others than ``labelled_by`` are left out, with a warning in the log: a label by the station is
    not one by a person. Raises :class:`DatasetError`, also when nothing is left.
    """
    height, width = (side, side) if isinstance(side, int) else side
    if min(height, width) < 1 or channels not in (1, 3):
        raise DatasetError(
            f"{height} x {width} px in {channels} channel(s) is not a size for pictures; use 1 px or more "
            "and 1 or 3 channels"
        )
    wanted = dataset.select(split=split)
    kept = wanted.select(labelled_by=labelled_by).pictures
    _tell_left_out(wanted, len(kept), labelled_by)
    pixels = np.empty((len(kept), height, width, channels), np.uint8)
    order = sorted(range(len(kept)), key=lambda i: kept[i].path)
    files = [list(rows) for _, rows in groupby(order, key=lambda i: kept[i].path)]

    def read(rows: list[int]) -> None:
        whole = read_picture(dataset.path_of(kept[rows[0]]), channels, dataset.sixteen_bit_white)
        for row in rows:
            pixels[row] = resize_picture(cut_window(whole, kept[row]), height, width)

    for_each(read, files)
    index = {name: k for k, name in enumerate(dataset.classes)}
    return PictureSet(
        pixels,
        np.array([index[p.label] for p in kept], np.int64),
        dataset.classes,
        tuple(p.group for p in kept),
        tuple(p.name for p in kept),
    )


def picture_pixels(dataset: Dataset, picture: Picture, channels: int) -> NDArray[np.uint8]:
    """The pixels ``(H, W, channels)`` of one picture or window; raises :class:`DatasetError`."""
    whole = read_picture(dataset.path_of(picture), channels, dataset.sixteen_bit_white)
    return cut_window(whole, picture)


def cut_window(whole: NDArray[np.uint8], picture: Picture) -> NDArray[np.uint8]:
    """The part of a picture's pixels ``(H, W, C)`` that is meant; raises :class:`DatasetError`."""
    if picture.window is None:
        return whole
    top, left, height, width = picture.window
    if top + height > whole.shape[0] or left + width > whole.shape[1]:
        raise DatasetError(
            f"{picture.name} reaches beyond its picture of {whole.shape[0]} x {whole.shape[1]} px"
        )
    return whole[top : top + height, left : left + width]


def _tell_left_out(wanted: Dataset, kept: int, labelled_by: Collection[str]) -> None:
    others = Counter(p.labelled_by for p in wanted.pictures if p.labelled_by not in labelled_by)
    named = ", ".join(f"{count} by {who!r}" for who, count in sorted(others.items()))
    if kept == 0 and others:
        raise DatasetError(
            f"no picture is labelled by {' or '.join(labelled_by)} ({named}); let a person check them, or "
            f"add {', '.join(sorted(others))} to --labelled-by"
        )
    if kept == 0:
        raise DatasetError("there is no picture to load; choose another split, or build the data set again")
    if others:
        _log.warning(
            "pictures left out because of who labelled them: %s; used are labels by %s",
            named,
            ", ".join(labelled_by),
        )
