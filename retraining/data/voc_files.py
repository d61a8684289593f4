"""A file of boxes in VOC's XML, as labelling tools write it: the stated size, and each box with its class.

The file comes from outside, so it is read as such: a regular file of a few megabytes at most, without a
document type (whose entities may grow without end or name other files).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from drivers.cameras.picture_files import shown
from retraining.errors import DatasetError

_MOST_BYTES = 16_000_000
Size = tuple[int, int]
"""Height and width, px."""


@dataclass(frozen=True, slots=True)
class VocBox:
    """One object: its class and the corners, px as VOC counts them, from 1 and with the last one included."""

    label: str
    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """Whether the corners lie the wrong way round, or in one place."""
        return self.right <= self.left or self.bottom <= self.top

    def is_within(self, size: Size) -> bool:
        """Whether the box lies in a picture of this size; tools that count from 0 may begin at 0."""
        return min(self.left, self.top) >= 0 and self.right <= size[1] and self.bottom <= size[0]

    def __str__(self) -> str:
        return f"x {self.left} to {self.right}, y {self.top} to {self.bottom}"


@dataclass(frozen=True, slots=True)
class VocFile:
    """What one file says."""

    stated: Size | None
    """None where the tool wrote 0 x 0, which stands for a size that it did not know."""
    picture: str
    """The name in ``<filename>``; "" without one. It is compared and never opened."""
    boxes: tuple[VocBox, ...]


def read_voc(file: Path) -> VocFile:
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
    return VocFile(None if height == width == 0 else (height, width), name, boxes)


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type (<!DOCTYPE>), which box files do not need")


def _box(item: ElementTree.Element, number: int) -> VocBox:
    try:
        label = " ".join(_text(item, "name").splitlines())
        if not label:
            raise ValueError("its name is empty")
        corners = (_whole(item, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax"))
        return VocBox(label, *corners)
    except ValueError as error:
        raise ValueError(f"object {number}: {error}") from None


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
