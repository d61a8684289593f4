"""What a candidate in the shadow, and the watch over drift, cost the line that they stand beside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from station.config import Shadow as Settings
from station.engines.states import EngineState, Entry, Provenance
from station.engines.store import Installed
from station.shadow.drift_observer import Drift
from station.shadow.observer import Shadow
from station.shadow.side import Side
from station.spare.engine import open_judging
from station.spare.jobs import JudgingEngine
from station.spare.patience import USUAL, Limits

if TYPE_CHECKING:
    from station.bench.beside import Make
    from station.engines.interface import EngineInfo
    from station.journal import Journal
    from station.observers import Observer
    from station.prepared import Prepared
    from station.recipe import Recipe

ANEW_EVERY_S = 20.0
"""How often there is another candidate: loading one costs more than letting it judge."""
WINDOW_PARTS = 1000


def shadowed(folder: Path, recipe: Recipe, engine: EngineInfo, limits: Limits = USUAL) -> Make:
    """For ``station.bench.beside.cost_beside``: the line's own engine as the candidate, opened ever anew."""
    job = JudgingEngine.of(folder, engine.name, recipe, engine.backend, engine.precision, None)
    source = Provenance("bench")

    def candidate(name: str) -> Installed:
        number = int(time.monotonic() / ANEW_EVERY_S)
        return Installed(name, folder, Entry(f"{number:064x}", EngineState.SHADOWING, "", "", source, 1))

    def opened(prepared: Prepared, installed: Installed) -> Side:
        return Side(installed.digest, *open_judging(job, limits=limits))

    def make(journal: Journal, scratch: Path) -> Sequence[Observer]:
        return [Shadow(journal, candidate, opened, Settings()), Drift(journal, WINDOW_PARTS)]

    return make
