"""The curves of a classifier's training, as a picture."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np


def draw_curves(log: Path, picture: Path) -> None:
    """Loss, accuracy and validation over the steps, from a run's ``log.csv``, as a PNG."""
    from matplotlib.figure import Figure

    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(r["step"]) for r in rows])
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    width = max(1, min(25, len(rows) // 4))
    for axis, name in ((left, "loss"), (left, "cross_entropy"), (right, "accuracy"), (right, "false_alarms")):
        values = np.convolve([float(r[name]) for r in rows], np.ones(width) / width, "valid")
        if np.isfinite(values).any():
            axis.plot(steps[width - 1 :], values, label=name.replace("_", " "))
        axis.set_xlabel("step")
    marks = [(int(r["step"]), float(r["validation"])) for r in rows if not math.isnan(float(r["validation"]))]
    if marks:
        right.plot(*zip(*marks, strict=True), "o-", label="validation score")
    left.set_yscale("log")
    left.legend()
    right.legend()
    figure.savefig(picture, dpi=110)
