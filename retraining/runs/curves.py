"""The curves of a training, as a picture."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np


def draw_curves(log: Path, picture: Path) -> None:
    """Loss, accuracy and validation over a classifier's steps, from its run's ``log.csv``, as a PNG."""
    rows, figure, left, right = _panels(log)
    for axis, name in ((left, "loss"), (left, "cross_entropy"), (right, "accuracy"), (right, "false_alarms")):
        _draw_smoothed(axis, rows, name)
    if marks := _known(rows, "validation"):
        right.plot(*zip(*marks, strict=True), "o-", label="validation score")
    left.set_yscale("log")
    left.legend()
    right.legend()
    figure.savefig(picture, dpi=110)


def draw_pair_curves(log: Path, picture: Path) -> None:
    """Losses and diversity over an adversarial pair's steps, from its run's ``log.csv``, as a PNG."""
    rows, figure, left, right = _panels(log)
    for name in ("critic_loss", "generator_loss", "penalty"):
        _draw_smoothed(left, rows, name)
    if checks := _known(rows, "diversity"):
        right.plot(*zip(*checks, strict=True), label="diversity (real pictures: 1)")
        right.set_ylim(bottom=0)
        right.legend()
    left.legend()
    figure.savefig(picture, dpi=110)


def _panels(log: Path) -> tuple[list[dict[str, str]], Any, Any, Any]:
    """The log's rows, and a figure with two axes over the steps."""
    from matplotlib.figure import Figure

    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis in (left, right):
        axis.set_xlabel("step")
    return rows, figure, left, right


def _draw_smoothed(axis: Any, rows: list[dict[str, str]], name: str) -> None:
    """A column as a moving average; nothing where it has no numbers."""
    width = max(1, min(25, len(rows) // 4))
    values = np.convolve([float(row[name]) for row in rows], np.ones(width) / width, "valid")
    if np.isfinite(values).any():
        steps = [int(row["step"]) for row in rows]
        axis.plot(steps[width - 1 :], values, label=name.replace("_", " "))


def _known(rows: list[dict[str, str]], name: str) -> list[tuple[int, float]]:
    """(step, value) where a column that is measured now and then has a number."""
    return [(int(row["step"]), float(row[name])) for row in rows if not math.isnan(float(row[name]))]
