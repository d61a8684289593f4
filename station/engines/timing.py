"""How fast an engine is here: the micro-benchmark of ``station engines backends``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.engines.interface import Engine


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds per part, one part at a time."""

    parts: int
    p50: float
    p99: float

    @property
    def parts_per_s(self) -> float:
        """Parts per second at the median."""
        return 1000 / self.p50


def benchmark(engine: Engine, patches: NDArray[np.uint8], seconds: float, least: int = 3) -> Timing:
    """Score the part ``patches`` again and again for ``seconds``, at least ``least`` times."""
    engine.scores(patches)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < until:
        started = time.perf_counter()
        engine.scores(patches)
        times.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(times, (50, 99))
    return Timing(len(times), float(p50), float(p99))
