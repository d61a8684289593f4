"""The readers of pictures with boxes: of VOC, COCO, YOLO and LabelMe; each box becomes a window of its class.

A door of one format says which files hold the boxes and reads them; what is made of the boxes, and which are
not believed, is the same for all.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from drivers.cameras.picture_files import is_leftover, shown
from retraining.data.coco_files import read_coco
from retraining.data.labelme_files import read_labelme
from retraining.data.listing import (
    NO_CLASS,
    Named,
    class_order,
    counted_note,
    list_named,
    make_dataset,
    names_another,
    unmet_renames,
)
from retraining.data.manifest import Dataset, Window
from retraining.data.marks import Mark, MarkedPicture, Size, Told
from retraining.data.voc_files import read_voc
from retraining.data.whole_marked import Door, whole_pictures
from retraining.data.windows import overlap, window_of_box, windows_around_boxes, windows_away
from retraining.data.yolo_files import read_names, read_yolo
from retraining.errors import DatasetError
from retraining.surfaces.pairing import Pairs, pair
from retraining.surfaces.reading import Reporter, for_each, silent, size_and_turn, stage

FOLDERS_OR_NONE = r"(?:(?P<label>[^/]+)/)?.+"
"""The pattern of one sub-folder per class, or of pictures without any, as VOC's tools export them."""
_ANOTHER_CLASS = "boxes have another class than their picture and were "


