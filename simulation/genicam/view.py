"""What a camera of the plant sees: the part that lies at the place, as its picture of the pool shows it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulation.place import EMPTY, Place


class View:
    """Part *n* looks like picture *n* of the pool, an empty place is black. One log line per exposure."""

    def __init__(self, pool: Path, place: Path, log: Path) -> None:
        self._pictures = [np.load(file) for file in sorted(pool.glob("*.npy"))]
        self._place = Place(place)
        self._log = log
        self._exposures = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px; all pictures of a pool have one size."""
        shape: tuple[int, int] = self._pictures[0].shape
        return shape

    def expose(self, frame_id: int, spoilt: str = "") -> NDArray[np.uint8]:
        """The picture of this moment, uint8 ``(H, W)``; a sensor never sees the same twice.

        ``frame_id``: counted from 0 since the camera was started; ``spoilt``: what is done to the frame on
        its way, of ``SPOILT_FRAMES`` and ``SPOILT_TRANSFERS``.
        """
        seen = self._place.look()
        line = {"part_id": seen.part_id, "frame_id": frame_id, "spoilt": spoilt, "at_ns": time.monotonic_ns()}
        with self._log.open("a", encoding="ascii") as log:
            log.write(json.dumps(line) + "\n")
        self._exposures += 1
        if seen.part_id == EMPTY:
            picture = np.zeros(self.size, np.uint8)
        else:
            picture = self._pictures[(seen.part_id - 1) % len(self._pictures)].copy()
        picture[0, :32] = [self._exposures >> bit & 1 for bit in range(32)]  # the faintest noise there is
        return picture
