"""What the rare-defect log costs the line: parts per second with and without it, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Trigger
from station.bench.verdicts import sustained
from station.config import Rare
from station.decision import Verdict
from station.engines.interface import Engine, Scores
from station.journal import Journal
from station.observers import Observers
from station.part import InspectedPart, PartInHand
from station.patching import Patches
from station.prepared import Prepared
from station.rare.items import Origin
from station.rare.log import RareLog
from station.rare.store import RareStore
from station.recipe import Recipe


@dataclass(frozen=True, slots=True)
class RareCost:
    """Medians over the rounds."""

    without: float
    """Parts per second."""
    with_rare: float
    """Parts per second with the log beside."""
    ratio: float
    """Median of the rounds' own ratios, with / without."""
    looked_at: int
    dropped: int
    """Parts that the log was too slow for."""
    note: str
    """What the log says of itself at the end."""


def rare_cost(
    engine: Engine,
    frames: Sequence[NDArray[np.uint8]],
    recipe: Recipe,
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None] = lambda name: None,
) -> RareCost:
    """Measure in a folder for temporary files; name another disk's with ``TMPDIR``.

    The dearest case: every rejected part is kept, also when it is like one that is there. The share of
    rejected parts is that of ``frames``.
    """
    pairs = []
    with tempfile.TemporaryDirectory(prefix="station-bench-") as folder:
        root = Path(folder)
        with Journal(root / "journal.db", station="bench") as journal:
            settings = Rare(class_items=10_000_000, same_below=0.0)
            store = RareStore(root / "rare", quota=settings.quota_mb * 1_000_000)
            log = RareLog(store, settings, journal.path, Origin(journal.head.journal_id, "bench", True, None))
            with Observers([log]) as observers:
                beside = _Beside(engine, recipe, observers)
                for number in range(rounds):
                    progress(f"round {number + 1} of {rounds}: rare log")
                    alone = sustained(engine.scores, frames, recipe, seconds)
                    pairs.append((alone, sustained(beside.score, frames, recipe, seconds, beside.show)))
            (status,) = observers.status()
    alone, both = np.array(pairs).T
    return RareCost(
        float(np.median(alone)),
        float(np.median(both)),
        float(np.median(both / alone)),
        status.observed,
        status.queue.shed,
        status.note,
    )


class _Beside:
    """Shows each part to the observers as the line does."""

    def __init__(self, engine: Engine, recipe: Recipe, observers: Observers) -> None:
        self._engine = engine
        self._prepared = Prepared(recipe, engine)
        self._observers = observers
        self._scores: Scores | None = None
        self._parts = 0

    def score(self, pixels: NDArray[np.uint8]) -> Scores:
        self._scores = self._engine.scores(pixels)
        return self._scores

    def show(self, patches: Patches, verdict: Verdict) -> None:
        self._parts += 1
        now = time.monotonic_ns()
        part = PartInHand(Trigger(self._parts, "", now), self._prepared, self._parts, now, patches=patches)
        if self._scores is not None:
            part = part.scored(self._scores)
        self._observers.offer(InspectedPart(part, verdict, now))
