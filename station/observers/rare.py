"""Rare and doubtful parts for the workshop, see ``station/rare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from station.observers.interface import Observer, ObserverSetup


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The rare-defect log; None where ``paths.rare`` names no folder for it."""
    config, journal = setup.config, setup.journal
    if config.paths.rare is None:
        return None
    from station.rare.items import Origin
    from station.rare.log import RareLog
    from station.rare.store import RareStore

    settings = config.rare
    store = RareStore(config.paths.rare, quota=settings.quota_mb * 1_000_000, same_below=settings.same_below)
    origin = Origin(
        journal.head.journal_id, config.station.name, config.is_simulated, journal.configuration_digest
    )
    return RareLog(store, settings, journal.path, origin)
