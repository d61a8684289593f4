"""A LabelMe file: one JSON per picture, with shapes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

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
        return Mark(label, x - radius, y - radius, x + radius, y + radius)
    left, top, right, bottom = around(points)
    if kind == "mask":  # its last pixel is included
        right, bottom = right + 1, bottom + 1
    if kind in _THIN:
        right, bottom = max(right, left + 1), max(bottom, top + 1)
    return Mark(label, left, top, right, bottom)


def _list(points: Any) -> list[Any]:
    if not isinstance(points, list):
        raise FormatError("points is no list")
    return points


def _point(point: Any) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise FormatError("a point is no list of x and y")
    return number(point[0], "points"), number(point[1], "points")
