"""How the station cuts a picture, drawn before there is an engine: the product's region and its patches."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from station.patching import Patches, Region
from station.pictures.drawing import (
    FAINT,
    INK,
    PAPER,
    TILE_H,
    TILE_W,
    Picture,
    as_bgr,
    draw_box,
    fitted,
    write_lines,
    write_text,
)

REGION, GRID, REFUSED = (90, 190, 60), (230, 190, 60), (60, 60, 240)
"""BGR of the product's outline, of patches, and of a picture that was not cut."""
SIDE = 900
"""The height of what is drawn, px."""
_HEAD = 110


def draw_cut(name: str, frame: NDArray[np.uint8], patches: Patches) -> Picture:
    """The frame with the product's outline and every patch on it, beside the surface with its patches."""
    marked = as_bgr(frame).copy()
    thick = max(1, max(marked.shape[:2]) // 500)
    region = patches.surface.region
    corners = [region.point(x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    for index in range(len(patches.pixels)):
        draw_box(marked, _inside(patches.frame_box(index), marked), GRID, thick)
    outline = np.array([[round(x), round(y)] for x, y in corners], np.int32)
    cv2.polylines(marked, [outline], True, REGION, 2 * thick)
    surface = as_bgr(patches.surface.pixels).copy()
    for index in range(len(patches.pixels)):
        box = patches.surface_box(index)
        draw_box(surface, box, GRID, 1)
        write_text(surface, str(index), (box.x + 6, box.y + 20), 0.5, GRID, width=max(40, box.width - 8))
    height, width = patches.surface.pixels.shape[:2]
    across = patches.grid.size * region.width / width
    down = patches.grid.size * region.height / height
    words = (
        f"product {region.width} x {region.height} px, surface {width} x {height} px, "
        f"{len(patches.pixels)} patches, each {across:.0f} x {down:.0f} px of the picture"
    )
    return _page(name, words, INK, [marked, surface])


def draw_uncut(name: str, frame: NDArray[np.uint8] | None, reason: str) -> Picture:
    """A picture that the station would not cut, and why; None for one that could not be read."""
    shown = [] if frame is None else [as_bgr(frame)]
    return _page(name, f"not cut: {reason}", REFUSED, shown)


def draw_cut_tile(page: Picture) -> Picture:
    """A page as a tile of a contact sheet."""
    return fitted(page, TILE_W, TILE_H)


def _page(name: str, words: str, colour: tuple[int, int, int], pictures: Sequence[Picture]) -> Picture:
    columns = [fitted(one, max(160, round(SIDE * one.shape[1] / one.shape[0])), SIDE) for one in pictures]
    columns = [one if one.shape[1] <= 2 * SIDE else fitted(one, 2 * SIDE, SIDE) for one in columns]
    width = max(760, sum(one.shape[1] + 16 for one in columns) + 16)
    canvas = np.full((SIDE + _HEAD + 16, width, 3), PAPER, np.uint8)
    write_text(canvas, name, (16, 34), 0.8, FAINT, width=width - 32)
    write_lines(canvas, words, (16, 68), 0.6, colour, width - 32)
    left = 16
    for one in columns:
        canvas[_HEAD : _HEAD + SIDE, left : left + one.shape[1]] = one
        left += one.shape[1] + 16
    return canvas


def _inside(box: Region, picture: Picture) -> Region:
    left, top = max(0, box.x), max(0, box.y)
    right, bottom = min(picture.shape[1], box.x + box.width), min(picture.shape[0], box.y + box.height)
    return Region(left, top, right - left, bottom - top)
