"""A second opinion on a share of the parts, see ``station/rare/second_opinion.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from station.config import SecondOpinion, StationConfig
    from station.engines.interface import Engine
    from station.observers.interface import Observer, ObserverSetup
    from station.prepared import Prepared
    from station.recipe import Recipe


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The second opinion; None where ``rare.second_opinion`` is not set."""
    config = setup.config
    wanted = config.rare.second_opinion
    if wanted is None:
        return None
    from station.rare.second_opinion import SecondOpinion

    def opened(prepared: Prepared) -> Engine:
        folder = prepared.folder_of_engine(config.paths.engines)
        return open_second(config, wanted, folder, prepared.engine.info.name, prepared.recipe)

    return SecondOpinion(setup.journal, opened, wanted.share)


def open_second(
    config: StationConfig, wanted: SecondOpinion, folder: Path, name: str, recipe: Recipe
) -> Engine:
    """The engine ``name`` in ``folder`` as ``rare.second_opinion`` asks for it, proven; one patch at a time.

    Raises ``EngineError``.
    """
    from station.engines.choose import open_chosen
    from station.engines.folder import load_manifest
    from station.engines.interface import EngineOptions

    options = EngineOptions(threads=1, chunk=1, cache=config.paths.cache)
    manifest = load_manifest(folder, name)
    return open_chosen(manifest, wanted.backend, wanted.precision, options, recipe)[0]
