"""Pictures of a run: sheets of samples and curves."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_GAP = 2
"""px between the pictures of a sheet."""
_PAPER = 255


def tile(pictures: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """``(N, H, W, C)`` row by row on white: one picture, about ``(rows * H, columns * W, C)``."""
    count, height, width, channels = pictures.shape
    rows = math.ceil(count / columns)
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels)
    sheet = np.full(shape, _PAPER, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def side_by_side(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two sheets ``(H, W, C)`` with a wide gap between them, the shorter one filled up with white."""
    height, channels = max(left.shape[0], right.shape[0]), left.shape[2]
    gap = np.full((height, 8 * _GAP, channels), _PAPER, np.uint8)
    filled = [
        np.concatenate([s, np.full((height - s.shape[0], s.shape[1], channels), _PAPER, np.uint8)])
        for s in (left, right)
    ]
    return np.concatenate([filled[0], gap, filled[1]], axis=1)


def write_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write ``(H, W, C)`` as PNG, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"could not write {path}")


def draw_pair_curves(log: Path, picture: Path) -> None:
    """Losses and diversity over the steps of ``log.csv``, as a PNG."""
    from matplotlib.figure import Figure

    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(r["step"]) for r in rows])
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    width = max(1, min(25, len(rows) // 4))
    for name in ("critic_loss", "generator_loss", "penalty"):
        values = np.convolve([float(r[name]) for r in rows], np.ones(width) / width, "valid")
        left.plot(steps[width - 1 :], values, label=name.replace("_", " "))
    checks = [(int(r["step"]), float(r["diversity"])) for r in rows if not math.isnan(float(r["diversity"]))]
    if checks:
        right.plot(*zip(*checks, strict=True), label="diversity (real pictures: 1)")
        right.set_ylim(bottom=0)
        right.legend()
    left.legend()
    for axis in (left, right):
        axis.set_xlabel("step")
    figure.savefig(picture, dpi=110)
