"""What observers cost the line that they stand beside: pace and time to the verdict, with and without them.

The same engine judges the same frames without and with them in turn, several times in one run, and the order
changes from pair to pair; so the ratio means something on a machine that grows warm or busy.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Trigger
from station.bench.busy import busy
from station.bench.journal import RECIPE, finished_parts
from station.bench.verdicts import Run, sustained
from station.config import Rare, StationConfig
from station.decision import Verdict
from station.engines.interface import Engine, Scores
from station.journal import Journal
from station.observers import Observer, Observers, ObserverSetup, make_observers
from station.part import InspectedPart, PartInHand
from station.patching import Patches
from station.prepared import Prepared
from station.rare.items import Origin
from station.rare.log import RareLog
from station.rare.store import RareStore
from station.recipe import Recipe
from station.simulated_plant import Plant
from station.statistics import Percentiles

RECORDS = 5000
"""Records in the journal that observers may write events about; later parts take their numbers again."""
WARM_UP_PARTS = 100
"""Parts before anything is measured: an observer of a share of the parts is to have seen one."""
WARM_UP_S = 300.0
"""How long observers may take to open what they need, before anything is measured."""

Make = Callable[[Journal, Path], Sequence[Observer]]
"""The observers to measure, from a journal and a folder for what they store."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Over the rounds."""

    median: float
    lowest: float
    highest: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of one figure per round."""
        return Spread(float(np.median(values)), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.lowest:.3f} to {self.highest:.3f})"


@dataclass(frozen=True, slots=True)
class Side:
    """The line without the observers, or with them."""

    parts_per_s: Spread
    verdict: Percentiles
    """Milliseconds from the frame in memory to the verdict, of the parts of all rounds."""
    processor_ms: Spread
    """Of all threads of the line's process, per part: the steadiest figure on a machine that does other
    things too. What observers compute in processes of their own is not in it."""


@dataclass(frozen=True, slots=True)
class Watching:
    """What an observer said of itself at the end."""

    name: str
    observed: int
    dropped: int
    """Parts that it was too slow for."""
    failed: int
    note: str


@dataclass(frozen=True, slots=True)
class Cost:
    """The two sides beside each other."""

    pace: float | None
    """Parts per second that came; None: as fast as the line takes them."""
    busy: int
    """Other processes that wanted the processor meanwhile."""
    without: Side
    beside: Side
    pace_ratio: Spread
    """Parts per second, with / without, of each round."""
    p99_ratio: Spread
    """The 99th percentile of the time to the verdict, with / without, of each round."""
    processor_ratio: Spread
    """Processor time per part, with / without, of each round."""
    observers: tuple[Watching, ...]


def rare_log(journal: Journal, folder: Path) -> list[Observer]:
    """The rare-defect log at its dearest: every rejected part is kept, also one that is like another."""
    settings = Rare(class_items=10_000_000, same_below=0.0)
    store = RareStore(folder / "rare", quota=settings.quota_mb * 1_000_000)
    return [RareLog(store, settings, journal.path, Origin(journal.head.journal_id, "bench", True, None))]


def observers_of(config: StationConfig) -> Make:
    """The observers that a configuration asks for; what they store goes into the measurement's own folder."""

    def make(journal: Journal, folder: Path) -> list[Observer]:
        rare = None if config.paths.rare is None else folder / "rare"
        paths = config.paths.model_copy(update={"images": folder / "images", "rare": rare})
        own = config.model_copy(update={"paths": paths})
        return make_observers(ObserverSetup(own, Plant(), journal))

    return make


def cost_beside(
    make: Make,
    engine: Engine,
    frames: Sequence[NDArray[np.uint8]],
    recipe: Recipe,
    *,
    rounds: int,
    seconds: float,
    pace: float | None = None,
    others: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> Cost:
    """Measure in a folder for temporary files; name another disk's with ``TMPDIR``.

    ``pace``: the parts per second that come; None: as many as the line can take. ``others``: processes that
    want the processor while parts are judged. The share of rejected parts is that of ``frames``.
    """
    alone: list[Run] = []
    both: list[Run] = []
    spent: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="station-bench-") as name:
        folder = Path(name)
        with Journal(folder / "journal.db", station="bench") as journal:
            journal.write_finished(finished_parts(RECORDS), recipe=RECIPE, mode="cell", is_simulated=True)
            with Observers(make(journal, folder)) as observers:
                beside = _Beside(engine, recipe, observers)
                measure = partial(sustained, frames=frames, recipe=recipe, seconds=seconds, pace=pace)
                progress("the observers open what they need")
                while beside.parts < WARM_UP_PARTS:
                    sustained(beside.score, frames, recipe, seconds, beside.show)
                _settled(observers)
                for number in range(rounds):
                    for watched in (False, True) if number % 2 == 0 else (True, False):
                        progress(f"round {number + 1} of {rounds}: {'with' if watched else 'without'}")
                        begun = time.process_time()
                        with busy(others):
                            run = (
                                measure(beside.score, show=beside.show) if watched else measure(engine.scores)
                            )
                        if watched:
                            _settled(observers)
                        (both if watched else alone).append(run)
                        spent[watched].append((time.process_time() - begun) * 1000 / len(run.verdict_ms))
            watching = tuple(
                Watching(one.name, one.observed, one.queue.shed, one.failed, one.note)
                for one in observers.status()
            )
    return Cost(
        pace,
        others,
        _side(alone, spent[False]),
        _side(both, spent[True]),
        Spread.of([one.parts_per_s / other.parts_per_s for one, other in zip(both, alone, strict=True)]),
        Spread.of([_p99(one) / _p99(other) for one, other in zip(both, alone, strict=True)]),
        Spread.of([one / other for other, one in zip(*spent, strict=True)]),
        watching,
    )


def _side(runs: Sequence[Run], spent: Sequence[float]) -> Side:
    times = [time_ms for run in runs for time_ms in run.verdict_ms]
    return Side(Spread.of([run.parts_per_s for run in runs]), Percentiles.of(times), Spread.of(spent))


def _p99(run: Run) -> float:
    return Percentiles.of(run.verdict_ms).p99


def _settled(observers: Observers) -> None:
    """Wait until no part waits for an observer, so that none of its work falls on the other side."""
    until = time.monotonic() + WARM_UP_S
    while any(one.queue.length or one.busy_s for one in observers.status()):
        if time.monotonic() > until:
            raise RuntimeError("an observer does not come to an end with its parts")
        time.sleep(0.02)


class _Beside:
    """Shows each part to the observers as the line does."""

    def __init__(self, engine: Engine, recipe: Recipe, observers: Observers) -> None:
        self._engine = engine
        self._prepared = Prepared(recipe, engine)
        self._observers = observers
        self._scores: Scores | None = None
        self.parts = 0

    def score(self, pixels: NDArray[np.uint8]) -> Scores:
        self._scores = self._engine.scores(pixels)
        return self._scores

    def show(self, patches: Patches, verdict: Verdict) -> None:
        now = time.monotonic_ns()
        record = self.parts % RECORDS + 1
        self.parts += 1
        part = PartInHand(Trigger(self.parts, "", now), self._prepared, record, now, patches=patches)
        if self._scores is not None:
            part = part.scored(self._scores)
        self._observers.offer(InspectedPart(part, verdict, now))
