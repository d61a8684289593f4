"""How sure a network may be: one temperature for all classes.

Dividing log-probabilities by T leaves the most probable class as it is and makes the probabilities mean what
they say: of all patches given 0.9, nine in ten are right (Guo et al., On Calibration of Modern Neural
Networks, ICML 2017). The recipe takes T as ``decision.temperature``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retraining.errors import DatasetError
from station.decision import tempered

LOWEST, HIGHEST = 0.05, 20.0
"""What a recipe takes."""
_TINY = 1e-30
_BINS = 15


@dataclass(frozen=True, slots=True)
class Temperature:
    """A fitted temperature and what it improves."""

    value: float
    patches: int
    nll_before: float
    """Mean negative log-likelihood at T = 1, nats."""
    nll_after: float
    ece_before: float
    """Expected calibration error at T = 1 (Guo et al., equation 3, 15 bins)."""
    ece_after: float


def fit_temperature(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> Temperature:
    """The T that minimises the negative log-likelihood of ``labels`` (M,) under ``scores`` (M, K).

    The likelihood is concave in 1 / T, so golden-section search finds it; rounded to three decimals.
    Raises :class:`DatasetError` where fewer than two classes are shown.
    """
    if len(np.unique(labels)) < 2:
        raise DatasetError(
            "a temperature needs patches of at least two classes; add some, or use --no-temperature"
        )
    logs = np.log(np.maximum(np.asarray(scores, np.float64), _TINY))

    def loss(inverse: float) -> float:
        return _nll(logs * inverse, labels)

    low, high = 1 / HIGHEST, 1 / LOWEST
    ratio = (5**0.5 - 1) / 2
    first, second = high - ratio * (high - low), low + ratio * (high - low)
    at_first, at_second = loss(first), loss(second)
    while high - low > 1e-5:
        if at_first <= at_second:
            high, second, at_second = second, first, at_first
            first = high - ratio * (high - low)
            at_first = loss(first)
        else:
            low, first, at_first = first, second, at_second
            second = low + ratio * (high - low)
            at_second = loss(second)
    value = float(np.clip(round(2 / (low + high), 3), LOWEST, HIGHEST))
    return Temperature(
        value,
        len(labels),
        loss(1.0),
        loss(1 / value),
        expected_calibration_error(scores, labels),
        expected_calibration_error(tempered(scores, value), labels),
    )


def reliability(
    scores: NDArray[np.float32] | NDArray[np.float64], labels: NDArray[np.int64]
) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and number of patches, for each of 15 bins of confidence that has any."""
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    found = []
    for number in range(_BINS):
        own = bins == number
        if own.any():
            found.append((float(confidence[own].mean()), float(right[own].mean()), int(own.sum())))
    return found


def expected_calibration_error(
    scores: NDArray[np.float32] | NDArray[np.float64], labels: NDArray[np.int64]
) -> float:
    """Mean distance of confidence and accuracy over the bins (Guo et al., equation 3)."""
    return sum(count * abs(sure - right) for sure, right, count in reliability(scores, labels)) / len(labels)


def _nll(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    top = logits.max(axis=1, keepdims=True)
    norm = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float((norm - logits[np.arange(len(labels)), labels]).mean())
