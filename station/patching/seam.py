"""One turn of a part out of a picture that shows a few degrees more.

The overlap is found by correlation: the first lines are looked for near the place where one turn ends. The
picture is cut within the overlap where the surface is quietest, so that a defect on the seam, which the
picture shows at both ends, lies whole at one of them and is inspected once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.patching.geometry import PatchingError, Reason

LEAST_MATCH = 0.4
"""The least correlation of two exposures of the same metal; noise and other metal stay below 0.2."""
LEAST_LEAD = 0.15
"""By how much the best place must be better than all that are more than :data:`NEAR` lines away."""
NEAR = 4
COMPARED = 96
"""The most lines that are compared."""
STRONGEST = 8
"""A line is as loud as the mean of its strongest pixels: a defect may be a few pixels wide."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: the lines ``start`` to ``start + lines`` of the picture."""

    start: int
    lines: int
    match: float
    """The correlation of the two ends of the picture, at most 1."""


def find_turn(pixels: NDArray[np.uint8], turn_lines: int, tolerance: int, overlap: int) -> Turn:
    """One turn of ``turn_lines``, give or take ``tolerance``, in a picture with ``overlap`` lines more.

    ``pixels``: ``(H, W)`` or ``(H, W, 3)``, the turn down the lines. Raises :class:`PatchingError` where the
    picture is too short, or its ends do not show the same surface.
    """
    height = pixels.shape[0]
    needed = turn_lines + tolerance + overlap
    if height < needed:
        raise PatchingError(
            Reason.TURN_INCOMPLETE,
            f"the picture has {height} lines; a turn of {turn_lines} and its overlap need {needed}; take "
            "more lines, or check that the jig turned to the end",
        )
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    first = turn_lines - tolerance
    compared = min(overlap, COMPARED)
    beginning = _texture(grey[:compared])
    end = _texture(grey[first : turn_lines + tolerance + compared])
    if not beginning.any():
        raise PatchingError(Reason.TURN_INCOMPLETE, "the first lines show nothing; check light and position")
    scores = cv2.matchTemplate(end, beginning, cv2.TM_CCOEFF_NORMED)[:, 0]
    best = int(np.argmax(scores))
    far = np.abs(np.arange(len(scores)) - best) > NEAR
    match = float(scores[best])
    if not match >= LEAST_MATCH or (far.any() and match - float(scores[far].max()) < LEAST_LEAD):
        raise PatchingError(
            Reason.TURN_INCOMPLETE,
            f"the end of the picture does not show its beginning again (correlation {match:.2f}, least "
            f"{LEAST_MATCH}); check that the jig turned at the speed of the line rate, and to the end",
        )
    lines = first + best
    return Turn(_quietest(grey[: min(height - lines, overlap)]), lines, match)


def _texture(lines: NDArray[Any]) -> NDArray[np.float32]:
    """What changes from line to line: stripes along the turn look the same everywhere."""
    values = lines.astype(np.float32)
    return np.asarray(values - values.mean(axis=0, keepdims=True), dtype=np.float32)


def _quietest(overlap: NDArray[Any]) -> int:
    """The line of the overlap that is farthest from anything that stands out of the metal."""
    apart = np.abs(overlap.astype(np.float32) - np.median(overlap, axis=0, keepdims=True))
    strongest = min(STRONGEST, apart.shape[1])
    loud = np.partition(apart, -strongest, axis=1)[:, -strongest:].mean(axis=1)
    margin = max(1, len(loud) // 8)
    # The loudest line near each line; beyond the overlap nobody looked.
    near = np.lib.stride_tricks.sliding_window_view(np.pad(loud, margin, mode="edge"), 2 * margin + 1)
    loudest = near.max(axis=1)
    quiet = np.flatnonzero(loudest <= loudest.min() * 1.02)
    return int(quiet[len(quiet) // 2])
