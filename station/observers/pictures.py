"""Pictures of rejected (or faulted) parts, see ``station/pictures/saving.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.sorters.interface import Outcome

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.observers.interface import Observer
    from station.simulated_plant import Plant

PICTURES_OF = {
    "rejects": frozenset({Outcome.REJECT}),
    "faults-and-rejects": frozenset({Outcome.REJECT, Outcome.FAULT}),
}
"""``images.save`` -> the parts whose pictures are kept."""


def make_observer(config: StationConfig, plant: Plant) -> Observer | None:
    """The saver of pictures; None where ``images.save`` is ``none``."""
    if config.images.save == "none":
        return None
    from station.pictures.saving import PictureSaver

    return PictureSaver(
        config.paths.images,
        quota_mb=config.images.quota_mb,
        capacity=config.images.queue,
        outcomes=PICTURES_OF[config.images.save],
    )
