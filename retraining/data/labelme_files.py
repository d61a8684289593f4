"""A LabelMe file: one JSON per picture, with shapes."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np

from drivers.cameras.picture_files import ImageFileError, decode_image
from retraining.data.marks import (
    FormatError,
    Mark,
    MarkedPicture,
    around,
    label_text,
    number,
    read_json,
    refuse,
    several,
    stated_size,
)

_MOST_BYTES = 256_000_000
"""A file may hold its whole picture once more (``imageData``), which is not looked at."""
_LEAST_POINTS = {
    "polygon": 3,
    "rectangle": 2,
    "circle": 2,
    "line": 2,
    "linestrip": 2,
    "point": 1,
    "points": 1,
}
_LEAST_POINTS["mask"] = 2
_THIN = ("line", "linestrip", "point", "points")
"""Shapes that cover no area; each is at least one pixel wide and high."""
_CIRCLE_CORNERS = 64
"""Of the polygon that stands for a circle."""


def read_labelme(file: Path) -> MarkedPicture:
    """The marks of one file; each shape's box.

    Raises :class:`retraining.errors.DatasetError` with all faults of the file.
    """
    try:
        content = read_json(file, _MOST_BYTES)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise FormatError("it has no list `shapes`")
        name = content.get("imagePath") or ""
        if not isinstance(name, str):
            raise FormatError("imagePath is no text")
        size = stated_size(content.get("imageHeight"), content.get("imageWidth"))
        marks, faults = [], []
        for at, shape in enumerate(content["shapes"], start=1):
            try:
                marks.append(_mark(shape))
            except FormatError as error:
                faults.append(f"shape {at}: {error}")
        if faults:
            raise several(faults)
    except (OSError, FormatError) as error:
        raise refuse(file, "a LabelMe file", error) from None
    return MarkedPicture(size, name, tuple(marks))


def _mark(shape: Any) -> Mark:
    if not isinstance(shape, dict):
        raise FormatError("it is no object")
    label = label_text(shape.get("label"))
    kind = shape.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind not in _LEAST_POINTS:
        raise FormatError(f"shape_type is {str(kind)[:40]!r}; known are {', '.join(_LEAST_POINTS)}")
    points = [_point(point) for point in _list(shape.get("points"))]
    if len(points) < _LEAST_POINTS[kind]:
        raise FormatError(f"a {kind} has {len(points)} points; it needs {_LEAST_POINTS[kind]}")
    if kind == "circle":
        (x, y), edge = points[:2]
        radius = math.dist((x, y), edge)
        around_it = [math.tau * n / _CIRCLE_CORNERS for n in range(_CIRCLE_CORNERS)]
        corners = [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in around_it]
        box = (x - radius, y - radius, x + radius, y + radius)
        return Mark(label, *box, polygons=(_flat(corners),))
    left, top, right, bottom = around(points)
    if kind == "mask":  # its last pixel is included
        right, bottom = right + 1, bottom + 1
        return Mark(label, left, top, right, bottom, runs=_runs(shape.get("mask"), left, top, right, bottom))
    if kind in _THIN:
        right, bottom = max(right, left + 1), max(bottom, top + 1)
    return Mark(label, left, top, right, bottom, polygons=_polygons(kind, points))


def _polygons(kind: str, points: list[tuple[float, float]]) -> tuple[tuple[float, ...], ...]:
    """What a shape marks; () where that is its box."""
    if kind == "rectangle":
        return ()
    if kind in ("point", "points"):
        return tuple(_flat([point]) for point in points)
    return (_flat(points if kind == "polygon" else [*points, *points[-2:0:-1]]),)


def _flat(points: list[tuple[float, float]]) -> tuple[float, ...]:
    return tuple(value for point in points for value in point)


def _runs(drawn: Any, left: float, top: float, right: float, bottom: float) -> tuple[int, ...]:
    """The runs of a mask that was drawn pixel by pixel: a picture in base64, as large as its box."""
    if drawn is None:
        return ()
    try:
        pixels = decode_image(base64.b64decode(drawn, validate=True), Path("mask"))
    except (TypeError, ValueError, ImageFileError):
        raise FormatError("its mask is no picture in base64") from None
    whole = all(side == math.floor(side) for side in (left, top, right, bottom))
    if not whole or pixels.shape[:2] != (bottom - top, right - left):
        raise FormatError("its mask is not as large as its box")
    marked = (pixels if pixels.ndim == 2 else pixels.max(axis=2)) > 0
    column = np.concatenate([[False], marked.T.ravel()])
    edges = np.flatnonzero(column[1:] != column[:-1])
    return tuple(np.diff([0, *edges.tolist(), marked.size]).tolist())


def _list(points: Any) -> list[Any]:
    if not isinstance(points, list):
        raise FormatError("points is no list")
    return points


def _point(point: Any) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise FormatError("a point is no list of x and y")
    return number(point[0], "points"), number(point[1], "points")
