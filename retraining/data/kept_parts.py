"""Parts that stations kept for the workshop: in a station's rare log, or received from it by hand-off.

Their pictures are surfaces at the recipe's size, as the station cut them, without drawings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retraining.receiving import received_items
from station.rare.index import INDEX
from station.rare.items import Item
from station.rare.store import RareStore

STATIONS = "stations"
"""The folder of items below the folder of ``retrain receive``."""
_NAMED = 3
"""Classes whose scores are said."""


@dataclass(frozen=True, slots=True)
class KeptPart:
    """One part, and where its picture lies."""

    item: Item
    path: str
    """Of the picture, relative to the folder, POSIX."""
    sha256: str = ""
    """What the picture's file had when it was written; "" where that is not known."""

    @property
    def group(self) -> str:
        """The part: all pictures of it show the same surface."""
        return f"{self.item.journal_id[:8]} part {self.item.part_id}"


def is_rare_log(folder: Path) -> bool:
    """Whether a station keeps, or kept, its rare parts here."""
    return (folder / INDEX).is_file()


def is_received(folder: Path) -> bool:
    """Whether ``retrain receive`` writes here."""
    return (folder / STATIONS).is_dir()


def kept_parts(folder: Path) -> list[KeptPart]:
    """The parts of a rare log or of a folder of ``retrain receive``, by path; none in any other folder.

    Raises ``InspectionError`` for a log or record that cannot be read.
    """
    if is_rare_log(folder):
        found = [
            KeptPart(one.item, one.picture.relative_to(folder).as_posix(), one.sha256)
            for one in RareStore(folder).entries()
        ]
    elif is_received(folder):
        found = [KeptPart(item, file.relative_to(folder).as_posix()) for item, file in received_items(folder)]
    else:
        found = []
    return sorted(found, key=lambda part: part.path)


def why_kept(item: Item) -> str:
    """Why the station kept a part, and what it made of it, in one line for a person who labels it."""
    reasons = "; ".join(f"{why.reason} ({why.text})" for why in item.whys)
    said = f"kept because of: {reasons or 'no reason given'}. The station: {item.outcome}"
    said += f", {item.class_name} {item.confidence:.2f}" if item.scores else f" ({item.verdict_reason})"
    if item.scores:
        scores = np.array(item.scores)
        patch = item.patch if item.patch is not None else int(scores[:, 1:].max(axis=1, initial=0).argmax())
        best = np.argsort(-scores[patch])[:_NAMED]
        said += f"; patch {patch}: " + ", ".join(f"{item.classes[k]} {scores[patch, k]:.2f}" for k in best)
    if item.novelty:
        said += f"; novelty up to {max(item.novelty):.2f} (above 1: far from training)"
    return " ".join(said.split())
