"""What lies before the camera of the simulated plant: the cell writes it, the camera looks at each exposure.

One small file that the processes of a plant share. A camera that looks here shows the part that really lies
there, whatever the station believes, so that a part that was taken away too early can be seen by a test.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

EMPTY = 0
"""No part lies there."""
_PART = struct.Struct("<Q")


class Place:
    """One place, known by its file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, part_id: int) -> None:
        """From now on this part lies there; ``EMPTY`` is none."""
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(file, _PART.pack(part_id), 0)
        finally:
            os.close(file)

    def part(self) -> int:
        """The part that lies there now; ``EMPTY`` too where nobody has put anything there yet."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return EMPTY
        return int(_PART.unpack(content)[0]) if len(content) == _PART.size else EMPTY
