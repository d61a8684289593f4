"""The reader of pictures with masks: whole pictures, or windows around what the masks mark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from drivers.cameras.picture_files import pictures_in, shown
from retraining.data.listing import (
    CLASS_FOLDERS,
    Named,
    class_order,
    counted_note,
    list_named,
    make_dataset,
)
from retraining.data.manifest import Dataset, Window
from retraining.data.windows import LEAST_AREA, windows_around, windows_away
from retraining.errors import DatasetError
from retraining.surfaces.pairing import pair
from retraining.surfaces.reading import (
    Reporter,
    for_each,
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
    """

    images: Path
    masks: Path
    pattern: str = CLASS_FOLDERS
    """Regular expression for a path below ``images``, with groups ``label`` and perhaps ``group``."""
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

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        files = _mask_files(self.masks, self.images)
        everything, notes = list_named(self.images, self.pattern, self.rename, skip=self.masks)
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
        entries: list[tuple[Named, Window | None]] = []
        unmarked = f"pictures have no mark or no mask, are not of class {self.sound} and were left out"
        fate = "give windows away from the mark only" if self.side else "were left out"
        left: dict[str, list[str]] = defaultdict(list)
        """By reason, what is left out or doubtful."""
        left["masks belong to no picture"] += pairs.strangers
        left["masks fit several pictures, which were left out; give each picture a mask of its own path"] += [
            f"{file} ({', '.join(several)})" for file, several in pairs.unclear.items()
        ]
        for named, look in zip(found, seen, strict=True):
            is_sound = named.label == self.sound
            if look.marked > _MOST:
                left[f"masks mark more than {_MOST:.0%} of their picture; is black the mark?"].append(
                    named.path
                )
            if look.marked and is_sound:
                contradiction = (
                    f"pictures are of class {self.sound} and their masks mark a defect: they {fate}"
                )
                left[contradiction].append(named.path)
            if not look.marked and not is_sound:
                left[unmarked].append(named.path)
            elif not self.side:
                entries += [(named, None)] if bool(look.marked) != is_sound else []
            else:
                around = [] if is_sound else look.around
                if look.marked and not is_sound and not around:
                    specks = (
                        f"pictures have marks of less than {LEAST_AREA} px only and give no window of them"
                    )
                    left[specks].append(named.path)
                entries += [(named, window) for window in around]
                entries += [(replace(named, label=self.sound), window) for window in look.away]
        for reason, names in left.items():
            notes += counted_note(reason, names)
        labels = sorted({named.label for named in found})
        if left[unmarked] and self.sound not in labels:
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

    def _look(self, number: int, named: Named, file: str | None) -> _Look:
        """Read the mask of a picture; one without a mask has no mark."""
        picture = self.images / named.path
        if file is None:
            mask = np.zeros(size_and_turn(picture, self.sixteen_bit_white)[0], np.uint8)
        else:
            mask = read_mask_of(picture, self.masks / file, self.sixteen_bit_white)
        if not self.side:
            return _Look(float(mask.mean()), [], [])
        if min(mask.shape) < self.side:
            raise DatasetError(
                f"{shown(named.path)} is smaller than a window of {self.side} px; use a smaller side"
            )
        rng = np.random.default_rng([self.seed, number])
        away = windows_away(mask, self.side, self.sound_windows, rng)
        return _Look(float(mask.mean()), windows_around(mask, self.side), away)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of a picture and its mask, which is as large as the picture."""

    marked: float
    """Share of the picture."""
    around: list[Window]
    """Windows around the marks."""
    away: list[Window]
    """Windows without a mark."""


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
