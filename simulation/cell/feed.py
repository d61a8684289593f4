"""Parts that come from another cell: those that it has put into one of its bins, under the ids they have."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path


class Feed:
    """Follows the other cell's log, a line of JSON per part."""

    def __init__(self, log: Path, bin_: int) -> None:
        self._log, self._bin = log, bin_
        self._read = 0
        """Bytes of whole lines that were read."""
        self._parts: deque[int] = deque()

    def has_part(self) -> bool:
        """Whether a part has come that was not taken yet."""
        if not self._parts:
            self._follow()
        return bool(self._parts)

    def take(self) -> int:
        """The id of the part that came first."""
        return self._parts.popleft()

    def _follow(self) -> None:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._read += len(line)
                part = json.loads(line)
                if part["bin"] == self._bin:
                    self._parts.append(int(part["part_id"]))
