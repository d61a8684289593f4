"""The reader of pictures with boxes in VOC's XML: each box becomes a window with the box's class."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from retraining.data.listing import (
    Named,
    class_order,
    counted_note,
    list_named,
    make_dataset,
)
from retraining.data.manifest import Dataset, Window
from retraining.errors import DatasetError
from retraining.surfaces.reading import for_each, read_picture

FOLDERS_OR_NONE = r"(?:(?P<label>[^/]+)/)?.+"
"""The pattern of one sub-folder per class, or of pictures without any, as labelling tools export them."""
Size = tuple[int, int]
"""Height and width, px."""


@dataclass(frozen=True, slots=True)
class VocBoxes:
    """Windows around the boxes of pictures below ``images``; a box file has the name of its picture.

    A box may have another class than its picture's path does. One of both is wrong, and nobody knows which:
    such boxes are listed in a note and left out, or believed where ``trust_boxes`` says so.
    """

    images: Path
    boxes: Path
    pattern: str = FOLDERS_OR_NONE
    """Regular expression for a path below ``images``, with groups ``label`` and perhaps ``group``. A picture
    whose path names no class takes that of each box."""
    classes: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    trust_boxes: bool = False
    square: bool = True
    """Windows are the smallest square around a box (as far as the picture reaches), so that resizing keeps
    its shape."""
    margin: float = 0.1
    """Added on each side, as a share of the box's longer side."""
    least: int = 16
    """px; a smaller box is widened to this."""
    sixteen_bit_white: int | None = None
    """The value that is white in 16-bit files; without it such files are refused."""

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        found, notes = list_named(self.images, self.pattern, self.rename, unlabelled=True)
        pictures = _by_stem(found)
        files = sorted(path for path in self.boxes.glob("*") if path.suffix.lower() == ".xml")
        if not files:
            raise DatasetError(f"{self.boxes} holds no .xml files; name the folder of the boxes")
        read = for_each(lambda file: self._read(file, pictures.get(file.stem)), files)
        entries: dict[tuple[str, Window], Named] = {}
        faults: dict[str, list[str]] = defaultdict(list)
        for file, (size, stated, boxes) in zip(files, read, strict=True):
            named = pictures.get(file.stem)
            if named is None:
                faults["box files have no picture and were left out"].append(file.name)
                continue
            for number, (label, box) in enumerate(boxes, start=1):
                label = self.rename.get(label, label)
                which = f"{file.name} box {number}"
                if box is None or box[0] + box[2] > stated[0] or box[1] + box[3] > stated[1]:
                    faults[
                        "boxes are empty or reach beyond the stated size of their picture and were left out"
                    ].append(which)
                    continue
                if stated != size:
                    sizes = f"states {stated[1]} x {stated[0]}, the file is {size[1]} x {size[0]}"
                    kind = "boxes were made for a picture of another size and were left out"
                    faults[kind].append(f"{which} ({sizes})")
                    continue
                if named.label and label != named.label:
                    fate = "believed" if self.trust_boxes else "left out"
                    kind = f"boxes have another class than their picture and were {fate}"
                    faults[kind].append(f"{which} ({label})")
                    if not self.trust_boxes:
                        continue
                window = self._window(box, size)
                other = entries.setdefault((named.path, window), replace(named, label=label))
                if other.label != label:
                    faults["boxes lie where one of another class lies and were left out"].append(which)
        boxed = {file.stem for file in files}
        faults["pictures have no box file and were left out"] += [
            named.path for stem, named in pictures.items() if stem not in boxed
        ]
        for kind, names in faults.items():
            notes += counted_note(kind, names)
        if not entries:
            raise DatasetError(f"no box is left: {'; '.join(notes) or 'the files hold none'}")
        classes = class_order((n.label for n in entries.values()), tuple(self.classes))
        listed = [(named, window) for (_, window), named in entries.items()]
        return make_dataset(
            self.images,
            classes,
            listed,
            source="voc",
            labelled_by="person",
            notes=notes,
            sixteen_bit_white=self.sixteen_bit_white,
        )

    def _read(self, file: Path, named: Named | None) -> tuple[Size, Size, list[tuple[str, Window | None]]]:
        """Height and width of the picture, those that the box file states, and its boxes."""
        stated, boxes = _read_boxes(file)
        if named is None:
            return stated, stated, boxes
        height, width, _ = read_picture(self.images / named.path, 1, self.sixteen_bit_white).shape
        return (height, width), stated if all(stated) else (height, width), boxes

    def _window(self, box: Window, size: tuple[int, int]) -> Window:
        """The box with its margin, widened and moved so that it lies within the picture."""
        top, left, height, width = box
        longer = max(height, width)
        extra = 2 * round(self.margin * longer)
        side = min(max(longer + extra, self.least), max(longer, min(size)))
        tall = min(side if self.square else max(height + extra, self.least), size[0])
        wide = min(side if self.square else max(width + extra, self.least), size[1])
        row = min(max(top + (height - tall) // 2, 0), size[0] - tall)
        column = min(max(left + (width - wide) // 2, 0), size[1] - wide)
        return row, column, tall, wide


def _by_stem(found: list[Named]) -> dict[str, Named]:
    pictures: dict[str, Named] = {}
    for named in found:
        stem = Path(named.path).stem
        if stem in pictures:
            raise DatasetError(
                f"{named.path} and {pictures[stem].path} have the same name, so their boxes cannot be "
                "assigned; rename one of them"
            )
        pictures[stem] = named
    return pictures


def _read_boxes(file: Path) -> tuple[Size, list[tuple[str, Window | None]]]:
    """The picture's (height, width) and its boxes' labels and windows; None for an empty box."""
    try:
        tree = ElementTree.parse(file).getroot()
        size = (int(_text(tree, "size/height")), int(_text(tree, "size/width")))
        return size, list(_boxes(tree))
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise DatasetError(f"{file} is not a VOC file: {error}; repair or remove it") from error


def _boxes(tree: ElementTree.Element) -> Iterator[tuple[str, Window | None]]:
    """Label and window of each object; VOC counts pixels from 1 and includes the last one."""
    for item in tree.iter("object"):
        left, top, right, bottom = (
            round(float(_text(item, f"bndbox/{name}"))) for name in ("xmin", "ymin", "xmax", "ymax")
        )
        left, top = max(left - 1, 0), max(top - 1, 0)
        empty = right <= left or bottom <= top
        yield _text(item, "name"), None if empty else (top, left, bottom - top, right - left)


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise ValueError(f"there is no {path}")
    return found.strip()
