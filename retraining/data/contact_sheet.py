"""A picture of a data set for people to look at: some samples of each class, one row per class."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import write_image
from retraining.data.manifest import Dataset
from retraining.data.pixels import PictureSet, load_pixels, picture_pixels
from retraining.errors import DatasetError

_MARGIN = 170
"""px for the class's name."""
_GAP = 4
_SIDE = 96


def contact_sheet(dataset: Dataset, path: Path, *, per_class: int = 10, seed: int = 1) -> Path:
    """Write ``per_class`` samples of each class as one PNG; returns ``path``."""
    rng = np.random.default_rng(seed)
    chosen = []
    for name in dataset.classes:
        own = [p for p in dataset.pictures if p.label == name]
        chosen += [own[i] for i in sorted(rng.permutation(len(own))[:per_class])]
    whole = all(p.window is None for p in chosen)
    tall = whole and _is_tall(dataset)
    size = (2 * _SIDE, _SIDE) if tall else (_SIDE, _SIDE)
    shown = load_pixels(dataset.with_pictures(chosen), size, 3, labelled_by={p.labelled_by for p in chosen})
    return write_sheet(shown, path, {name: str(count) for name, count in dataset.count().items()})


def write_sheet(shown: PictureSet, path: Path, captions: dict[str, str] | None = None) -> Path:
    """Write all pictures of a set as one PNG, one row per class, with the class's name and a caption."""
    most = max(shown.count().values(), default=0)
    if most == 0:
        raise DatasetError("the data set has no picture to show")
    height, width = shown.pixels.shape[1:3]
    sheet = np.full((len(shown.classes) * (height + _GAP), _MARGIN + most * (width + _GAP), 3), 255, np.uint8)
    for k, name in enumerate(shown.classes):
        top = k * (height + _GAP)
        _write(sheet, name, top + 20)
        _write(sheet, (captions or {}).get(name, ""), top + 40)
        for column, pixels in enumerate(shown.of_class(k).pixels):
            left = _MARGIN + column * (width + _GAP)
            sheet[top : top + height, left : left + width] = pixels
    write_image(path, sheet)
    return path


def _is_tall(dataset: Dataset) -> bool:
    height, width, _ = picture_pixels(dataset, dataset.pictures[0], 1).shape
    return bool(height > 1.5 * width)


def _write(sheet: NDArray[np.uint8], text: str, baseline: int) -> None:
    for number, line in enumerate(text[i : i + 24] for i in range(0, len(text), 24)):
        at = (4, baseline + 14 * number)
        cv2.putText(sheet, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
