"""Whether the lines of a picture can be metal seen by a sensor: each has noise and texture of its own.

A sensor that repeats a line, a buffer that is delivered twice, or something smooth that is as bright as metal
shows no part, however good it looks. Two neighbouring lines of a real surface differ by the sensor's noise at
least, two neighbouring pixels of a line too, no line is equal to another one, and the level moves from line
to line by more than the noise alone moves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.patching.compiled import compiled, grey, types
from station.patching.geometry import PatchingError, Reason, Region
from station.recipe import TEXTURE_BAND, TEXTURE_STRIP_PX, Texture

STRIPS = 4
"""Strips of a line that are looked at, where it is wide enough."""
INSET_PX = 4
"""Pixels beside the edges that are not looked at."""
DARK, GLARING, MOSTLY = 12, 205, 0.6
"""Outside these mean levels of a strip of a line, light hides the metal; this share must be inside."""
PAIR_STEP = 8
"""Two neighbouring lines of so many are looked at in each strip; all lines in one strip."""
NOTHING = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class TextureFound:
    """What a picture shows, grey levels, and the rows of the frame where it shows so."""

    change: float
    """The least mean difference between a strip of a line and of the line before: noise."""
    change_at: int
    grain: float
    """The least mean difference between neighbouring pixels of a strip, over a band of lines."""
    grain_at: int
    texture: float
    """The least mean change of a strip's mean level from line to line, over a band of lines."""
    texture_at: int
    repeated: int
    """Lines that are equal to one before them."""
    repeated_at: int
    """The first of them, where there is one."""


def check_texture(pixels: NDArray[np.uint8], region: Region, limits: Texture) -> None:
    """Refuse a picture that cannot be metal. Raises :class:`PatchingError`."""
    found = texture_of(pixels, region)
    if found.grain < limits.min_grain:
        raise PatchingError(
            Reason.NO_TEXTURE,
            f"from row {found.grain_at}, neighbouring pixels differ by {found.grain:.2f} grey levels, less "
            f"than min_grain {limits.min_grain:g}; check the camera, and what lies before it",
        )
    if found.repeated > limits.max_repeated_lines:
        raise PatchingError(
            Reason.STALE,
            f"{found.repeated} lines are equal to an earlier line, the first is row {found.repeated_at}; "
            "check the camera, its cable and its buffers",
        )
    if found.change < limits.min_change:
        raise PatchingError(
            Reason.STALE,
            f"row {found.change_at} differs from the row before by {found.change:.2f} grey levels, less than "
            f"min_change {limits.min_change:g}; check the camera, its cable and its buffers",
        )
    if found.texture < limits.min_texture:
        raise PatchingError(
            Reason.NO_TEXTURE,
            f"from row {found.texture_at}, the level changes by {found.texture:.2f} grey levels from line to "
            f"line, less than min_texture {limits.min_texture:g}; check what lies before the camera",
        )


