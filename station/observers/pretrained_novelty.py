"""The novelty by the engine's second network, in spare time, see ``station/rare/pretrained.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from station.engines.interface import Engine
    from station.observers.interface import Observer, ObserverSetup
    from station.prepared import Prepared
    from station.spare.jobs import SecondNetwork


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The observer; None where there is no log of rare parts, or ``rare.pretrained_share`` is 0."""
    config = setup.config
    share = config.rare.pretrained_share
    if config.paths.rare is None or not share:
        return None
    from station.rare.pretrained import PretrainedNovelty
    from station.spare.engine import open_second_network

    def opened(prepared: Prepared) -> Engine | None:
        return open_second_network(job_of(config.paths.engines, prepared))

    return PretrainedNovelty(setup.journal, opened, share)


def job_of(engines: Path, prepared: Prepared) -> SecondNetwork:
    """The second network of the engine that judges."""
    from station.spare.jobs import SecondNetwork

    return SecondNetwork.of(prepared.folder_of_engine(engines), prepared.engine.info)
