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
    from station.spare.jobs import JudgingEngine


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The second opinion; None where ``rare.second_opinion`` is not set."""
    config = setup.config
    wanted = config.rare.second_opinion
    if wanted is None:
        return None
    from station.rare.second_opinion import SecondOpinion
    from station.spare.engine import open_judging

    def opened(prepared: Prepared) -> Engine:
        folder = prepared.folder_of_engine(config.paths.engines)
        return open_judging(job_of(config, wanted, folder, prepared.engine.info.name, prepared.recipe))[0]

    return SecondOpinion(setup.journal, opened, wanted.share)


def job_of(
    config: StationConfig, wanted: SecondOpinion, folder: Path, name: str, recipe: Recipe
) -> JudgingEngine:
    """The engine ``name`` in ``folder`` as ``rare.second_opinion`` asks for it."""
    from station.spare.jobs import JudgingEngine

    return JudgingEngine.of(folder, name, recipe, wanted.backend, wanted.precision, config.paths.cache)