@dataclass(frozen=True, slots=True)
class Boxes:
    """Windows around the boxes of pictures below ``images``, and windows of sound surface away from them.

    A box counts only within the size that its file states, which must be that of the picture. It may have
    another class than its picture's path does: one of both is wrong, and nobody knows which. Such boxes are
    left out, or believed where ``trust_boxes`` says so. A picture with a box that was left out gives no
    window of the sound class. A note names whatever is left out, with its reason.
    """

    images: Path
    boxes: Path
    """The folder of the files, or the one file, that hold the boxes."""
    pattern: str = NO_CLASS
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
    side: int = 0
    """px of a window; 0: windows are as large as their boxes ask for, and sound ones as large as those."""
    sound: str = "sound"
    """The class of what no box marks."""
    sound_windows: int = 1
    """Of each picture, away from all boxes; pictures without a box give no other window."""
    whole: bool = False
    """Whole pictures with their marks in place of windows (:mod:`retraining.data.whole_marked`)."""
    seed: int = 1
    """Where sound windows lie."""
    sixteen_bit_white: int | None = None
    """The value that is white in 16-bit files; without it such files are refused."""
    report: Reporter = silent

    source: ClassVar[str] = ""
    thing: ClassVar[str] = "box file"
    things: ClassVar[str] = "box files"
    """What notes call that which holds the boxes of one picture."""
    named_in: ClassVar[str] = "<filename>"
    """The field in which a file names its picture."""

    def _files(self) -> list[str]:
        """The paths of what may hold boxes; below ``boxes`` where that is a folder."""
        raise NotImplementedError

    def _told(self, pictures: list[str], files: list[str]) -> Told:
        """What the files say of these pictures. Raises :class:`DatasetError`."""
        raise NotImplementedError

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        files = self._files()
        labels = {os.path.realpath(self.boxes / file) for file in files}
        found, notes = list_named(self.images, self.pattern, self.rename, unlabelled=True, labels=labels)
        told = self._told([named.path for named in found], files)
        boxed = [named for named in found if named.path in told.of]
        sizes = for_each(
            lambda named: size_and_turn(
                self.images / named.path,
                self.sixteen_bit_white,
                sized=told.of[named.path].stated is not None,
            ),
            boxed,
            stage(self.report, "sizes compared", len(boxed)),
        )
        if self.whole:
            door = Door(
                self.images, self.classes, self.rename, self.trust_boxes, self.sound, self.sixteen_bit_white,
                self.report, self.source, self.thing, self.named_in, self.unusable,
            )  # fmt: skip
            return whole_pictures(door, found, told, dict(zip(boxed, sizes, strict=True)), notes)
        things = self.things
        left: dict[str, list[str]] = defaultdict(list)
        """By reason, what is left out."""
        left[f"{things} have no picture and were left out"] += told.pairs.strangers
        left[f"{things} fit several pictures and were left out"] += [
            f"{file} ({', '.join(several)})" for file, several in told.pairs.unclear.items()
        ]
        stems = {PurePosixPath(named.path).stem for named in found}
        looks: list[tuple[Named, Size, list[_Box], list[Window] | None]] = []
        """Pictures whose file counts: their boxes that count, and where boxes lie that sound windows avoid
        (None: nobody knows)."""
        for named, (size, turned) in zip(boxed, sizes, strict=True):
            marked = told.of[named.path]
            file = marked.where or told.pairs.of[named.path]
            reason = self.unusable(marked, named, turned, stems)
            if reason:
                left[reason].append(file)
                continue
            if marked.stated is None and not marked.relative:
                left[f"{things} state no size; their boxes were compared with the picture"].append(file)
            kept: list[_Box] = []
            avoided: list[Window] | None = []
            for number, given in enumerate(marked.boxes, start=1):
                box = given.scaled(size) if marked.relative else given
                which = f"{file} box {number}"
                doubt, why = box.doubt(marked.stated or size, size)
                reason = f"boxes {doubt.of_several} and were left out" if doubt else ""
                label = self.rename.get(box.label, box.label)
                if not reason and named.label and label != named.label:
                    reason, why = _ANOTHER_CLASS + ("believed" if self.trust_boxes else "left out"), label
                if not reason and box.is_crowd:
                    reason, why = "boxes mark a crowd (iscrowd) and give no window", label
                if reason:
                    left[reason].append(f"{which} ({why})")
                if not reason or reason == _ANOTHER_CLASS + "believed":
                    kept.append(_Box(_pixels(box), label, which))
                elif not box.is_crowd:
                    avoided = None
                if avoided is not None:
                    avoided.append(_pixels(box))
            looks.append((named, size, kept, avoided))
        left[f"pictures have no {self.thing} and were left out"] += [
            named.path for named in found if named.path not in told.of
        ]
        entries: list[tuple[Named, Window | None]] = []
        for named, size, kept, _ in looks:
            entries += [
                (replace(named, label=label), w) for label, w in self._around(named, size, kept, left)
            ]
        entries += self._away(looks, [window for _, window in entries if window is not None], told, left)
        by_path = {label for label, name in self.rename.items() if name in {named.label for named in found}}
        notes += unmet_renames(
            self.rename, by_path | {b.label for marked in told.of.values() for b in marked.boxes}
        )
        for reason, names in left.items():
            notes += counted_note(reason, names)
        if not entries:
            folders = left[_ANOTHER_CLASS + "left out"]
            remedy = "; if the folders are no classes, add --pattern '(?P<label>)'" if folders else ""
            if (
                self.sound_windows
                and not self.side
                and any(not kept and avoided == [] for *_, kept, avoided in looks)
            ):
                remedy += "; to take windows of sound pictures alone, give their size by --side"
            raise DatasetError(f"no box is left: {'; '.join(notes) or 'the files hold none'}{remedy}")
        classes = class_order((named.label for named, _ in entries), tuple(self.classes))
        if self.sound in classes and not self.classes:
            classes = (self.sound, *(name for name in classes if name != self.sound))
        return make_dataset(
            self.images,
            classes,
            entries,
            source=self.source,
            labelled_by="person",
            notes=notes,
            sixteen_bit_white=self.sixteen_bit_white,
            report=self.report,
        )

    def unusable(self, marked: MarkedPicture, named: Named, turned: bool, stems: set[str]) -> str:
        """Why nothing that a file says counts; "" if it does."""
        if not marked.boxes and not self.sound_windows:
            return f"{self.things} hold no box"
        if names_another(marked, named, stems):
            return f"{self.things} name another picture of the set in {self.named_in} and were left out"
        if turned:
            return (
                f"{self.things} were left out: EXIF data turns their pictures, and nobody can know whether "
                "the boxes were made before or after; save the pictures upright"
            )
        return ""

    def _around(
        self, named: Named, size: Size, boxes: list[_Box], left: dict[str, list[str]]
    ) -> list[tuple[str, Window]]:
        """Labels and windows of one picture's boxes."""
        if self.side:
            self._check_side(named, size)
            found: list[tuple[str, Window]] = []
            for label in dict.fromkeys(box.label for box in boxes):
                own = [box.place for box in boxes if box.label == label]
                for window in windows_around_boxes(own, self.side, size):
                    others = [b.which for b in boxes if b.label != label and overlap(window, b.place)]
                    if others:
                        left["windows show boxes of several classes and were left out"].append(
                            f"{named.path} {label} ({', '.join(others)})"
                        )
                    else:
                        found.append((label, window))
            return found
        windows: dict[Window, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for box in boxes:
            window = window_of_box(box.place, size, self.margin, self.least, self.square)
            windows[window][box.label].append(box.which)
        single: list[tuple[str, Window]] = []
        for window, labels_there in windows.items():
            if len(labels_there) > 1:
                several = ", ".join(which for own in labels_there.values() for which in own)
                left["places have boxes of several classes and were left out"].append(several)
                continue
            ((label, boxes_there),) = labels_there.items()
            left["boxes give the same window as another box of their class"] += boxes_there[1:]
            single.append((label, window))
        return single

    def _away(
        self,
        looks: list[tuple[Named, Size, list[_Box], list[Window] | None]],
        around: list[Window],
        told: Told,
        left: dict[str, list[str]],
    ) -> list[tuple[Named, Window | None]]:
        """Windows of the sound class, as large as those around boxes where ``side`` does not say it."""
        entries: list[tuple[Named, Window | None]] = []
        sides = [self.side] if self.side else sorted(max(height, width) for _, _, height, width in around)
        if not self.sound_windows or not sides:
            return []
        for number, (named, size, _, avoided) in enumerate(looks):
            if avoided is None:
                continue
            if not told.of[named.path].boxes and named.label not in ("", self.sound):
                left[f"pictures have no box, are not of class {self.sound} and were left out"].append(
                    named.path
                )
                continue
            if self.side:
                self._check_side(named, size)
            rng = np.random.default_rng([self.seed, number])
            side = min(sides[int(rng.integers(len(sides)))], *size)
            mask = np.zeros(size, np.uint8)
            for top, left_, height, width in avoided:
                mask[top : top + height, left_ : left_ + width] = 1
            windows = windows_away(mask, side, self.sound_windows, rng)
            entries += [(replace(named, label=self.sound), window) for window in windows]
        return entries

    def _check_side(self, named: Named, size: Size) -> None:
        if min(size) < self.side:
            raise DatasetError(
                f"{shown(named.path)} is smaller than a window of {self.side} px; use a smaller side"
            )


@dataclass(frozen=True, slots=True)
class _Box:
    place: Window
    label: str
    which: str
    """How notes call it."""


@dataclass(frozen=True, slots=True)
class VocBoxes(Boxes):
    """Boxes in VOC's XML below ``boxes``; a file has the path of its picture."""

    pattern: str = FOLDERS_OR_NONE
    sound_windows: int = 0
    """VOC's sets often leave unmarked what is no object of theirs, so that nobody called it sound."""

    source: ClassVar[str] = "voc"

    def _files(self) -> list[str]:
        return _files_below(self.boxes, ".xml", "exported as Pascal VOC (.xml)")

    def _told(self, pictures: list[str], files: list[str]) -> Told:
        return _one_per_picture(self, pictures, files, read_voc)


@dataclass(frozen=True, slots=True)
class LabelMeBoxes(Boxes):
    """Shapes in LabelMe's JSON below ``boxes``; a file has the path of its picture."""

    source: ClassVar[str] = "labelme"
    named_in: ClassVar[str] = "imagePath"

    def _files(self) -> list[str]:
        return _files_below(self.boxes, ".json", "as LabelMe writes them (.json)")

    def _told(self, pictures: list[str], files: list[str]) -> Told:
        return _one_per_picture(self, pictures, files, read_labelme)


@dataclass(frozen=True, slots=True)
class YoloBoxes(Boxes):
    """Boxes and polygons in YOLO's text files below ``boxes``.

    A file has the path of its picture, with ``labels`` where the picture's path has ``images``. An empty file
    says that the picture is sound; a picture without a file is not labelled.
    """

    names: Path = field(kw_only=True)
    """The file of the class names: ``data.yaml``, or one name per line."""

    source: ClassVar[str] = "yolo"

    def _files(self) -> list[str]:
        return _files_below(self.boxes, ".txt", "as YOLO's tools write them (.txt)", apart=self.names)

    def _told(self, pictures: list[str], files: list[str]) -> Told:
        names = read_names(self.names)
        return _one_per_picture(self, pictures, files, lambda file: read_yolo(file, names), _beside_images)


@dataclass(frozen=True, slots=True)
class CocoBoxes(Boxes):
    """Boxes, polygons and runs of one COCO file; an entry names its picture by a path below ``images``.

    A picture that the file lists without a mark may be one that nobody looked at. It is left out, or with
    ``trust_unmarked`` taken for sound.
    """

    trust_unmarked: bool = False

    source: ClassVar[str] = "coco"
    thing: ClassVar[str] = "entry in the file"
    things: ClassVar[str] = "entries of the file"

    def _files(self) -> list[str]:
        return [""]

    def _told(self, pictures: list[str], files: list[str]) -> Told:
        entries = {entry.picture: entry for entry in read_coco(self.boxes)}
        exact = {name: name for name in pictures if name in entries}
        rest = pair((p for p in pictures if p not in exact), (name for name in entries if name not in exact))
        of = exact | rest.of
        if not of:
            raise DatasetError(
                f"none of the {len(entries)} pictures that {shown(str(self.boxes))} lists, such as "
                f"{shown(next(iter(entries), 'none'))}, is below {shown(str(self.images))}, such as "
                f"{shown(pictures[0])}; name the folder from which the file counts its paths"
            )
        return Told(
            {picture: entries[name] for picture, name in of.items()}, Pairs(of, rest.strangers, rest.unclear)
        )

    def unusable(self, marked: MarkedPicture, named: Named, turned: bool, stems: set[str]) -> str:
        """Why nothing that an entry says counts; "" if it does."""
        if not marked.boxes and not self.trust_unmarked:
            return (
                "entries of the file have no mark and were left out, because nobody can know whether a "
                "person looked at them; if one did, add --trust-unmarked"
            )
        return Boxes.unusable(self, marked, named, turned, stems)


def _one_per_picture(
    reader: Boxes,
    pictures: list[str],
    files: list[str],
    read: Callable[[Path], MarkedPicture],
    renamed: Callable[[str], str] = lambda file: file,
) -> Told:
    """What the files of the pictures say; files of no picture are not read."""
    known = {renamed(file): file for file in files}
    if len(known) < len(files):
        known = {file: file for file in files}
    found = pair(pictures, known)
    of = {picture: known[file] for picture, file in found.of.items()}
    told = for_each(
        lambda file: read(reader.boxes / file),
        list(of.values()),
        stage(reader.report, "box files read", len(of)),
    )
    strangers = tuple(sorted(known[file] for file in found.strangers))
    unclear = {known[file]: several for file, several in found.unclear.items()}
    return Told(dict(zip(of, told, strict=True)), Pairs(of, strangers, unclear))


def _files_below(root: Path, suffix: str, kind: str, apart: Path | None = None) -> list[str]:
    """The files with this ending below ``root``, by their POSIX paths, but not ``apart``."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; name the folder of the box files")
    own = None if apart is None else os.path.realpath(apart)
    found = sorted(
        path.relative_to(root)
        for path in root.rglob("*")
        if path.suffix.lower() == suffix and os.path.realpath(path) != own
    )
    files = [path.as_posix() for path in found if not is_leftover(path)]
    if not files:
        raise DatasetError(f"{root} holds no {suffix} files; name the folder of the boxes, {kind}")
    return files


def _beside_images(file: str) -> str:
    """The path with its last folder ``labels`` called ``images``, as YOLO's tools look for files."""
    *folders, name = file.split("/")
    at = len(folders) - 1 - folders[::-1].index("labels") if "labels" in folders else None
    return "/".join([*("images" if n == at else folder for n, folder in enumerate(folders)), name])


def _pixels(box: Mark) -> Window:
    """Top, left, height, width."""
    left, top, right, bottom = box.corners()
    return top, left, bottom - top, right - left
