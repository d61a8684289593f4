"""The reader of pictures with masks: whole pictures, or windows around what the masks mark.

A mask is bright on the defect, or its values or colours name the class of every pixel (``class_of``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from drivers.cameras.picture_files import pictures_in, shown
from retraining.data.listing import (
    CLASS_FOLDERS,
    NO_CLASS,
    Named,
    class_order,
    counted_note,
    list_named,
    make_dataset,
    unmet_renames,
)
from retraining.data.manifest import Dataset, Window
from retraining.data.windows import LEAST_AREA, windows_around, windows_away
from retraining.errors import DatasetError
from retraining.surfaces.class_masks import ClassMasks
from retraining.surfaces.pairing import pair
from retraining.surfaces.reading import (
    Reporter,
    for_each,
    read_mask,
    read_mask_of,
    silent,
    size_and_turn,
    stage,
)

_MOST = 0.5
"""Share of a picture; a mask that marks more is probably black on the defect."""


@dataclass(frozen=True, slots=True)
class Masks:
    """Pictures below ``images`` with masks of the same path below ``masks``, bright on the defect.

    Which mask belongs to which picture is told in :mod:`retraining.surfaces.pairing`.

    Without ``side``, whole pictures with the class that their path names. With ``side``, square windows: one
    around each marked spot (spots that fit into one window together share it) with the picture's class, and
    up to ``sound_windows`` per picture that touch no mark, with the class ``sound``. A picture without a mark
    must be of that class by its path; else nobody knows where its defect is, and it is left out with a note.
    A picture of that class with a mark contradicts itself: it gives windows away from the mark only, with a
    note. Masks that belong to no picture are noted.

    With ``class_of``, the class is that of the mask, and a path need not name any. A picture whose path names
    another class is left out, and so are a whole picture and a window that show several classes. A picture
    without a mask is not labelled, unless its path names the sound class.
    """

    images: Path
    masks: Path
    pattern: str = ""
    """Regular expression for a path below ``images``, with groups ``label`` and perhaps ``group``; "" for one
    sub-folder per class, or with ``class_of`` for paths that name no class."""
    classes: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    sound: str = "sound"
    """The class of what no mask marks."""
    side: int = 0
    """px of a window; 0 for whole pictures."""
    sound_windows: int = 1
    seed: int = 1
    """Where sound windows lie."""
    sixteen_bit_white: int | None = None
    """The value that is white in 16-bit files; without it such files are refused."""
    report: Reporter = silent
    class_of: ClassMasks | None = None
    """What the pixels of masks of several classes mean; without it masks are bright on the defect."""

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        files = _mask_files(self.masks, self.images)
        told = self.class_of is not None
        pattern = self.pattern or (NO_CLASS if told else CLASS_FOLDERS)
        everything, notes = list_named(self.images, pattern, self.rename, skip=self.masks, unlabelled=told)
        if told:
            own = {named.label for named in everything}
            notes += unmet_renames(self.rename, {label for label, name in self.rename.items() if name in own})
        pairs = pair((named.path for named in everything), files, masks=True)
        if files and not pairs.of:
            raise DatasetError(
                f"none of the {len(files)} masks below {self.masks}, such as {shown(files[0])}, belongs to a "
                f"picture, such as {shown(everything[0].path)}; give both the same path below their folders"
            )
        unclear = {picture for several in pairs.unclear.values() for picture in several} - set(pairs.of)
        found = [named for named in everything if named.path not in unclear]
        seen = for_each(
            lambda number: self._look(number, found[number], pairs.of.get(found[number].path)),
            range(len(found)),
            stage(self.report, "masks read", len(found)),
        )
        left: dict[str, list[str]] = defaultdict(list)
        """By reason, what is left out or doubtful."""
        left["masks belong to no picture"] += pairs.strangers
        left["masks fit several pictures, which were left out; give each picture a mask of its own path"] += [
            f"{file} ({', '.join(several)})" for file, several in pairs.unclear.items()
        ]
        entries: list[tuple[Named, Window | None]] = []
        for named, look in zip(found, seen, strict=True):
            entries += self._entries(named, look, has_mask=named.path in pairs.of, left=left)
        if self.class_of is not None:
            unmet = (
                set(self.class_of.names) - {label for look in seen for label in look.labels} - {self.sound}
            )
            left["classes of --class-of are in no mask"] += sorted(unmet)
        for reason, names in left.items():
            notes += counted_note(reason, names)
        labels = sorted({named.label for named in found} - {""})
        if left[self._unmarked] and labels and self.sound not in labels:
            notes.append(
                f"no picture has the class {self.sound} by its path; if one of {', '.join(labels)} is the "
                "one without defects, name it by --sound"
            )
        classes = class_order((named.label for named, _ in entries), tuple(self.classes))
        if self.sound in classes and not self.classes:
            classes = (self.sound, *(name for name in classes if name != self.sound))
        return make_dataset(
            self.images,
            classes,
            entries,
            source="mask",
            labelled_by="person",
            notes=notes,
            sixteen_bit_white=self.sixteen_bit_white,
            report=self.report,
        )

    @property
    def _unmarked(self) -> str:
        return f"pictures have no mark or no mask, are not of class {self.sound} and were left out"

    def _entries(
        self, named: Named, look: _Look, *, has_mask: bool, left: dict[str, list[str]]
    ) -> list[tuple[Named, Window | None]]:
        """What one picture gives: itself, or its windows; what it does not give goes to ``left``."""
        is_sound = named.label == self.sound
        if look.marked > _MOST:
            left[f"masks mark more than {_MOST:.0%} of their picture; is black the mark?"].append(named.path)
        if look.labels and is_sound:
            fate = "give windows away from the mark only" if self.side else "were left out"
            left[f"pictures are of class {self.sound} and their masks mark a defect: they {fate}"].append(
                named.path
            )
        if not named.label and not has_mask:
            nobody = (
                "pictures have no mask, so that nobody labelled them, and were left out; give the sound ones "
                "black masks, or name them by --pattern"
            )
            left[nobody].append(named.path)
            return []
        if not look.labels and named.label not in ("", self.sound):
            left[self._unmarked].append(named.path)
            return []
        others = [label for label in look.labels if named.label not in ("", self.sound, label)]
        if others:
            left["pictures have another class than their masks and were left out"].append(
                f"{named.path} ({', '.join(others)})"
            )
            return []
        if self.side:
            around = [] if is_sound else look.around
            if look.labels and not is_sound and not around and not look.mixed:
                specks = f"pictures have marks of less than {LEAST_AREA} px only and give no window of them"
                left[specks].append(named.path)
            left["windows show marks of several classes and were left out"] += look.mixed
            return [
                *((replace(named, label=label), window) for label, window in around),
                *((replace(named, label=self.sound), window) for window in look.away),
            ]
        if len(look.labels) > 1:
            left[
                "pictures have marks of several classes and were left out; --side gives windows of them"
            ].append(f"{named.path} ({', '.join(look.labels)})")
            return []
        if bool(look.labels) == is_sound and named.label:
            return []
        return [(replace(named, label=look.labels[0] if look.labels else self.sound), None)]

    def _look(self, number: int, named: Named, file: str | None) -> _Look:
        """Read the mask of a picture; one without a mask has no mark."""
        picture = self.images / named.path
        told = self.class_of
        classes: tuple[str, ...] = (self.sound, named.label)
        if told is not None:
            classes = (self.sound, *(name for name in told.names if name != self.sound))
        if file is None:
            mask = np.zeros(size_and_turn(picture, self.sixteen_bit_white)[0], np.uint8)
        else:
            read = read_mask if told is None else partial(told.read, classes=classes)
            mask = read_mask_of(picture, self.masks / file, self.sixteen_bit_white, read)
        marked = np.asarray(mask > 0, np.uint8)
        met = [int(index) for index in np.unique(mask) if index]
        labels = tuple(classes[index] for index in met)
        if not self.side:
            return _Look(float(marked.mean()), labels)
        if min(mask.shape) < self.side:
            raise DatasetError(
                f"{shown(named.path)} is smaller than a window of {self.side} px; use a smaller side"
            )
        around: list[tuple[str, Window]] = []
        mixed: list[str] = []
        for index in met:
            for window in windows_around(np.asarray(mask == index, np.uint8), self.side):
                top, left, height, width = window
                there = set(np.unique(mask[top : top + height, left : left + width]).tolist()) - {0, index}
                if there:
                    several = ", ".join(classes[one] for one in sorted(there | {index}))
                    mixed.append(f"{named.path} at x {left}, y {top} ({several})")
                else:
                    around.append((classes[index], window))
        rng = np.random.default_rng([self.seed, number])
        away = windows_away(marked, self.side, self.sound_windows, rng)
        return _Look(float(marked.mean()), labels, around, away, mixed)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of a picture and its mask, which is as large as the picture."""

    marked: float
    """Share of the picture."""
    labels: tuple[str, ...]
    """The classes that the mask marks; of a mask that is bright on the defect, the picture's own."""
    around: list[tuple[str, Window]] = field(default_factory=list)
    """Windows around the marks, each with its class."""
    away: list[Window] = field(default_factory=list)
    """Windows without a mark."""
    mixed: list[str] = field(default_factory=list)
    """Windows that show marks of several classes, in words."""


def _mask_files(root: Path, images: Path) -> list[str]:
    """The pictures below ``root``, by their POSIX paths."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; name the folder of the masks")
    if root.samefile(images) if images.is_dir() else False:
        raise DatasetError(
            f"{root} holds pictures and masks together; move the masks to a folder of their own"
        )
    files = [path.relative_to(root).as_posix() for path in pictures_in(root, recursive=True)]
    if not files:
        raise DatasetError(f"{root} holds no masks; name the folder of the masks")
    return files
