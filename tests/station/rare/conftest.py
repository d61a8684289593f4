"""Inspected parts of a small product, as the line offers them to the rare-defect log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.cameras.interface import Frame
from drivers.cameras.settings import Mode
from drivers.sorters.interface import Trigger
from station.config import Rare
from station.decision import decide, fault
from station.engines.interface import Engine, EngineInfo, Scores
from station.journal import Journal
from station.part import InspectedPart, PartInHand
from station.patching import cut
from station.prepared import Prepared
from station.rare.items import Origin
from station.rare.log import RareLog
from station.rare.store import RareStore
from station.recipe import Recipe, load_recipe

RECIPE = """
name: strip
version: 1
product: {background: none, widths_px: [32], height_px: 64, mm_per_px_x: 0.5, mm_per_px_y: 0.25}
surface: {height: 64, width: 32}
patch: {size: 32}
engine: scripted
classes:
  - {name: good, bin: 1}
  - {name: scratches, bin: 2}
  - {name: pits, bin: 3}
fault_bin: 9
"""


class NoEngine(Engine):
    def __init__(self, digit: str) -> None:
        self.info = EngineInfo(
            "scripted", digit * 64, "scripted", "fp32", "none", ("good", "scratches", "pits"), 32, 1, 0, 4
        )

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        raise NotImplementedError

    def close(self) -> None:
        pass


@dataclass
class Bench:
    """Makes parts, and the log that they are shown to."""

    folder: Path
    journal: Journal
    recipe: Recipe
    next_part: int = 1
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def part(
        self,
        class_name: str = "good",
        p: float = 0.99,
        *,
        features: NDArray[np.float32] | None = None,
        engine: str = "a",
        broken: str = "",
        cut_too: bool = True,
        novelty: tuple[float, float] | None = None,
    ) -> InspectedPart:
        """A part whose first patch has this class with this probability, recorded in the journal.

        ``broken``: a fault, with this reason; ``cut_too``: it has a picture all the same.
        """
        recipe, number = self.recipe, self.next_part
        self.next_part += 1
        names = [entry.name for entry in recipe.classes]
        scores = np.full((2, 3), (1 - p) / 2, np.float32)
        scores[0, names.index(class_name)] = p
        scores[1] = (0.998, 0.001, 0.001)
        prepared = Prepared(recipe, NoEngine(engine))
        trigger = Trigger(number, "", time.monotonic_ns())
        record_id = self.journal.open_part(trigger, recipe=recipe, mode=Mode.CELL, is_simulated=False)
        vectors = self.rng.normal(size=(2, 4)).astype(np.float32) if features is None else features
        part = PartInHand(trigger, prepared, record_id, 0)
        if cut_too:
            pixels = self.rng.integers(60, 200, (64, 32)).astype(np.uint8)
            part = part.seen(Frame(pixels, number, 0, True, time.monotonic_ns()))
            part = part.cut(cut(pixels, recipe), keep_frame=False)
        if not broken:
            part = part.scored(
                Scores(scores, vectors, None if novelty is None else np.array(novelty, np.float32))
            )
        verdict = fault(broken, recipe) if broken else decide(scores, recipe)
        self.journal.write_verdict(record_id, verdict, part.details())
        return InspectedPart(part, verdict, time.monotonic_ns())

    def log(self, *, quota_mb: float = 1.0, **settings: float) -> RareLog:
        """A log that keeps nothing of confident parts unless a test asks for it."""
        values = {"class_items": 0, "audit_good": 0.0, "audit_bad": 0.0} | settings
        store = RareStore(
            self.folder, quota=int(quota_mb * 1e6), same_below=float(values.get("same_below", 0.04))
        )
        origin = Origin(self.journal.head.journal_id, "press-3", False, "c" * 64)
        return RareLog(store, Rare(**values), self.journal.path, origin)  # type: ignore[arg-type]

    @property
    def store(self) -> RareStore:
        return RareStore(self.folder, quota=1_000_000)

    def kept(self) -> dict[int, list[str]]:
        """Part id -> the reasons why it is in the log."""
        return {
            entry.item.part_id: sorted(str(why.reason) for why in entry.item.whys)
            for entry in self.store.entries()
        }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    recipe = tmp_path / "strip.yaml"
    recipe.write_text(RECIPE)
    with Journal(tmp_path / "journal.db", station="press-3", configuration="a: b") as journal:
        yield Bench(tmp_path / "rare", journal, load_recipe(recipe))
