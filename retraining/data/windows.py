"""Windows of pictures: around what is marked, and away from it."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from retraining.data.manifest import Window
from retraining.surfaces.reading import EDGE_PX

LEAST_AREA = 4
"""px; smaller specks of a mask are a codec's, not a defect's."""
_TRIES = 60


def windows_around(mask: NDArray[np.uint8], side: int) -> list[Window]:
    """Square windows that together show every marked spot of a mask ``(H, W)``, each at least in part.

    A spot larger than a window is shown by one around its middle.
    """
    count, _, boxes, centres = cv2.connectedComponentsWithStats(mask)
    order = sorted(range(1, count), key=lambda i: -int(boxes[i, cv2.CC_STAT_AREA]))
    spots = []
    for i in order:
        left, top, width, height, area = (int(v) for v in boxes[i])
        middle = (top + height // 2, left + width // 2)
        if max(height, width) > side:
            middle = (round(float(centres[i][1])), round(float(centres[i][0])))
        if area >= LEAST_AREA:
            spots.append(((top, left, height, width), middle))
    return _showing(spots, side, mask.shape)


def windows_around_boxes(boxes: Iterable[Window], side: int, size: tuple[int, int]) -> list[Window]:
    """The same for boxes, the largest first."""
    order = sorted(boxes, key=lambda box: -box[2] * box[3])
    return _showing([(box, (box[0] + box[2] // 2, box[1] + box[3] // 2)) for box in order], side, size)


def window_of_box(box: Window, size: tuple[int, int], margin: float, least: int, square: bool) -> Window:
    """The box with its margin, widened and moved so that it lies within a picture of this size."""
    top, left, height, width = box
    longer = max(height, width)
    extra = 2 * round(margin * longer)
    side = min(max(longer + extra, least), max(longer, min(size)))
    tall = min(side if square else max(height + extra, least), size[0])
    wide = min(side if square else max(width + extra, least), size[1])
    row = min(max(top + (height - tall) // 2, 0), size[0] - tall)
    column = min(max(left + (width - wide) // 2, 0), size[1] - wide)
    return row, column, tall, wide


def windows_away(mask: NDArray[np.uint8], side: int, count: int, rng: np.random.Generator) -> list[Window]:
    """Up to ``count`` windows away from marks and their soft edges, and from one another by half a side."""
    found: list[Window] = []
    near = cv2.dilate(mask, np.ones((1 + 2 * EDGE_PX,) * 2, np.uint8))
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        row, column = (int(rng.integers(0, limit - side + 1)) for limit in mask.shape)
        apart = all(max(abs(row - r), abs(column - c)) >= side // 2 for r, c, _, _ in found)
        if apart and not near[row : row + side, column : column + side].any():
            found.append((row, column, side, side))
    return found


def overlap(one: Window, other: Window) -> bool:
    """Whether two windows share a pixel."""
    return all(one[at] < other[at] + other[at + 2] and other[at] < one[at] + one[at + 2] for at in (0, 1))


def _showing(
    spots: Iterable[tuple[Window, tuple[int, int]]], side: int, size: tuple[int, ...]
) -> list[Window]:
    """A window around the middle of each spot, unless one before it shows the whole spot."""
    found: list[Window] = []
    for (top, left, height, width), middle in spots:
        shown = any(
            r <= top and c <= left and top + height <= r + side and left + width <= c + side
            for r, c, _, _ in found
        )
        row, column = (
            min(max(at - side // 2, 0), limit - side) for at, limit in zip(middle, size, strict=True)
        )
        if not shown and (row, column, side, side) not in found:
            found.append((row, column, side, side))
    return found
