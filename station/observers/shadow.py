"""The candidate beside the active engine, see ``station/shadow``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.engines.store import Installed, Store
    from station.observers.interface import Observer, ObserverSetup
    from station.prepared import Prepared
    from station.spare.jobs import JudgingEngine


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The shadow; None where ``shadow.share`` is 0. It costs nothing while no engine is a candidate."""
    config = setup.config
    if not config.shadow.share:
        return None
    from station.engines.store import Store
    from station.shadow.observer import Shadow
    from station.shadow.side import Side
    from station.spare.engine import open_judging

    def candidate(name: str) -> Installed | None:
        return who_shadows(Store(config.paths.engines, name))

    def opened(prepared: Prepared, installed: Installed) -> Side:
        engine, recipe = open_judging(job_of(config, prepared, installed))
        return Side(installed.digest[:12], engine, recipe)

    return Shadow(setup.journal, candidate, opened, config.shadow)


def who_shadows(store: Store) -> Installed | None:
    """The candidate; without one, the engine before the one in trial; else none. Raises ``StoreError``."""
    from station.engines.states import EngineState

    candidate = store.candidate()
    if candidate is not None or not store.is_there:
        return candidate
    first, *others = store.in_order()
    in_trial = first.entry is not None and first.entry.state is EngineState.TRIAL
    return others[0] if in_trial and others else None


def job_of(config: StationConfig, prepared: Prepared, installed: Installed) -> JudgingEngine:
    """A candidate that judges as it would on the line."""
    from station.spare.jobs import JudgingEngine

    wanted = config.engine
    return JudgingEngine.of(
        installed.folder,
        installed.name,
        prepared.recipe_as_written,
        wanted.backend,
        wanted.precision,
        config.paths.cache,
        home_as=None if installed.entry is None else installed.digest,
    )
