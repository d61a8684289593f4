"""Where on a whole picture a class is: boxes, polygons and runs of pixels, and the mask that they make.

Coordinates are px from the picture's corner; pixel ``n`` reaches from ``n`` to ``n + 1``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from retraining.errors import DatasetError

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; right and bottom are not included."""
_SLACK = 0.5
"""px that an outline may reach beyond its picture, because tools round."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One mark on a whole picture: the box alone, or polygons or runs within it."""

    label: str
    box: Box
    polygons: tuple[tuple[float, ...], ...] = ()
    """Corners ``x, y, x, y, ...``; what none of them encloses is not marked. A line goes there and back."""
    runs: tuple[int, ...] = ()
    """Unmarked and marked pixels in turn, down the columns of the box, whose corners are whole px."""

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        numbers = [*self.box, *(value for polygon in self.polygons for value in polygon)]
        if not all(map(math.isfinite, numbers)) or right < left or bottom < top:
            raise DatasetError(f"a mark of {self.label!r} has the corners {self.box}, which are no box")
        if any(len(polygon) < 2 or len(polygon) % 2 for polygon in self.polygons):
            raise DatasetError(f"a polygon of a mark of {self.label!r} is no list of x, y")
        if self.runs:
            whole = all(side == math.floor(side) for side in self.box)
            if self.polygons or not whole or min(self.runs) < 0:
                raise DatasetError(f"the runs of a mark of {self.label!r} are not those of a box in whole px")
            if sum(self.runs) != round((right - left) * (bottom - top)):
                raise DatasetError(f"the runs of a mark of {self.label!r} do not fill its box")

    @property
    def is_box(self) -> bool:
        """Whether nothing but a box is known, which marks more than the defect."""
        return not self.polygons and not self.runs

    @property
    def area(self) -> float:
        """Of its box, px."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    def is_within(self, height: int, width: int) -> bool:
        """Whether it lies in a picture of this size, but for half a pixel."""
        xs = [*self.box[::2], *(x for polygon in self.polygons for x in polygon[::2])]
        ys = [*self.box[1::2], *(y for polygon in self.polygons for y in polygon[1::2])]
        return (
            min(*xs, *ys) >= -_SLACK and max(xs) <= width + _SLACK and max(ys) <= height + _SLACK
        )  # fmt: skip

    def __str__(self) -> str:
        left, top, right, bottom = map(round, self.box)
        return f"{self.label} at x {left} to {right}, y {top} to {bottom}"


def class_mask(
    outlines: Sequence[Outline], classes: Sequence[str], height: int, width: int
) -> NDArray[np.uint8]:
    """The class of every pixel of a picture ``(H, W)``, 0 where no outline marks it.

    A pixel belongs to a polygon that has its centre; one that encloses no centre marks the pixels of its
    line. Where outlines overlap, the smaller one counts. Raises :class:`DatasetError` that names every
    outline beyond the picture.
    """
    beyond = [str(outline) for outline in outlines if not outline.is_within(height, width)]
    if beyond:
        raise DatasetError(
            f"the mark {' and '.join(beyond)} reaches beyond the picture of {width} x {height}; correct it, "
            "and build the set again"
        )
    mask = np.zeros((height, width), np.uint8)
    for outline in sorted(outlines, key=lambda one: -one.area):
        marked = _pixels(outline, height, width)
        mask[marked > 0] = classes.index(outline.label)
    return mask


def _pixels(outline: Outline, height: int, width: int) -> NDArray[np.uint8]:
    """``(H, W)``, 1 where the outline marks."""
    marked = np.zeros((height, width), np.uint8)
    if outline.runs:
        left, top, right, bottom = map(round, outline.box)
        values = np.arange(len(outline.runs)) % 2
        columns = np.repeat(values.astype(np.uint8), outline.runs)
        marked[top:bottom, left:right] = columns.reshape(right - left, bottom - top).T
    elif outline.polygons:
        for polygon in outline.polygons:
            _fill(marked, np.array(polygon, np.float64).reshape(-1, 2))
    else:
        left, right = _span(outline.box[0], outline.box[2], width)
        top, bottom = _span(outline.box[1], outline.box[3], height)
        marked[top:bottom, left:right] = 1
    return marked


def _fill(marked: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    """Mark the pixels whose centres a polygon encloses (by the even-odd rule), or those of its line."""
    height, width = marked.shape
    ends = np.roll(points, -1, axis=0)
    first, last = max(0, math.floor(points[:, 1].min())), min(height, math.ceil(points[:, 1].max()))
    filled = False
    for row in range(first, last):
        middle = row + 0.5
        cut = (points[:, 1] <= middle) != (ends[:, 1] <= middle)
        (x0, y0), (x1, y1) = points[cut].T, ends[cut].T
        crossings = np.sort(x0 + (middle - y0) * (x1 - x0) / (y1 - y0))
        for enters, leaves in zip(crossings[::2], crossings[1::2], strict=True):
            left, right = max(0, math.ceil(enters - 0.5)), min(width, math.ceil(leaves - 0.5))
            if right > left:
                marked[row, left:right] = 1
                filled = True
    if not filled:
        corners = np.clip(np.floor(points), 0, (width - 1, height - 1)).astype(np.int32)
        cv2.polylines(marked, [corners], isClosed=True, color=1)


def _span(first: float, last: float, size: int) -> tuple[int, int]:
    """The pixels from ``first`` to ``last`` along one side, one at least."""
    start = min(max(round(first), 0), size - 1)
    return start, max(start + 1, min(round(last), size))
