"""A file of boxes in VOC's XML, as labelling tools write it: the stated size, and each box with its class.

The file comes from outside, so it is read as such: a regular file of a few megabytes at most, without a
document type (whose entities may grow without end or name other files).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from drivers.cameras.picture_files import shown
from retraining.data.marks import Mark, MarkedPicture
from retraining.errors import DatasetError

_MOST_BYTES = 16_000_000


def read_voc(file: Path) -> MarkedPicture:
    """Read one file; raises :class:`DatasetError` that names file, field and remedy."""
    try:
        if not file.is_file():
            raise ValueError("it is no regular file")
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES // 1_000_000} MB")
        parser = ElementTree.XMLParser(target=_WithoutDoctype())
        root = ElementTree.fromstring(file.read_bytes(), parser)
        height, width = (_whole(root, f"size/{name}") for name in ("height", "width"))
        boxes = tuple(_box(item, number) for number, item in enumerate(root.iter("object"), start=1))
        name = (root.findtext("filename") or "").strip()
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"{shown(file)} is not a VOC file: {reason}; repair or remove it") from None
    return MarkedPicture(None if height == width == 0 else (height, width), name, boxes)


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type (<!DOCTYPE>), which box files do not need")


def _box(item: ElementTree.Element, number: int) -> Mark:
    try:
        label = " ".join(_text(item, "name").splitlines())
        if not label:
            raise ValueError("its name is empty")
        left, top, right, bottom = (
            _whole(item, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError as error:
        raise ValueError(f"object {number}: {error}") from None
    said = f"x {left} to {right}, y {top} to {bottom}"
    (left, right), (top, bottom) = _from_zero(left, right), _from_zero(top, bottom)
    return Mark(label, left, top, right, bottom, said)


def _from_zero(first: int, last: int) -> tuple[int, int]:
    """VOC counts from 1 and includes the last pixel; tools that count from 0 may begin at 0."""
    return (first, first) if last <= first else (max(first - 1, 0) if first >= 0 else first, last)


def _whole(element: ElementTree.Element, path: str) -> int:
    """A number of pixels, rounded."""
    text = _text(element, path)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path} is {text[:40]!r}, which is no number of pixels")
    return round(number)


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise ValueError(f"there is no {path}")
    return found.strip()
