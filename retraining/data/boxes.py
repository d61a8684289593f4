"""The reader of pictures with boxes in VOC's XML: each box becomes a window with the box's class."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from drivers.cameras.picture_files import is_leftover
from retraining.data.listing import Named, class_order, counted_note, list_named, make_dataset, unmet_renames
from retraining.data.manifest import Dataset, Window
from retraining.data.voc_files import Size, VocBox, VocFile, read_voc
from retraining.errors import DatasetError
from retraining.surfaces.pairing import pair
from retraining.surfaces.reading import Reporter, for_each, silent, size_and_turn, stage

FOLDERS_OR_NONE = r"(?:(?P<label>[^/]+)/)?.+"
"""The pattern of one sub-folder per class, or of pictures without any, as labelling tools export them."""
_ANOTHER_CLASS = "boxes have another class than their picture and were "


@dataclass(frozen=True, slots=True)
class VocBoxes:
    """Windows around the boxes of pictures below ``images``; a box file has the path of its picture.

    A box counts only within the size that its file states, which must be that of the picture. It may have
    another class than its picture's path does: one of both is wrong, and nobody knows which. Such boxes are
    left out, or believed where ``trust_boxes`` says so. A note names whatever is left out, with its reason.
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
    report: Reporter = silent

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        files = _box_files(self.boxes)
        labels = {os.path.realpath(self.boxes / file) for file in files}
        found, notes = list_named(self.images, self.pattern, self.rename, unlabelled=True, labels=labels)
        pairs = pair((named.path for named in found), files)
        told = for_each(
            lambda file: read_voc(self.boxes / file), files, stage(self.report, "box files read", len(files))
        )
        read = dict(zip(files, told, strict=True))
        boxed = [named for named in found if named.path in pairs.of]
        sizes = for_each(
            lambda named: size_and_turn(self.images / named.path, self.sixteen_bit_white),
            boxed,
            stage(self.report, "sizes compared", len(boxed)),
        )
        left: dict[str, list[str]] = defaultdict(list)
        """By reason, what is left out."""
        left["box files have no picture and were left out"] += pairs.strangers
        left["box files fit several pictures and were left out"] += [
            f"{file} ({', '.join(several)})" for file, several in pairs.unclear.items()
        ]
        stems = {PurePosixPath(named.path).stem for named in found}
        windows: dict[tuple[str, Window], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for named, (size, turned) in zip(boxed, sizes, strict=True):
            file = pairs.of[named.path]
            voc = read[file]
            reason = _unusable(voc, named, turned, stems)
            if reason:
                left[reason].append(file)
                continue
            if voc.stated is None:
                left["box files state no size; their boxes were compared with the picture"].append(file)
            for number, box in enumerate(voc.boxes, start=1):
                which = f"{file} box {number}"
                reason, why = _doubt(box, voc.stated or size, size)
                label = self.rename.get(box.label, box.label)
                if not reason and named.label and label != named.label:
                    reason, why = _ANOTHER_CLASS + ("believed" if self.trust_boxes else "left out"), label
                if reason:
                    left[reason].append(f"{which} ({why})")
                if not reason or reason == _ANOTHER_CLASS + "believed":
                    windows[named.path, self._window(_pixels(box), size)][label].append(which)
        left["pictures have no box file and were left out"] += [
            named.path for named in found if named.path not in pairs.of
        ]
        named_by = {named.path: named for named in found}
        entries: list[tuple[Named, Window | None]] = []
        for (path, window), labels_there in windows.items():
            if len(labels_there) > 1:
                several = ", ".join(which for own in labels_there.values() for which in own)
                left["places have boxes of several classes and were left out"].append(several)
                continue
            ((label, boxes_there),) = labels_there.items()
            left["boxes give the same window as another box of their class"] += boxes_there[1:]
            entries.append((replace(named_by[path], label=label), window))
        by_path = {label for label, name in self.rename.items() if name in {named.label for named in found}}
        notes += unmet_renames(self.rename, by_path | {b.label for voc in read.values() for b in voc.boxes})
        for reason, names in left.items():
            notes += counted_note(reason, names)
        if not entries:
            folders = left[_ANOTHER_CLASS + "left out"]
            remedy = "; if the folders are no classes, add --pattern '(?P<label>)'" if folders else ""
            raise DatasetError(f"no box is left: {'; '.join(notes) or 'the files hold none'}{remedy}")
        classes = class_order((named.label for named, _ in entries), tuple(self.classes))
        return make_dataset(
            self.images,
            classes,
            entries,
            source="voc",
            labelled_by="person",
            notes=notes,
            sixteen_bit_white=self.sixteen_bit_white,
            report=self.report,
        )

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


def _box_files(root: Path) -> list[str]:
    """The .xml files below ``root``, by their POSIX paths."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; name the folder of the box files")
    found = sorted(path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() == ".xml")
    files = [path.as_posix() for path in found if not is_leftover(path)]
    if not files:
        raise DatasetError(
            f"{root} holds no .xml files; name the folder of the boxes, exported as Pascal VOC (.xml)"
        )
    return files


def _unusable(voc: VocFile, named: Named, turned: bool, stems: set[str]) -> str:
    """Why no box of a file counts; "" if they do."""
    stated = PurePosixPath(voc.picture.replace("\\", "/"))
    own = PurePosixPath(named.path)
    if not voc.boxes:
        return "box files hold no box"
    if own.stem not in (stated.stem, stated.name) and stated.stem in stems:
        return "box files name another picture of the set in <filename> and were left out"
    if turned:
        return (
            "box files were left out: EXIF data turns their pictures, and nobody can know whether the boxes "
            "were made before or after; save the pictures upright"
        )
    return ""


def _doubt(box: VocBox, stated: Size, size: Size) -> tuple[str, str]:
    """Why a box cannot be right, and what it says; "" if it can."""
    if box.is_empty:
        return "boxes are empty and were left out", str(box)
    if not box.is_within(stated):
        why = f"{box} of {stated[1]} x {stated[0]}"
        return "boxes reach beyond the stated size of their picture and were left out", why
    if stated != size:
        why = f"states {stated[1]} x {stated[0]}, the file is {size[1]} x {size[0]}"
        return "boxes were made for a picture of another size and were left out", why
    return "", ""


def _pixels(box: VocBox) -> Window:
    """Top, left, height, width; VOC counts pixels from 1 and includes the last one."""
    left, top = max(box.left - 1, 0), max(box.top - 1, 0)
    return top, left, box.bottom - top, box.right - left
