"""Pictures of rejected (or faulted) parts, see ``station/pictures/saving.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.sorters.interface import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from station.observers.interface import Observer, ObserverSetup

PICTURES_OF = {
    "rejects": frozenset({Outcome.REJECT}),
    "faults-and-rejects": frozenset({Outcome.REJECT, Outcome.FAULT}),
}
"""``images.save`` -> the parts whose pictures are kept."""


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The saver of pictures; None where ``images.save`` is ``none``."""
    images, journal = setup.config.images, setup.journal
    if images.save == "none":
        return None
    from station.pictures.saving import PictureSaver

    def into_the_journal(record_id: int, path: Path, sha256: str) -> None:
        journal.write_event("picture", {"path": str(path), "sha256": sha256}, record_id=record_id)

    return PictureSaver(
        setup.config.paths.images,
        quota_mb=images.quota_mb,
        capacity=images.queue,
        outcomes=PICTURES_OF[images.save],
        on_saved=into_the_journal,
    )
