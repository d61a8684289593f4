"""The reader of pictures with masks: whole pictures, or windows around what the masks mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from retraining.data.listing import (
    CLASS_FOLDERS,
    SUFFIXES,
    Named,
    class_order,
    counted_note,
    list_named,
    make_dataset,
)
from retraining.data.manifest import Dataset, Window
from retraining.data.pixels import read_picture
from retraining.errors import DatasetError

_BRIGHT = 127
"""A mask's pixel is marked above this."""
_LEAST_AREA = 4
"""px; smaller specks of a mask are a codec's, not a defect's."""
_TRIES = 60


@dataclass(frozen=True, slots=True)
class Masks:
    """Pictures below ``images`` with masks of the same path or stem below ``masks``, bright on the defect.

    Without ``side``, whole pictures with the class that their path names. With ``side``, square windows: one
    around each marked spot (spots that fit into one window together share it) with the picture's class, and
    up to ``sound_windows`` a picture that touch no mark, with the class ``sound``. A picture without a mark
    must be of that class by its path; else nobody knows where its defect is, and it is left out with a note.
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

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        found, notes = list_named(self.images, self.pattern, self.rename, skip=self.masks)
        masks = _mask_files(self.masks)
        entries: list[tuple[Named, Window | None]] = []
        unmarked: list[str] = []
        for number, named in enumerate(found):
            mask = self._mask(named, masks)
            if not mask.any() and named.label != self.sound:
                unmarked.append(named.path)
                continue
            if not self.side:
                entries.append((named, None))
                continue
            if min(mask.shape) < self.side:
                raise DatasetError(
                    f"{named.path} is smaller than a window of {self.side} px; use a smaller side"
                )
            entries += [(named, window) for window in windows_around(mask, self.side)]
            sound = replace(named, label=self.sound)
            rng = np.random.default_rng([self.seed, number])
            entries += [(sound, window) for window in windows_away(mask, self.side, self.sound_windows, rng)]
        notes += counted_note(
            f"pictures have no mark, are not of class {self.sound} and were left out", unmarked
        )
        classes = class_order((named.label for named, _ in entries), tuple(self.classes))
        if self.sound in classes and not self.classes:
            classes = (self.sound, *(name for name in classes if name != self.sound))
        return make_dataset(self.images, classes, entries, source="mask", labelled_by="person", notes=notes)

    def _mask(self, named: Named, masks: Mapping[str, Path]) -> NDArray[np.uint8]:
        """The picture's mask ``(H, W)``, 1 where it is marked; all 0 where there is none."""
        whole = Path(named.path).with_suffix("").as_posix()
        path = masks.get(whole) or masks.get(Path(named.path).stem)
        size = read_picture(self.images / named.path, 1).shape[:2]
        if path is None:
            return np.zeros(size, np.uint8)
        mask = (read_picture(path, 1)[..., 0] > _BRIGHT).astype(np.uint8)
        if mask.shape != size:
            raise DatasetError(
                f"{path} is {mask.shape}, its picture {named.path} is {size}; repair one of them"
            )
        return mask


def windows_around(mask: NDArray[np.uint8], side: int) -> list[Window]:
    """Square windows that together show every marked spot of a mask ``(H, W)``, each at least in part.

    A spot larger than a window is shown by one around its middle.
    """
    count, _, boxes, centres = cv2.connectedComponentsWithStats(mask)
    order = sorted(range(1, count), key=lambda i: -int(boxes[i, cv2.CC_STAT_AREA]))
    found: list[Window] = []
    for i in order:
        left, top, width, height, area = (int(v) for v in boxes[i])
        shown = any(
            r <= top and c <= left and top + height <= r + side and left + width <= c + side
            for r, c, _, _ in found
        )
        if shown or area < _LEAST_AREA:
            continue
        middle = (top + height // 2, left + width // 2)
        if max(height, width) > side:
            middle = (round(float(centres[i][1])), round(float(centres[i][0])))
        row, column = (
            min(max(at - side // 2, 0), limit - side) for at, limit in zip(middle, mask.shape, strict=True)
        )
        if (row, column, side, side) not in found:
            found.append((row, column, side, side))
    return found


def windows_away(mask: NDArray[np.uint8], side: int, count: int, rng: np.random.Generator) -> list[Window]:
    """Up to ``count`` windows that touch no marked pixel and overlap one another by less than half a side."""
    found: list[Window] = []
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        row, column = (int(rng.integers(0, limit - side + 1)) for limit in mask.shape)
        apart = all(max(abs(row - r), abs(column - c)) >= side // 2 for r, c, _, _ in found)
        if apart and not mask[row : row + side, column : column + side].any():
            found.append((row, column, side, side))
    return found


def _mask_files(root: Path) -> dict[str, Path]:
    """Masks by their path below ``root`` without suffix, and by stem where stems tell them apart."""
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder; give the folder of the masks")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    stems = Counter(p.stem for p in files)
    by_stem = {p.stem: p for p in files if stems[p.stem] == 1}
    return by_stem | {p.relative_to(root).with_suffix("").as_posix(): p for p in files}
