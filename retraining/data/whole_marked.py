"""Whole pictures with the marks that persons made on them: what a product of several patches is trained from.

A mark that is left out would make sound metal of its defect. So what gives no window is an error here, and
nothing is left out but pictures of which nobody says whether they are sound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from drivers.cameras.picture_files import shown
from retraining.data.listing import (
    Named,
    class_order,
    counted_note,
    make_dataset,
    names_another,
    unmet_renames,
)
from retraining.data.manifest import Dataset
from retraining.data.marks import Doubt, MarkedPicture, Size, Told
from retraining.data.outlines import Outline
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.reading import Reporter


@dataclass(frozen=True, slots=True)
class Door:
    """What a reader of marks was asked for, and how it calls things."""

    images: Path
    classes: tuple[str, ...]
    rename: Mapping[str, str]
    trust_boxes: bool
    sound: str
    sixteen_bit_white: int | None
    report: Reporter
    source: str
    thing: str
    """What holds the marks of one picture."""
    named_in: str
    """The field in which it names the picture."""
    unusable: Callable[[MarkedPicture, Named, bool, set[str]], str]
    """Why nothing that is said of a picture counts; "" if it does."""


def whole_pictures(
    door: Door, found: list[Named], told: Told, sizes: Mapping[Named, tuple[Size, bool]], notes: list[str]
) -> Dataset:
    """The data set of the pictures that a door has read, each with its marks.

    ``sizes``: size and doubtful turn of each picture with marks. A picture takes the class that its path
    names; else that of its marks, the one of the largest where they are of several; else, without a mark,
    ``door.sound``. Raises :class:`DatasetError` that names every mark outside of its picture, empty, or of
    another size, every mark of a missing picture, and every picture whose path contradicts its marks.
    """
    faults = [
        f"{shown(name)} marks a picture that is not below {shown(str(door.images))}"
        for name in told.pairs.strangers
    ]
    faults += [
        f"{shown(file)} fits {' and '.join(map(shown, several))}"
        for file, several in told.pairs.unclear.items()
    ]
    stems = {PurePosixPath(named.path).stem for named in found}
    left: dict[str, list[str]] = defaultdict(list)
    """By reason, what is left out or worth a note."""
    kept: list[Named] = []
    for named in found:
        marked = told.of.get(named.path)
        if marked is None or not marked.boxes:
            reason = _unknown(door, named, marked, stems)
            if reason:
                left[reason].append(named.path)
            else:
                kept.append(replace(named, label=door.sound))
            continue
        file = marked.where or told.pairs.of[named.path]
        size, turned = sizes[named]
        own = _doubts(marked, size)
        if names_another(marked, named, stems):
            own.append(f"names another picture of the set in {door.named_in}")
        if turned:
            own.append(
                "marks a picture that EXIF data turns, and nobody can know whether this was before or after; "
                "save the picture upright"
            )
        if own:
            faults += [f"{shown(file)} {fault}" for fault in own]
            continue
        outlines = _outlines(door, marked, size)
        without = tuple(one for one in outlines if one.label != door.sound)
        if len(without) < len(outlines):
            left[
                f"pictures have marks of class {door.sound}, which say of no place that it is defective"
            ] += [named.path]
        try:
            kept.append(replace(named, label=_class_of(door, named, without), marks=without))
        except DatasetError as error:
            faults.append(str(error))
    if faults:
        raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
    left["pictures have marks of several classes; each counts as one of the class named here"] += [
        f"{named.path} ({named.label})" for named in kept if len({mark.label for mark in named.marks}) > 1
    ]
    boxed = [named.path for named in kept if any(mark.is_box for mark in named.marks)]
    left["pictures are marked with boxes, which mark more than the defect; outlines are exact"] += boxed
    for reason, names in left.items():
        notes = notes + counted_note(reason, names)
    labels = {named.label for named in found}
    met = {label for label, name in door.rename.items() if name in labels} | {
        b.label for marked in told.of.values() for b in marked.boxes
    }
    notes = notes + unmet_renames(door.rename, met)
    if not kept:
        raise DatasetError(f"no picture is left: {'; '.join(notes)}")
    classes = class_order((name for named in kept for name in named.shows), tuple(door.classes))
    if door.sound in classes and not door.classes:
        classes = (door.sound, *(name for name in classes if name != door.sound))
    return make_dataset(
        door.images,
        classes,
        [(named, None) for named in kept],
        source=door.source,
        labelled_by="person",
        notes=notes,
        sixteen_bit_white=door.sixteen_bit_white,
        report=door.report,
    )


def box_note(dataset: Dataset) -> str:
    """What marks that are boxes mean for a training; "" where there are none."""
    boxes = sum(mark.is_box for picture in dataset.pictures for mark in picture.marks)
    marks = sum(len(picture.marks) for picture in dataset.pictures)
    if not boxes:
        return ""
    return (
        f"{boxes} of {marks} marks are boxes: a box marks more than the defect, so that the network also "
        "learns sound surface beside it as the defect; polygons are exact"
    )


def _unknown(door: Door, named: Named, marked: MarkedPicture | None, stems: set[str]) -> str:
    """Why nobody knows whether a picture without a mark is sound; "" where a person says so."""
    if named.label == door.sound:
        return ""
    if marked is None:
        return f"pictures have no {door.thing} and were left out"
    if named.label:
        return f"pictures have no mark, are not of class {door.sound} and were left out"
    return door.unusable(marked, named, False, stems)


def _doubts(marked: MarkedPicture, size: Size) -> list[str]:
    """A predicate for every mark that cannot be right."""
    found = []
    for number, given in enumerate(marked.boxes, start=1):
        mark = given.scaled(size) if marked.relative else given
        doubt, why = mark.doubt(marked.stated or size, size)
        if doubt is Doubt.EMPTY and mark.polygons:  # a line marks its pixels
            doubt = None if mark.is_within(size) else Doubt.BEYOND
        if doubt:
            found.append(f"box {number} ({why}) {doubt.of_one}")
    return found


def _outlines(door: Door, marked: MarkedPicture, size: Size) -> list[Outline]:
    scaled = (mark.scaled(size) if marked.relative else mark for mark in marked.boxes)
    return [mark.outline(door.rename.get(mark.label, mark.label)) for mark in scaled]


def _class_of(door: Door, named: Named, marks: tuple[Outline, ...]) -> str:
    """The class of a picture with marks. Raises :class:`DatasetError` where its path says otherwise."""
    if not marks:
        if named.label in ("", door.sound):
            return door.sound
        raise DatasetError(f"{shown(named.path)} is of class {named.label}, and its marks say {door.sound}")
    areas: dict[str, float] = defaultdict(float)
    for mark in marks:
        areas[mark.label] += mark.area
    if named.label in areas:
        return named.label
    if named.label and not door.trust_boxes:
        raise DatasetError(
            f"{shown(named.path)} is of class {named.label} by its path and marked as {', '.join(areas)}; "
            "correct one of the two, or believe the marks by --trust-boxes"
        )
    return max(areas, key=lambda name: areas[name])
