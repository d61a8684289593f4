"""How far a figure can be trusted: intervals of a mean over seeds and of a share k of n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from retraining.errors import MetricsError


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the range that holds the true one with the asked-for confidence."""

    value: float
    low: float
    high: float
    n: int
    """Over how many seeds, or pictures."""


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean over seeds by Student's t; of one seed nothing is known: -inf to inf.

    Raises :class:`MetricsError` when there is no value at all or one is not finite.
    """
    from scipy.stats import t as student

    if not values or not all(math.isfinite(v) for v in values):
        raise MetricsError(
            f"{list(values)} have no interval; leave out the seeds whose run failed, and say so"
        )
    mean, n = fmean(values), len(values)
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = float(student.ppf(0.5 + confidence / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def wilson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """The share ``k`` of ``n`` by Wilson (1927); raises :class:`MetricsError` for no trial at all."""
    from scipy.special import ndtri  # the normal distribution's quantile; scipy.stats takes seconds to import

    if not 0 <= k <= n or n == 0:
        raise MetricsError(f"{k} of {n} is not a share")
    z = float(ndtri(0.5 + confidence / 2))
    share = k / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)), n)
