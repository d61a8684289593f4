"""Shares of few counts with their 95 % interval: three escapes of forty parts are not "7.5 %"."""

from __future__ import annotations

import math
from statistics import NormalDist

from retraining.metrics.intervals import wilson


def ends(count: int, of: int) -> tuple[float, float]:
    """The ends of Wilson's interval of a share, 0..1; of nothing, (0, 1): nothing is known.

    It is right for counts of 0 and for few parts: no escape among 100 parts leaves rates up to 3.7 % open.
    """
    if of == 0:
        return 0.0, 1.0
    interval = wilson(count, of)
    return interval.low, interval.high


def parts_needed(rate: float) -> int:
    """How many parts without a single hit it takes for the interval to end at ``rate`` or below."""
    z = NormalDist().inv_cdf(0.975)
    return math.ceil(z * z * (1 - rate) / rate)


def shown(count: int, of: int) -> str:
    """``3 of 40 (7.5%, 2.6 to 19.9)``."""
    if of == 0:
        return "0 of 0"
    low, high = ends(count, of)
    return f"{count} of {of} ({count / of:.1%}, {100 * low:.1f} to {100 * high:.1f})"
