"""Faults that are switched on and off while a plant runs: one small file that all its processes look at.

A line is ``name value``. Camera and cell of the simulated plant look before each exposure and each message,
the library and the disk of ``simulation/campaign`` at each call. The file is replaced as a whole, so that a
reader sees the faults of before or those of after and nothing between.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


class Switchboard:
    """The file, and what it said last; an absent file is a plant without faults."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int] = (0, 0)
        self._on: dict[str, float] = {}

    def on(self) -> Mapping[str, float]:
        """The faults that are on now, by name, each with its value (a share, a time, or 1)."""
        if self._path is None:
            return self._on
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns)
            if seen != self._seen:
                words = (line.split() for line in self._path.read_text(encoding="ascii").splitlines())
                self._on = {name: float(value) for name, value in words}
                self._seen = seen
        except FileNotFoundError:
            self._seen, self._on = (0, 0), {}
        return self._on

    def set(self, faults: Mapping[str, float]) -> None:
        """Exactly these faults are on from now on."""
        assert self._path is not None, "a switchboard without a file has nothing to set"
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_text("".join(f"{name} {value!r}\n" for name, value in faults.items()), encoding="ascii")
        fresh.replace(self._path)
