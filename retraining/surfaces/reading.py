"""How the workshop reads pictures and masks: by the station's one reader, every bad file of a set at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import (
    ImageFileError,
    decode_image,
    has_more_pages,
    in_channels,
    is_turned,
    pictures_in,
    read_file,
    read_image,
    shown,
)
from drivers.cameras.picture_header import claimed_size
from retraining.errors import BadFilesError, DatasetError

Item = TypeVar("Item")
Made = TypeVar("Made")

Reporter = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much it is."""
_REPORT_EVERY = 64

MARKED = 127
"""A pixel of a mask is marked when its brightest channel is above this."""
LOSSY = frozenset((".jpg", ".jpeg", ".jpe", ".webp", ".jp2", ".avif"))
"""Endings of formats that change values."""
_NOISE = 16
"""Grey levels of a codec's noise: a pixel of a mask in a lossy format with no more than these is black."""
_NOISE_PX = 64
"""How far from a mark a codec's noise may lie; what is as dark elsewhere are class numbers."""
EDGE_PX = 8
"""How far from a mark its soft edge may reach: a JPEG codes blocks of 8 px, enlarging widens edges, too."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def stage(report: Reporter, name: str, total: int) -> Callable[[int], None]:
    """What :func:`for_each` reports to, so that ``report`` hears of one stage now and then."""

    def seen(done: int) -> None:
        if done % _REPORT_EVERY == 0 or done == total:
            report(name, done, total)

    return seen


def pictures_directly_in(folder: Path) -> list[Path]:
    """The pictures of a folder, none where there is no such folder.

    Raises :class:`DatasetError` where more lie in its sub-folders, because they would be left out.
    """
    if not folder.is_dir():
        return []
    found, all_of_them = pictures_in(folder), pictures_in(folder, recursive=True)
    deeper = sorted(set(all_of_them) - set(found))
    if deeper:
        raise DatasetError(
            f"{shown(folder)}: {len(deeper)} pictures lie in its sub-folders, such as {shown(deeper[0])}; "
            "move them into the folder itself, or out of it"
        )
    return found


def read_picture(path: Path, channels: int, sixteen_bit_white: int | None = None) -> NDArray[np.uint8]:
    """uint8 ``(H, W, channels)``, as :func:`read_image` reads it; raises :class:`DatasetError`."""
    try:
        return in_channels(read_image(path, sixteen_bit_white=sixteen_bit_white), channels)
    except ImageFileError as error:
        raise DatasetError(str(error)) from None


def size_and_turn(
    path: Path, sixteen_bit_white: int | None = None, *, sized: bool = True
) -> tuple[tuple[int, int], bool]:
    """Height and width of a picture as it is read, px, and whether its labels may be for another turn.

    They may where the picture's EXIF data turns or mirrors it without a change of its size, or at all where
    the labels state no size (not ``sized``): then nothing tells whether the labelling tool turned it, too.
    Raises :class:`DatasetError`.
    """
    try:
        data = read_file(path)
        height, width = decode_image(data, path, sixteen_bit_white=sixteen_bit_white).shape[:2]
    except ImageFileError as error:
        raise DatasetError(str(error)) from None
    stored = claimed_size(data)
    told_by_size = sized and stored is not None and stored != (width, height)
    return (height, width), is_turned(data) and not told_by_size


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask ``(H, W)``: 1 where any channel is above 127, else 0.

    Raises :class:`DatasetError` for what cannot be a mask: spots that are neither black nor bright (class
    numbers, dark palette colours) and no mark's soft edge, marks that only an alpha channel shows, 16 bits,
    several pages.
    """
    try:
        pixels = read_image(path, opaque=True)
        paged = has_more_pages(read_file(path))
    except ImageFileError as error:
        if "16 bits" in str(error):
            raise DatasetError(f"{shown(path)}: 16 bits per pixel; save the mask with 8 bits") from None
        raise DatasetError(str(error)) from None
    if paged:
        raise DatasetError(
            f"{shown(path)}: has several pages, but only the first is read; save the mask as one picture"
        )
    brightest = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    marked = np.asarray(brightest > MARKED, np.uint8)
    away = cv2.distanceTransform(1 - marked, cv2.DIST_C, 3) if marked.any() else np.full(marked.shape, np.inf)
    explained = away <= EDGE_PX
    if path.suffix.lower() in LOSSY:
        explained |= (brightest <= _NOISE) & (away <= _NOISE_PX)
    if np.any((brightest > 0) & ~explained):
        values = np.unique(brightest)
        named = ", ".join(map(str, values[:8])) + (f", ... {values[-1]}" if len(values) > 8 else "")
        raise DatasetError(
            f"{shown(path)}: has the values {named}; save the mask with 0 where the surface is sound and 255 "
            "where the defect is"
        )
    return marked


def read_mask_of(
    picture: Path,
    mask: Path,
    sixteen_bit_white: int | None = None,
    read: Callable[[Path], NDArray[np.uint8]] = read_mask,
) -> NDArray[np.uint8]:
    """The mask of a picture, which must have the mask's size and no turn that nobody can check.

    ``read`` gives ``(H, W)`` of the mask's file. Raises :class:`DatasetError`.
    """
    (height, width), turned = size_and_turn(picture, sixteen_bit_white)
    if turned:
        raise DatasetError(
            f"{shown(picture)}: EXIF data turns it, and nobody can know whether its mask was made before or "
            "after; save the picture upright"
        )
    marked = read(mask)
    if marked.shape != (height, width):
        raise DatasetError(
            f"{shown(mask)} is {marked.shape[1]} x {marked.shape[0]}, but its picture {shown(picture)} is "
            f"{width} x {height}; use a mask of the picture's size"
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
