"""How well a score puts defective parts above good ones, whatever the threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def average_precision(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Area under the precision-recall steps; equal scores count as one step. 0 without a defective part."""
    if not any(truth):
        return 0.0
    order = np.argsort(scores)[::-1]
    ranked = np.asarray(scores)[order]
    hits = np.cumsum(np.asarray(truth)[order])
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    precision = (hits / np.arange(1, len(hits) + 1))[last_of_tie]
    recall = (hits / hits[-1])[last_of_tie]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def area_under_roc(good: Sequence[float], defective: Sequence[float]) -> float:
    """The chance that a defective part scores above a good one; NaN where there are none of one kind."""
    if not len(good) or not len(defective):
        return float("nan")
    low, high = np.asarray(good)[None, :], np.asarray(defective)[:, None]
    return float((high > low).mean() + 0.5 * (high == low).mean())
