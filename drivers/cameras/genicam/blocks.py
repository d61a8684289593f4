"""Frames of a line-scan camera that come as several blocks of lines.

Block *n* since the start belongs to frame *n // blocks*, at place *n % blocks*: the camera's own numbers say
so, and never the order of arrival. A frame of which a block is missing, damaged or late is incomplete,
without pixels, so that it is never classified.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import NO_PIXELS


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a frame."""

    number: int
    """Blocks since the start, counted from 0 by the camera's numbers."""
    pixels: NDArray[np.uint8]
    problem: str
    """Why it cannot be used; empty when it can."""
    arrived_ns: int = 0
    """``time.monotonic_ns()`` when it was in this process."""


@dataclass(slots=True)
class Assembly:
    """Blocks become frames; one object per start of the camera."""

    blocks: int
    """Blocks per frame."""
    _frame: int = 0
    """The frame that is filled now."""
    _lines: list[Block] = field(default_factory=list)

    def add(self, block: Block) -> list[tuple[int, list[Block]]]:
        """The frames that this block ends: their numbers, and the blocks that came of each.

        A block of a later frame also ends the one before it, if anything of that came.
        """
        done: list[tuple[int, list[Block]]] = []
        frame = block.number // self.blocks
        if frame != self._frame:
            done += self.end()
            self._frame = frame
        self._lines.append(block)
        if (block.number + 1) % self.blocks == 0:
            done += self.end()
        return done

    def end(self) -> list[tuple[int, list[Block]]]:
        """The frame that was begun, as it is; none where nothing of it came."""
        if not self._lines:
            return []
        ended, self._lines = (self._frame, self._lines), []
        self._frame += 1
        return [ended]


def joined(blocks: list[Block], wanted: int) -> tuple[str, NDArray[np.uint8]]:
    """What is wrong with the blocks of a frame, and its pixels; none when anything is wrong."""
    nothing = NO_PIXELS
    if wanted == 1:
        return blocks[0].problem, blocks[0].pixels
    for block in blocks:
        if block.problem:
            return f"block {block.number % wanted + 1} of {wanted}: {block.problem}", nothing
    if [block.number % wanted for block in blocks] != list(range(wanted)):
        came = ", ".join(str(block.number % wanted + 1) for block in blocks)
        return f"of {wanted} blocks of lines only {came} came", nothing
    return "", np.concatenate([block.pixels for block in blocks])
