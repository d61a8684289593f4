"""What a network is worth at the station: whole frames, through the station's own patching and decision.

Parts are rendered once and inspected by every engine given, so that engines differ by nothing but themselves.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from retraining.errors import DatasetError
from retraining.surfaces.rendered import GOLDEN_SEEDS, frames_of
from simulation.rendering.parts import RenderedPart, render_part
from simulation.truth import PartTruth, SimulationError
from station.decision import Verdict, decide, fault
from station.engines.interface import Scorer
from station.outcomes import Judgement, Outcomes, count_outcomes
from station.patching import PatchingError, cut_part
from station.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PartResult:
    """One part, its defects, and the verdict with one engine."""

    engine: str
    seed: int
    width_px: int
    truth: str
    """The part's class."""
    also: str
    """Every class on it, joined by ``+``; naming any of them is right."""
    level: str
    """That of its most visible defect; "" on a good part."""
    visibility: float
    contrast: float
    size_px: float
    outcome: str
    found: str
    confidence: float
    reason: str

    @property
    def judgement(self) -> Judgement:
        """The verdict beside the truth."""
        return Judgement(self.level != "", Outcome(self.outcome), self.found in self.also.split("+"))

    @property
    def right(self) -> bool:
        """The verdict names a class that is really on the part."""
        return self.judgement.right

    @property
    def defective(self) -> bool:
        """Whether the part has a defect."""
        return self.judgement.defective

    @property
    def escaped(self) -> bool:
        """A defective part that was accepted."""
        return self.judgement.escaped

    @property
    def overkilled(self) -> bool:
        """A good part that was not accepted."""
        return self.judgement.overkilled


def rendered_test_parts(recipe: Recipe, per_class: int, seed: int, mixed: int = 0) -> Iterator[RenderedPart]:
    """``per_class`` parts of each class with one defect each, then ``mixed`` parts with two or three kinds.

    Widths and levels are drawn by the seed, marginal ones included. Raises :class:`DatasetError`.
    """
    for number in range(check_test_seeds(recipe, per_class, seed, mixed)):
        yield rendered_test_part(recipe, per_class, seed, number)


def rendered_test_part(recipe: Recipe, per_class: int, seed: int, number: int) -> RenderedPart:
    """The ``number``-th part of :func:`rendered_test_parts`."""
    part_seed = seed * 10_000 + number
    if number >= per_class * len(recipe.classes):
        return _any_part(part_seed, "mixed", 3)
    index = number % len(recipe.classes)
    return render_part(part_seed, kind=recipe.classes[index].name if index else None)


def check_test_seeds(recipe: Recipe, per_class: int, seed: int, mixed: int = 0) -> int:
    """The number of parts of such a set; raises :class:`DatasetError` when it leaves the test seeds."""
    count = per_class * len(recipe.classes) + mixed
    first = seed * 10_000
    if not 0 <= first < first + count <= min(GOLDEN_SEEDS, first + 10_000):
        raise DatasetError(
            f"seed {seed} with {count} parts is outside the range of test seeds; use 0 to 9998"
        )
    return count


def inspect_frames(frames: Sequence[NDArray[np.uint8]], recipe: Recipe, score: Scorer) -> Verdict:
    """The station's verdict on a part: one frame ``(H, W)`` or ``(H, W, 3)``, or one ``(H, W)`` per lamp."""
    try:
        patches = cut_part(frames, recipe)
    except PatchingError as error:
        return fault(str(error), recipe)
    return decide(score(patches.pixels), recipe)


def evaluate(
    engines: Mapping[str, Scorer],
    recipe: Recipe,
    parts: Iterable[RenderedPart],
    report: Callable[[int, str], None] = lambda done, line: None,
) -> list[PartResult]:
    """Every engine's verdict on every part; the parts are rendered once, one ahead."""
    results: list[PartResult] = []
    for number, (part, frames) in enumerate(_one_ahead(parts, recipe), start=1):
        for name, score in engines.items():
            result = part_result(name, part.truth, inspect_frames(frames, recipe, score))
            results.append(result)
            if not result.right:
                found = f"part {result.seed} ({result.also} {result.level}) -> {result.reason}"
                report(number, f"{name}: {found}")
        report(number, "")
    return results


def part_result(engine: str, truth: PartTruth, verdict: Verdict) -> PartResult:
    """One engine's verdict beside the truth."""
    strongest = max(truth.defects, key=lambda d: d.visibility, default=None)
    return PartResult(
        engine=engine,
        seed=truth.seed,
        width_px=truth.width,
        truth=truth.label,
        also="+".join(truth.labels),
        level=strongest.level if strongest else "",
        visibility=strongest.visibility if strongest else 0.0,
        contrast=strongest.swing if strongest else 0.0,
        size_px=strongest.size_px if strongest else 0.0,
        outcome=str(verdict.outcome),
        found=verdict.class_name,
        confidence=verdict.confidence,
        reason=verdict.reason,
    )


def _one_ahead(
    parts: Iterable[RenderedPart], recipe: Recipe
) -> Iterator[tuple[RenderedPart, list[NDArray[np.uint8]]]]:
    """The same parts with their frames; the next one is rendered while the last one is inspected."""
    waiting = iter(parts)

    def render() -> tuple[RenderedPart, list[NDArray[np.uint8]]] | None:
        part = next(waiting, None)
        return None if part is None else (part, frames_of(part, recipe))

    with ThreadPoolExecutor(1) as renderer:
        coming = renderer.submit(render)
        while (rendered := coming.result()) is not None:
            coming = renderer.submit(render)
            yield rendered


def figures(results: list[PartResult]) -> dict[str, Outcomes]:
    """Counts by engine, in the order the engines were given."""
    engines = dict.fromkeys(r.engine for r in results)
    return {name: count_outcomes(r.judgement for r in results if r.engine == name) for name in engines}


def write_results(results: list[PartResult], path: Path) -> None:
    """One CSV row per part and engine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(PartResult)])
        writer.writeheader()
        writer.writerows(asdict(r) for r in results)


def _any_part(seed: int, kind: str, most: int) -> RenderedPart:
    """A part with up to ``most`` defects: as many as find room."""
    for count in range(most, 1, -1):
        try:
            return render_part(seed, kind=kind, defects_per_part=count)
        except SimulationError:
            continue
    return render_part(seed, kind=kind)
