"""How the workshop reads pictures and masks: by the station's one reader, every bad file of a set at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import ImageFileError, in_channels, read_image, shown
from retraining.errors import BadFilesError, DatasetError

Item = TypeVar("Item")
Made = TypeVar("Made")

MARKED = 127
"""A pixel of a mask is marked when its brightest channel is above this."""
_LOSSY = {".jpg", ".jpeg", ".jpe", ".webp", ".jp2", ".avif"}
_NOISE = 16
"""Grey levels up to which a pixel of a mask in a lossy format is black."""
_EDGE_PX = 8
"""How far from a mark its soft edge may reach: a JPEG codes blocks of 8 px, enlarging widens edges, too."""


def read_picture(path: Path, channels: int, sixteen_bit_white: int | None = None) -> NDArray[np.uint8]:
    """uint8 ``(H, W, channels)``, as :func:`read_image` reads it; raises :class:`DatasetError`."""
    try:
        return in_channels(read_image(path, sixteen_bit_white=sixteen_bit_white), channels)
    except ImageFileError as error:
        raise DatasetError(str(error)) from None


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask ``(H, W)``: 1 where any channel is above 127, else 0.

    Raises :class:`DatasetError` for what cannot be a mask: spots that are neither black nor bright (class
    numbers, dark palette colours) and no mark's soft edge, marks that only an alpha channel shows, 16 bits.
    """
    try:
        pixels = read_image(path, opaque=True)
    except ImageFileError as error:
        if "16 bits" in str(error):
            raise DatasetError(f"{shown(path)}: 16 bits per pixel; save the mask with 8 bits") from None
        raise DatasetError(str(error)) from None
    brightest = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    marked = np.asarray(brightest > MARKED, np.uint8)
    black = _NOISE if path.suffix.lower() in _LOSSY else 0
    edges = cv2.dilate(marked, np.ones((1 + 2 * _EDGE_PX,) * 2, np.uint8))
    if np.any((brightest > black) & (edges == 0)):
        values = np.unique(brightest)
        named = ", ".join(map(str, values[:8])) + (f", ... {values[-1]}" if len(values) > 8 else "")
        raise DatasetError(
            f"{shown(path)}: has the values {named}; save the mask with 0 where the surface is sound and 255 "
            "where the defect is"
        )
    return marked


def for_each(
    work: Callable[[Item], Made], items: Sequence[Item], report: Callable[[int], None] = lambda done: None
) -> list[Made]:
    """``work`` on every item, in order, several at once.

    Every :class:`DatasetError` is collected; one is raised as it is, several as :class:`BadFilesError`.
    ``report`` is called with how many are done.
    """
    faults: list[DatasetError] = []
    made: list[Made] = []

    def attempt(item: Item) -> tuple[Made, None] | tuple[None, DatasetError]:
        try:
            return work(item), None
        except DatasetError as error:
            return None, error

    with ThreadPoolExecutor() as pool:
        for done, (result, fault) in enumerate(pool.map(attempt, items), start=1):
            if fault is None:
                made.append(result)  # type: ignore[arg-type]
            else:
                faults.append(fault)
            report(done)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise BadFilesError(tuple(map(str, faults)))
    return made
