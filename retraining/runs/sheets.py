"""Pictures of a run: sheets of samples."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import write_image

_GAP = 2
"""px between the pictures of a sheet."""
_PAPER = 255


def tile(pictures: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """``(N, H, W, C)`` row by row on white: one picture, about ``(rows * H, columns * W, C)``."""
    count, height, width, channels = pictures.shape
    rows = math.ceil(count / columns)
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels)
    sheet = np.full(shape, _PAPER, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def side_by_side(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two sheets ``(H, W, C)`` with a wide gap between them, the shorter one filled up with white."""
    height, channels = max(left.shape[0], right.shape[0]), left.shape[2]
    gap = np.full((height, 8 * _GAP, channels), _PAPER, np.uint8)
    filled = [
        np.concatenate([s, np.full((height - s.shape[0], s.shape[1], channels), _PAPER, np.uint8)])
        for s in (left, right)
    ]
    return np.concatenate([filled[0], gap, filled[1]], axis=1)


def write_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write ``(H, W, C)`` as PNG, creating the folder."""
    write_image(path, picture)
