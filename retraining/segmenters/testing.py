"""A trained segmenter on test pictures: figures, and overlays for people to look at."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from retraining.runs.sheets import tile, write_picture
from retraining.segmenters.loop import segment
from retraining.segmenters.pictures import MaskedPictures
from retraining.segmenters.scores import SegmenterScore, score_masks
from station.files import write_json

THRESHOLD = 0.5
"""A pixel is called defective from this probability on."""
_SHEET = 24
_COLUMNS = 6
_TRUTH = (0, 200, 0)
_FOUND = (0, 0, 255)
"""BGR: where only the truth marks a pixel, and where only the network does; both: yellow."""


def try_segmenter(network: nn.Module, pictures: MaskedPictures, folder: Path) -> SegmenterScore:
    """Segment the pictures; write ``result.json``, ``overlays/NAME.png`` and a sheet of the worst.

    In an overlay green is what was missed, red a false alarm, and yellow what was found. Raises nothing of
    its own.
    """
    predicted = segment(network, pictures.pixels) >= THRESHOLD
    truth = pictures.masks.astype(bool)
    score = score_masks(truth, predicted, pictures.groups)
    drawn = [
        overlay(pixels, own, found)
        for pixels, own, found in zip(pictures.pixels, truth, predicted, strict=True)
    ]
    for number, (name, picture) in enumerate(zip(pictures.names, drawn, strict=True), 1):
        write_picture(picture, folder / "overlays" / f"{number:04d}-{Path(name).stem}.png")
    worst = np.argsort(score.iou)[:_SHEET]
    write_picture(tile(np.stack([drawn[at] for at in worst]), _COLUMNS), folder / "worst.png")
    figures = {
        **asdict(score), "accuracy": score.accuracy, "precision": score.precision, "recall": score.recall,
        "pictures": list(pictures.names), "threshold": THRESHOLD,
    }  # fmt: skip
    write_json(folder / "result.json", figures)
    return score


def overlay(
    pixels: NDArray[np.uint8], truth: NDArray[np.bool_], found: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The picture ``(H, W, C)`` as BGR, half covered by colour where truth or prediction mark it."""
    grey = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    colours = truth[..., None] * np.array(_TRUTH) + found[..., None] * np.array(_FOUND)
    marked = (truth | found)[..., None]
    return np.where(marked, (grey.astype(np.int64) + colours) // 2, grey).clip(0, 255).astype(np.uint8)


def score_table(score: SegmenterScore) -> str:
    """The figures as a Markdown table, and the confusion of pixels."""
    (right, alarms), (missed, found) = score.confusion
    return "\n".join([
        "| IoU per picture, mean | 95 % interval | pixels right | precision | recall | pictures |",
        "|---|---|---|---|---|---|",
        f"| {score.mean_iou:.4f} | {score.low:.4f} to {score.high:.4f} | {score.accuracy:.2%} | "
        f"{score.precision:.4f} | {score.recall:.4f} | {len(score.iou)} |",
        "",
        "| pixels | called background | called defect |",
        "|---|---|---|",
        f"| background | {right} | {alarms} |",
        f"| defect | {missed} | {found} |",
    ])  # fmt: skip
