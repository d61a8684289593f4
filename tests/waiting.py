"""Waiting for what another thread or process brings about."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""A wait that ends well takes no longer by it, and on a busy machine a thread may not run for seconds."""


def wait_for(holds: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until ``holds()`` is true; fail when it is not within ``within_s``."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"it did not come true within {within_s:g} s"
        time.sleep(0.01)
