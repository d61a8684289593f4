"""Shares of few counts with their 95 % interval: three escapes of forty parts are not "7.5 %"."""

from __future__ import annotations

import math

_Z95 = 1.959964


def wilson(count: int, of: int, z: float = _Z95) -> tuple[float, float]:
    """The interval of a share ``count / of``, both ends in 0..1 (E. B. Wilson, JASA 22, 1927); (0, 1) of 0.

    Unlike the normal approximation it is right for counts of 0 and for few parts: no escape among 100 parts
    leaves escape rates up to 3.7 % open.
    """
    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is no share")
    if of == 0:
        return 0.0, 1.0
    share, spread = count / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def parts_needed(rate: float, z: float = _Z95) -> int:
    """How many parts without a single hit it takes for the interval to end below ``rate``."""
    if not 0.0 < rate < 1.0:
        raise ValueError(f"a rate of {rate} is not within 0 to 1")
    return math.ceil(z * z * (1 - rate) / rate)


def shown(count: int, of: int) -> str:
    """``3 of 40 (7.5 %, 2.6 to 19.9)``."""
    if of == 0:
        return "0 of 0"
    low, high = wilson(count, of)
    return f"{count} of {of} ({count / of:.1%}, {100 * low:.1f} to {100 * high:.1f})"