def texture_of(pixels: NDArray[np.uint8], region: Region) -> TextureFound:
    """What the lines of a product show. Raises :class:`PatchingError` where too little of it can be seen.

    ``pixels`` is uint8 ``(H, W)`` or ``(H, W, C)``, C-contiguous; of colour the middle channel is looked at.
    """
    aside_x, aside_y = (INSET_PX + (abs(lean) + 1) // 2 for lean in (region.lean_x, region.lean_y))
    left, right = max(0, region.x) + aside_x, min(pixels.shape[1], region.x + region.width) - aside_x
    top, bottom = max(0, region.y) + aside_y, min(pixels.shape[0], region.y + region.height) - aside_y
    strip, bands = TEXTURE_STRIP_PX, (bottom - top - 1) // TEXTURE_BAND
    if right - left < strip or bands < 1:
        raise PatchingError(
            Reason.NO_TEXTURE, "too little of the product can be looked at; check its position and tilt"
        )
    strips = min(STRIPS, (right - left) // strip)
    plane = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, pixels.shape[2] // 2])
    gap = (right - left - strip) // max(1, strips - 1)
    pairs = _pairs(plane[top:bottom, left:right], bands * TEXTURE_BAND // PAIR_STEP, strips, gap)
    first, second = (np.ascontiguousarray(pairs[:, line]).reshape(-1, strip) for line in (0, 1))
    before, after = _sums(first), _sums(second)
    change = _sums(cv2.absdiff(second, first))
    rough = _sums(cv2.absdiff(first[:, 1:], first[:, :-1]))
    # Where glare or shadow hides the metal, nothing is asked of it.
    lit = (np.minimum(before, after) > DARK * strip) & (np.maximum(before, after) < GLARING * strip)
    if np.count_nonzero(lit) < MOSTLY * lit.size:
        raise PatchingError(
            Reason.NO_TEXTURE,
            "most of the product is too bright or too dark to see its texture; check the light",
        )
    change[~lit] = NOTHING
    hidden = ~lit.reshape(bands, -1, strips).all(axis=1)
    grain, texture = (
        np.where(hidden, NOTHING, one.reshape(bands, -1, strips).sum(axis=1))
        for one in (rough, np.abs(after - before))
    )
    middle = left + gap * (strips // 2)
    repeated, repeated_at = _repeated(
        np.ascontiguousarray(plane[top:bottom, middle : middle + strip]), DARK * strip, GLARING * strip
    )
    least, coarse, smooth = int(change.argmin()), int(grain.argmin()), int(texture.argmin())
    lines = TEXTURE_BAND // PAIR_STEP
    return TextureFound(
        change=float(change.flat[least]) / strip,
        change_at=top + least // strips * PAIR_STEP + 1,
        grain=float(grain.flat[coarse]) / (lines * (strip - 1)),
        grain_at=top + coarse // strips * TEXTURE_BAND,
        texture=float(texture.flat[smooth]) / (lines * strip),
        texture_at=top + smooth // strips * TEXTURE_BAND,
        repeated=int(repeated),
        repeated_at=top + int(repeated_at),
    )


def _pairs(product: NDArray[np.uint8], count: int, strips: int, gap: int) -> NDArray[np.uint8]:
    """A view of the strips of two neighbouring lines in every ``PAIR_STEP``, ``(pairs, 2, strips, px)``."""
    down, along = product.strides
    shape, strides = (count, 2, strips, TEXTURE_STRIP_PX), (PAIR_STEP * down, down, gap * along, along)
    return np.lib.stride_tricks.as_strided(product, shape, strides, writeable=False)


def _sums(strips: Any) -> NDArray[np.int32]:
    """The sum of every strip."""
    return np.asarray(cv2.reduce(strips, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S), np.int32).ravel()


@compiled(types.UniTuple(types.intp, 2), grey(2), types.intp, types.intp)
def _repeated(lines: Any, dark: Any, glaring: Any) -> Any:
    """How many lines are equal to one before them, and the first that is; -1 where none is.

    Lines whose sum is not between ``dark`` and ``glaring`` are left out.
    """
    rows, px = lines.shape
    size = 1
    while size < 4 * rows:
        size *= 2
    table = np.full(size, -1, dtype=np.int32)
    repeated, first = 0, -1
    for row in range(rows):
        mark, level = np.uint64(0), 0
        for k in range(px):
            level += lines[row, k]
            mark += np.uint64(lines[row, k]) * (np.uint64(2654435761) * np.uint64(2 * k + 1))
        if not dark < level < glaring:
            continue
        slot = np.intp((mark * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & (size - 1)
        while table[slot] >= 0:
            k = 0
            while k < px and lines[row, k] == lines[table[slot], k]:
                k += 1
            if k == px:
                break
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot] = row
            continue
        repeated += 1
        if first < 0:
            first = row
    return repeated, first
