"""What lies before the camera of the simulated plant, and which lamps light it: written by cell and lights.

Small files that the processes of a plant share; the camera looks at each exposure. It shows the part that
really lies there, under the lamps that really are lit, whatever the station believes, so that a part that was
taken away too early, or a lamp that is out, can be seen by a test.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EMPTY = 0
"""No part lies there."""
_SEEN = struct.Struct("<Q??")
_LIT = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the camera would see now."""

    part_id: int
    """The part that lies there; ``EMPTY`` is none."""
    robot: bool = False
    """Whether the robot is in the view."""
    turns: bool = True
    """Whether the part turns, as it must for its whole surface to be seen."""


class Place:
    """One place, known by its file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, part_id: int) -> None:
        """From now on this part lies there and turns, with nothing else in view; ``EMPTY`` is none."""
        self.show(Seen(part_id))

    def show(self, seen: Seen) -> None:
        """From now on this is to be seen."""
        _put(self._path, _SEEN.pack(seen.part_id, seen.robot, seen.turns))

    def look(self) -> Seen:
        """What is to be seen there now; an empty place where nobody has shown anything yet."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Seen(EMPTY)
        return Seen(*_SEEN.unpack(content)) if len(content) == _SEEN.size else Seen(EMPTY)


class LitLamps:
    """The outputs of a light controller that are lit, known by their file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def show(self, outputs: Iterable[int]) -> None:
        """From now on exactly these outputs, numbered from 1 to 32, are lit."""
        _put(self._path, _LIT.pack(sum(1 << (output - 1) for output in set(outputs))))

    def look(self) -> tuple[int, ...]:
        """The outputs that are lit now, in their order; none where nobody has shown any yet."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        bits = _LIT.unpack(content)[0] if len(content) == _LIT.size else 0
        return tuple(output for output in range(1, 33) if bits >> (output - 1) & 1)


def _put(path: Path, content: bytes) -> None:
    """Write a few bytes at once, so that a reader sees those of before or these."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(file, content, 0)
    finally:
        os.close(file)
