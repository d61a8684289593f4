"""What lies before the camera of the simulated plant: the cell writes it, the camera looks at each exposure.

One small file that the processes of a plant share. A camera that looks here shows the part that really lies
there, whatever the station believes, so that a part that was taken away too early can be seen by a test.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

EMPTY = 0
"""No part lies there."""
_SEEN = struct.Struct("<Q??")


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
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(file, _SEEN.pack(seen.part_id, seen.robot, seen.turns), 0)
        finally:
            os.close(file)

    def look(self) -> Seen:
        """What is to be seen there now; an empty place where nobody has shown anything yet."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Seen(EMPTY)
        return Seen(*_SEEN.unpack(content)) if len(content) == _SEEN.size else Seen(EMPTY)
