"""The candidate beside the active engine, see ``station/shadow``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.engines.store import Installed, Store
    from station.observers.interface import Observer, ObserverSetup
    from station.prepared import Prepared
    from station.shadow.side import Side


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The shadow; None where ``shadow.share`` is 0. It costs nothing while no engine is a candidate."""
    config = setup.config
    if not config.shadow.share:
        return None
    from station.engines.store import Store
    from station.shadow.observer import Shadow

    def candidate(name: str) -> Installed | None:
        return who_shadows(Store(config.paths.engines, name))

    def opened(prepared: Prepared, installed: Installed) -> Side:
        return open_candidate(config, prepared, installed)

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


def open_candidate(config: StationConfig, prepared: Prepared, installed: Installed) -> Side:
    """A candidate, proven, that computes in spare time as the line would. Raises ``EngineError``."""
    from drivers import heartbeat
    from station.engines.interface import EngineOptions
    from station.shadow.side import open_installed
    from station.spare_time import in_spare_time

    options = EngineOptions(threads=1, chunk=1, cache=config.paths.cache)

    def opened() -> Side:
        return open_installed(config, prepared.recipe_as_written, installed, options, installed.digest[:12])

    return in_spare_time(opened, heartbeat.beat)
