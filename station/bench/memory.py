"""Resident memory of this process over a run: it must be small and it must be flat."""

from __future__ import annotations

import time

import psutil

SETTLED_AFTER_S = 15.0
"""Until then caches and buffers fill; growth is counted from here."""


class MemoryLog:
    """Call :meth:`sample` now and then; memory use of the log itself does not grow."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._begun = time.monotonic()
        self._settled_mb = 0.0
        self._last_mb = 0.0
        self._peak_mb = 0.0

    def sample(self) -> None:
        """Read the resident set once."""
        self._last_mb = float(self._process.memory_info().rss) / 1e6
        self._peak_mb = max(self._peak_mb, self._last_mb)
        if time.monotonic() - self._begun < SETTLED_AFTER_S or not self._settled_mb:
            self._settled_mb = self._last_mb

    def __str__(self) -> str:
        grown = self._last_mb - self._settled_mb
        return (
            f"{self._settled_mb:.0f} MB resident after {SETTLED_AFTER_S:.0f} s, "
            f"{self._last_mb:.0f} MB at the end ({grown:+.0f}), {self._peak_mb:.0f} MB at most"
        )
