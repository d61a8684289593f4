"""What lies between the product's edges and the background, and beside the product.

The edges are found by majority at half of the product's level, so a strip of the product that is darker than
that, or an edge that is not straight, would be cut away with whatever is on it. Right beside the edges of a
good part lies nothing but background.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from station.patching.edges import Edge
from station.patching.geometry import PatchingError, Reason, Region
from station.recipe import Product

GAP_PX = 3
"""Beside the edge, the lens may blur so far."""
NEAR_PX = 12
"""So far beside the edge there must be background."""
FAR_PX = (16, 48)
"""Between these distances from the edge, the background's own level is taken, at every ``FAR_STEP``."""
FAR_STEP = 6
BRIGHT = 32
"""Grey levels above the background from which something beside the product is bright: noise is not."""
SEGMENTS, SAMPLES = 8, 13
"""Segments of a side, and places in each: their median outvotes dust and hot pixels."""
MOST_BENT = 0.25
"""The share of blocks that may be bent or not seen; more would move the line that is laid through them."""


def check_edges(edges: Iterable[tuple[str, Edge]]) -> None:
    """Refuse a product whose edges are not straight lines. Raises :class:`PatchingError`."""
    for name, edge in edges:
        if edge.bent > MOST_BENT:
            raise PatchingError(
                Reason.EDGE,
                f"{edge.bent:.0%} of the {name} edge is not where its straight line is; check for a dark or "
                "damaged strip along it, and the light",
            )


def check_beside(pixels: NDArray[np.uint8], region: Region, background: float, product: Product) -> None:
    """Refuse a product beside which lies something brighter than background. Raises :class:`PatchingError`.

    ``pixels`` is uint8 ``(H, W)`` or ``(H, W, C)``; of colour the middle channel is looked at. ``background``
    is the grey level where the frame ends too close to an edge for its own background to be seen.
    """
    plane = pixels if pixels.ndim == 2 else pixels[:, :, pixels.shape[2] // 2]
    middle = (np.arange(SEGMENTS * SAMPLES) + 0.5) / (SEGMENTS * SAMPLES)
    lean_x = np.floor((middle - 0.5) * region.lean_x + 0.5).astype(np.intp)
    lean_y = np.floor((middle - 0.5) * region.lean_y + 0.5).astype(np.intp)
    rows = region.y + (middle * region.height).astype(np.intp)
    columns = region.x + (middle * region.width).astype(np.intp)
    for name, lines, first, towards, along in (
        ("left", plane.T, region.x - 1 + lean_x, -1, rows),
        ("right", plane.T, region.x + region.width + lean_x, 1, rows),
        ("top", plane, region.y - 1 + lean_y, -1, columns),
        ("bottom", plane, region.y + region.height + lean_y, 1, columns),
    ):
        near = _levels(lines, first, towards, (GAP_PX, NEAR_PX), along)
        if near is None:
            continue  # the product is at the frame's border: its size says whether it is whole
        far = _levels(lines, first, towards, FAR_PX, along, FAR_STEP)
        beyond = np.full(SEGMENTS, background) if far is None else np.median(far, axis=0)
        above = near - beyond
        # A hot column is one line wide. A strip along less than two segments does not move the edge's line:
        # it lies within the region, where the network sees it.
        strips = np.minimum(np.minimum(above[:-2], above[1:-1]), above[2:]).max(axis=0)
        level = float(np.partition(strips, SEGMENTS - 2)[SEGMENTS - 2])
        if level > product.limits.max_beside:
            raise PatchingError(
                Reason.EDGE,
                f"beside the {name} edge lies a strip {level:.0f} grey levels brighter than the background, "
                f"more than max_beside {product.limits.max_beside:g}; check for a dark strip of the product, "
                "dirt or stray light",
            )


def check_outside(
    sampled: NDArray[np.uint8], step: int, region: Region, background: float, product: Product
) -> None:
    """Refuse a frame with something large beside the product. Raises :class:`PatchingError`.

    ``sampled`` is every ``step``-th row; what is ``BRIGHT`` above ``background`` counts.
    """
    bounds = region.bounds()
    bright = cv2.threshold(sampled, background + BRIGHT, 1, cv2.THRESH_BINARY)[1]
    margin = NEAR_PX
    top, bottom = max(0, bounds.y - margin), bounds.y + bounds.height + margin
    left, right = max(0, bounds.x - margin), bounds.x + bounds.width + margin
    bright[-(-top // step) : -(-bottom // step), left:right] = 0
    share = int(cv2.countNonZero(bright)) * step / (region.width * region.height)
    if share > product.limits.max_outside:
        raise PatchingError(
            Reason.EDGE,
            f"beside the product lies something bright of {share:.1%} of its size, more than max_outside "
            f"{product.limits.max_outside:g}; leave only one whole part in the field of view",
        )


def _levels(
    lines: NDArray[np.uint8],
    first: NDArray[np.intp],
    towards: int,
    distances: tuple[int, int],
    along: NDArray[np.intp],
    step: int = 1,
) -> NDArray[np.float64] | None:
    """The median level per distance from the edge and segment of it; None where the frame ends before."""
    begin, end = distances
    room = len(lines) - 1 - int(first.max()) if towards > 0 else int(first.min())
    end = min(end, room + 1)
    beside = np.arange(begin, end, step)
    if len(beside) < (3 if step == 1 else 1):
        return None
    places = first[None, :] + towards * beside[:, None]
    along = np.clip(along, 0, lines.shape[1] - 1)
    levels = np.sort(lines[places, along[None, :]].reshape(len(beside), SEGMENTS, SAMPLES), axis=2)
    return levels[:, :, SAMPLES // 2].astype(np.float64)
