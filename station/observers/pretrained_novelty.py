"""The novelty by the engine's second network, in spare time, see ``station/rare/pretrained.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from station.engines.interface import Engine
    from station.observers.interface import Observer, ObserverSetup
    from station.prepared import Prepared


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The observer; None where there is no log of rare parts, or ``rare.pretrained_share`` is 0."""
    config = setup.config
    share = config.rare.pretrained_share
    if config.paths.rare is None or not share:
        return None
    from station.rare.pretrained import PretrainedNovelty

    def opened(prepared: Prepared) -> Engine | None:
        return open_beside(config.paths.engines, prepared)

    return PretrainedNovelty(setup.journal, opened, share)


def open_beside(engines: Path, prepared: Prepared) -> Engine | None:
    """The second network of the engine that judges, proven, computing in spare time; None where it has none.

    Raises ``EngineError``.
    """
    from drivers import heartbeat
    from station.engines.folder import load_manifest
    from station.engines.interface import EngineError
    from station.engines.pretrained import open_pretrained
    from station.spare_time import in_spare_time

    info = prepared.engine.info

    def opened() -> Engine | None:
        manifest = load_manifest(prepared.folder_of_engine(engines), info.name)
        if info.digest not in manifest.digests.values():
            raise EngineError(
                f"the folder of engine {info.name} is not that of the engine which judges: it was changed; "
                "activate the engine again"
            )
        return None if manifest.pretrained is None else open_pretrained(manifest)

    return in_spare_time(opened, heartbeat.beat)
