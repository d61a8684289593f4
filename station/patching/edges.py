"""Where a bright product ends and a dark background begins, by majority along the edge.

An edge is searched in a band around a coarse guess, in 16 blocks along it. In each block the grey
levels just inside and just outside are medians, and a line belongs to the product when most of its
sampled pixels are above the half of the two: hot pixels, dust and glare are outvoted, uneven light is
met with local levels. The blocks' positions give a line by the Theil-Sen estimator (the median of all
slopes), which bears with up to 29 % of blocks that lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.patching.compiled import compiled, grey, types

BLOCKS = 16
SAMPLES = 15
"""Pixels sampled along the edge, in each block."""

REACH = 80
"""How far from the coarse guess the edge is searched, px; 1.5 degrees over 3584 rows are +-47 px."""

BENT_PX = 1.5
"""How far from the edge's line a block of it may lie, px."""

NOT_FOUND = -1.0


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge: position + slope * (along - middle), px; ``spread`` is the blocks' median deviation."""

    position: float
    slope: float
    middle: float
    spread: float
    found: float
    """The fraction of blocks in which the edge was seen."""
    bent: float
    """The fraction of blocks in which it was not seen, or not within ``BENT_PX`` of its line."""


@dataclass(frozen=True, slots=True)
class Side:
    """Which side of the product is searched: across it (the axis of the position) and along it."""

    vertical: bool
    """A left or right edge, whose position is an x."""
    leading: bool
    """The left or top edge: the background lies before it."""


def find_edge(
    pixels: NDArray[np.uint8],
    side: Side,
    guess: int,
    along: tuple[int, int],
    background: float,
) -> Edge:
    """The product's edge near ``guess`` between ``along[0]`` and ``along[1]``, px.

    ``pixels`` is uint8 ``(H, W)`` or ``(H, W, C)``, C-contiguous; the middle channel is looked at. The
    position of a leading edge is the first line of the product, of a trailing edge the first one after
    it. ``background`` is the grey level that lies beyond the frame's own edge.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    line_step, step = pixels.shape[1] * channels, channels
    positions = np.empty(BLOCKS, dtype=np.float64)
    centres = np.empty(BLOCKS, dtype=np.float64)
    across, alongside, size = (
        (step, line_step, pixels.shape[1]) if side.vertical else (line_step, step, pixels.shape[0])
    )
    _majority(
        pixels.reshape(-1)[channels // 2 :],
        across,
        alongside,
        size,
        guess,
        side.leading,
        along[0],
        along[1],
        background,
        positions,
        centres,
    )
    seen = positions != NOT_FOUND
    middle = (along[0] + along[1] - 1) / 2
    found = float(np.count_nonzero(seen)) / BLOCKS
    if found < 0.5:
        return Edge(NOT_FOUND, 0.0, middle, 0.0, found, 1.0)
    slope, position, spread = _theil_sen(centres[seen] - middle, positions[seen])
    off = np.abs(positions - position - slope * (centres - middle)) > BENT_PX
    return Edge(position, slope, middle, spread, found, float(np.count_nonzero(off | ~seen)) / BLOCKS)


@compiled(types.float64, types.uint8[:, ::1], types.intp, types.intp)
def _median(window: Any, first: Any, last: Any) -> Any:
    """The median grey level of the lines first..last of the window, from every third sample."""
    counts = np.zeros(256, dtype=np.int32)
    total = 0
    for s in range(0, window.shape[0], 3):
        for k in range(first, last):
            counts[window[s, k]] += 1
            total += 1
    seen = 0
    for level in range(256):
        seen += counts[level]
        if 2 * seen > total:
            return float(level)
    return 255.0


@compiled(types.intp, types.uint8[:, ::1], types.float64)
def _crossing(window: Any, threshold: Any) -> Any:
    """The first line whose majority is above the threshold and that is followed by others; -1 if none."""
    samples, band = window.shape
    bar = np.uint8(threshold)
    votes = np.zeros(band, dtype=np.uint8)
    for s in range(samples):
        for k in range(band):
            votes[k] += np.uint8(window[s, k] > bar)
    for k in range(band - 8):
        if 2 * votes[k] > samples:
            following = 0
            for n in range(8):
                following += 2 * votes[k + n] > samples
            if following >= 6:
                return k
    return -1


@compiled(
    types.void,
    grey(1),
    types.intp,
    types.intp,
    types.intp,
    types.intp,
    types.boolean,
    types.intp,
    types.intp,
    types.float64,
    types.float64[::1],
    types.float64[::1],
)
def _majority(
    pixels: Any,
    across: Any,
    alongside: Any,
    size: Any,
    guess: Any,
    leading: Any,
    begin: Any,
    end: Any,
    background: Any,
    positions: Any,
    centres: Any,
) -> None:
    """The edge's position in every block, or NOT_FOUND."""
    band = 2 * REACH
    # Line k of the window lies k - REACH lines further into the product than the guess.
    nearest = guess - REACH if leading else guess - 1 + REACH
    towards = across if leading else -across
    # Lines beyond the frame hold the background.
    first = max(0, -nearest) if leading else max(0, nearest - (size - 1))
    last = min(band, size - nearest) if leading else min(band, nearest + 1)
    window = np.full((SAMPLES, band), np.uint8(background))
    for block in range(BLOCKS):
        low = begin + (end - begin) * block // BLOCKS
        high = max(low + 1, begin + (end - begin) * (block + 1) // BLOCKS)
        centres[block] = (low + high - 1) / 2.0
        if across < alongside:
            for s in range(SAMPLES):
                offset = (low + (high - low) * s // SAMPLES) * alongside + nearest * across
                for k in range(first, last):
                    window[s, k] = pixels[offset + k * towards]
        else:
            for k in range(first, last):
                offset = nearest * across + k * towards
                for s in range(SAMPLES):
                    window[s, k] = pixels[offset + (low + (high - low) * s // SAMPLES) * alongside]
        outside = _median(window, 0, 16)
        inside = _median(window, band - 16, band)
        edge = _crossing(window, outside + 0.35 * (inside - outside))
        if edge >= 0 and inside > outside:
            # Once more with the levels right beside the edge.
            outside = _median(window, max(0, edge - 19), max(1, edge - 3))
            inside = _median(window, min(band - 1, edge + 3), min(band, edge + 19))
            edge = _crossing(window, outside + 0.5 * (inside - outside))
        if edge < 0 or inside <= outside:
            positions[block] = NOT_FOUND
        elif leading:
            positions[block] = max(0, guess - REACH + edge)
        else:
            positions[block] = min(size, guess + REACH - edge)


@compiled(types.UniTuple(types.float64, 3), types.float64[::1], types.float64[::1])
def _theil_sen(along: Any, positions: Any) -> Any:
    """Slope, position at along = 0, and the median deviation from the line."""
    n = positions.size
    slopes = np.empty(n * (n - 1) // 2, dtype=np.float64)
    count = 0
    for i in range(n):
        for j in range(i + 1, n):
            if along[j] != along[i]:
                slopes[count] = (positions[j] - positions[i]) / (along[j] - along[i])
                count += 1
    slope = 0.0
    if count:
        ordered = np.sort(slopes[:count])
        slope = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
    rest = np.sort(positions - slope * along)
    position = 0.5 * (rest[(n - 1) // 2] + rest[n // 2])
    deviation = np.sort(np.abs(rest - position))
    return slope, position, deviation[n // 2]
