"""A COCO file: one JSON with pictures, categories, and annotations as boxes, polygons or runs (RLE)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from retraining.data.marks import (
    FormatError,
    Mark,
    MarkedPicture,
    Size,
    around,
    label_text,
    number,
    read_json,
    refuse,
    several,
    stated_size,
)

_MOST_BYTES = 512_000_000
Corners = tuple[float, float, float, float]


def read_coco(file: Path) -> list[MarkedPicture]:
    """Every picture that the file lists, with its marks.

    Raises :class:`retraining.errors.DatasetError` that names the file, and all that is wrong in it: ids that
    are given twice or belong to nothing, because then nobody knows which marks a picture has.
    """
    try:
        return _Coco(read_json(file, _MOST_BYTES), file.name).pictures()
    except (OSError, FormatError) as error:
        raise refuse(file, "a COCO file", error) from None


class _Coco:
    def __init__(self, content: Any, name: str) -> None:
        if isinstance(content, list):
            raise FormatError(
                "it is a list, as networks write their results; labels are an object with images, "
                "categories and annotations"
            )
        if not isinstance(content, dict):
            raise FormatError("it holds no object")
        for key in ("images", "categories", "annotations"):
            rows = content.get(key)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise FormatError(f"{key} is no list of objects")
        self._content = content
        self._name = name
        self._faults: list[str] = []

    def pictures(self) -> list[MarkedPicture]:
        images = self._by_id("images")
        categories = self._by_id("categories")
        labels = {}
        for key, category in categories.items():
            try:
                labels[key] = label_text(category.get("name"))
            except FormatError as error:
                self._faults.append(f"category {key}: {error}")
        names: dict[str, Any] = {}
        sizes: dict[Any, Size | None] = {}
        for key, image in images.items():
            try:
                sizes[key] = stated_size(image.get("height"), image.get("width"))
                name = _file_name(image)
                if names.setdefault(name, key) != key:
                    raise FormatError(f"{name!r} is the picture of image {names[name]}, too")
            except FormatError as error:
                self._faults.append(f"image {key}: {error}")
        marks: dict[Any, list[Mark]] = defaultdict(list)
        for at, annotation in enumerate(self._content["annotations"]):
            try:
                of, kind = (_id(annotation.get(what), what) for what in ("image_id", "category_id"))
                if of not in images:
                    raise FormatError(f"no image has the id {of}")
                if kind not in categories:
                    raise FormatError(f"no category has the id {kind}")
                if "score" in annotation:
                    raise FormatError("it has a score, so that a network made it and no person")
                if of in sizes and kind in labels:
                    marks[of].append(_mark(annotation, labels[kind], sizes[of]))
            except FormatError as error:
                self._faults.append(f"annotation {at + 1}: {error}")
        if self._faults:
            raise several(self._faults)
        return [
            MarkedPicture(sizes[key], name, tuple(marks[key]), where=f"{self._name} image {key} ({name})")
            for name, key in names.items()
        ]

    def _by_id(self, key: str) -> dict[Any, dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        for at, row in enumerate(self._content[key]):
            try:
                own = _id(row.get("id"), "id")
                if own in found:
                    raise FormatError(f"the id {own} is given twice")
                found[own] = row
            except FormatError as error:
                self._faults.append(f"{key} {at + 1}: {error}")
        return found


def _id(value: Any, what: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise FormatError(f"{what} is {str(value)[:40]!r}, which is no id")
    return value


def _file_name(image: dict[str, Any]) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not PurePosixPath(name.replace("\\", "/")).name:
        raise FormatError(f"file_name is {str(name)[:40]!r}, which is no name of a file")
    return name.replace("\\", "/")


def _mark(annotation: dict[str, Any], label: str, size: Size | None) -> Mark:
    """What is marked: the outline where there is one, else ``bbox``."""
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise FormatError(f"iscrowd is {str(crowd)[:40]!r}; it must be 0 or 1")
    outline = annotation.get("segmentation")
    if isinstance(outline, dict):
        corners, runs = _within_runs(outline, size)
        return Mark(label, *corners, is_crowd=bool(crowd), runs=runs)
    if isinstance(outline, list) and outline:
        polygons = [_polygon(polygon) for polygon in outline]
        corners = around(point for polygon in polygons for point in polygon)
        flat = tuple(tuple(value for point in polygon for value in point) for polygon in polygons)
        return Mark(label, *corners, is_crowd=bool(crowd), polygons=flat)
    if outline is None or outline == []:
        return Mark(label, *_bbox(annotation.get("bbox")), is_crowd=bool(crowd))
    raise FormatError("segmentation is neither a list of polygons nor runs (RLE)")


def _bbox(box: Any) -> Corners:
    if not isinstance(box, list) or len(box) != 4:
        raise FormatError("it has neither a segmentation nor a bbox of four numbers")
    left, top, width, height = (number(value, "bbox") for value in box)
    return left, top, left + width, top + height


def _polygon(polygon: Any) -> list[tuple[float, float]]:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise FormatError("a polygon of segmentation is no list of three or more x, y")
    values = [number(value, "segmentation") for value in polygon]
    return list(zip(values[::2], values[1::2], strict=True))


def _within_runs(runs: dict[str, Any], stated: Size | None) -> tuple[Corners, tuple[int, ...]]:
    """The box around runs of unmarked and marked pixels in turn, down the columns, and its own runs."""
    size, counts = runs.get("size"), runs.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise FormatError("the runs (RLE) have no size of height and width")
    own = stated_size(*size)
    if own is None or stated not in (None, own):
        raise FormatError(
            f"the runs (RLE) are for a size of {size[1]} x {size[0]}, not for that of the image"
        )
    lengths = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or any(type(n) is not int or not 0 <= n < 2**31 for n in lengths):
        raise FormatError("the counts of the runs (RLE) are no whole numbers")
    if sum(lengths) != own[0] * own[1]:
        raise FormatError("the counts of the runs (RLE) do not fill the picture")
    ends = np.cumsum(np.array([0, *lengths], np.int64))
    first, last = ends[1:-1:2], ends[2::2] - 1
    first, last = first[: len(last)][last >= first[: len(last)]], last[last >= first[: len(last)]]
    if not len(first):
        return (0.0, 0.0, 0.0, 0.0), ()
    height = own[0]
    whole = first // height != last // height  # a run over a column's end covers its bottom and the next top
    top = 0 if whole.any() else int((first % height).min())
    bottom = height if whole.any() else int((last % height).max()) + 1
    left, right = int(first[0] // height), int(last[-1] // height + 1)
    starts = (first // height - left) * (bottom - top) + first % height - top
    edges = np.stack([starts, starts + last - first + 1], axis=1).ravel()
    own_runs = np.diff([0, *edges.tolist(), (right - left) * (bottom - top)]).tolist()
    return (float(left), float(top), float(right), float(bottom)), tuple(own_runs)


def _unpacked(text: str) -> list[int]:
    """The counts of compressed runs: six bits per character, and differences to the count before the last."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise FormatError("the counts of the runs (RLE) are not packed as COCO packs them")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= 1 << shift if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise FormatError("the counts of the runs (RLE) are cut short")
    return counts
