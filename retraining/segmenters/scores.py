"""How well predicted masks fit: intersection over union of each picture, and the confusion of all pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class SegmenterScore:
    """What a segmenter makes of the test pictures; shares are 0..1."""

    iou: tuple[float, ...]
    """Of each picture; 1 where neither truth nor prediction marks anything."""
    mean_iou: float
    low: float
    high: float
    """95 % interval of the mean, by drawing groups of pictures again."""
    confusion: tuple[tuple[int, int], tuple[int, int]]
    """Pixels: truth down (background, defect), prediction across."""

    @property
    def accuracy(self) -> float:
        """The share of pixels that are right."""
        (right, alarms), (missed, found) = self.confusion
        return (right + found) / max(1, right + alarms + missed + found)

    @property
    def precision(self) -> float:
        """Of the pixels called defective, those that are; 0 where none is called so."""
        (_, alarms), (_, found) = self.confusion
        return found / max(1, alarms + found)

    @property
    def recall(self) -> float:
        """Of the defective pixels, those called so; 0 where there is none."""
        _, (missed, found) = self.confusion
        return found / max(1, missed + found)


def intersection_over_union(truth: Masks, predicted: Masks) -> NDArray[np.float64]:
    """``(N,)`` of masks ``(N, H, W)``; of two empty masks it is 1."""
    both = (truth & predicted).sum((1, 2))
    either = (truth | predicted).sum((1, 2))
    return np.where(either > 0, both / np.maximum(1, either), 1.0)


def score_masks(truth: Masks, predicted: Masks, groups: tuple[str, ...], seed: int = 1) -> SegmenterScore:
    """The figures of masks ``(N, H, W)``; pictures of a group are drawn together, because they look alike."""
    iou = intersection_over_union(truth, predicted)
    confusion = tuple(
        (int((row & ~predicted).sum()), int((row & predicted).sum())) for row in (~truth, truth)
    )
    names, of = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(of, iou), np.bincount(of)
    drawn = np.random.default_rng(seed).integers(len(names), size=(_RESAMPLES, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = (float(v) for v in np.quantile(means, (0.025, 0.975)))
    return SegmenterScore(tuple(iou.tolist()), float(iou.mean()), low, high, (confusion[0], confusion[1]))
