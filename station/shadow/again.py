"""Parts of the past judged again by two engines, from the surfaces that the rare-defect log has kept.

The surface of an item is what the line cut its patches from, bit by bit, so both engines see what the line
saw, and decide by the code of the line. Only parts that were kept can be judged again: the doubtful and rare
ones, and the audit's sample of all others, by which the share of all parts that would change is estimated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from station.decision import FAR, UNKNOWN_CLASS, Verdict
from station.rare.items import Item
from station.recipe import Recipe
from station.shadow.changes import Change, Judged

if TYPE_CHECKING:
    from station.rare.store import Entry
    from station.shadow.side import Side


@dataclass(frozen=True, slots=True)
class JudgedAgain:
    """An item, judged by both engines."""

    entry: Entry
    old: Verdict
    new: Verdict
    judged: Judged
    new_scores: NDArray[np.float32]
    """``(patches, classes)``."""


def judge_again(
    entries: Iterable[Entry],
    read: Callable[[Entry], NDArray[np.uint8]],
    old: Side,
    new: Side,
) -> Iterator[JudgedAgain]:
    """Each item by both engines. ``read``: its picture. Raises ``EngineError``, ``RareLogError``."""
    for entry in entries:
        item = entry.item
        patches = item.patches(read(entry)).pixels
        scores, new_scores = old.engine.scores(patches), new.engine.scores(patches)
        before, after = old.decide(scores), new.decide(new_scores)
        far = scores.novelty is not None and bool(scores.novelty.max() > FAR)
        judged = Judged(
            item.record_id,
            before.outcome,
            before.class_name,
            after.outcome,
            after.class_name,
            far or before.class_index == UNKNOWN_CLASS,
            item.said_class,
            item.said_class == new.recipe.classes[0].name,
        )
        yield JudgedAgain(entry, before, after, judged, new_scores.probabilities)


def fits(item: Item, recipe: Recipe) -> bool:
    """Whether an item was cut as the recipe cuts: another surface or grid is no part of this product."""
    return item.recipe == recipe.name and (item.patch_size, item.overlap_px) == (
        recipe.patch.size,
        recipe.patch.overlap_px,
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """What a comparison comes to."""

    parts: int
    changes: Counter[Change]
    worse: int
    better: int
    said: int
    """Parts of which a person said what they are."""
    old_right: int
    new_right: int
    """Of these, the parts of which the engine says the same, or that both call defective."""
    share_changed: float
    """The share of all parts of the period that would change, estimated by the audit's shares."""


def summary_of(found: Sequence[JudgedAgain], audit_good: float, audit_bad: float) -> Summary:
    """The summary; ``audit_good`` and ``audit_bad`` are the shares that the audit has drawn."""
    weights = np.array([_weight(one.entry, audit_good, audit_bad) for one in found])
    changed = np.array([one.judged.change is not Change.SAME for one in found], bool)
    said = [one for one in found if one.judged.said is not None]
    return Summary(
        len(found),
        Counter(one.judged.change for one in found),
        sum(one.judged.is_worse for one in found),
        sum(one.judged.is_better for one in found),
        len(said),
        sum(_is_right(one.old, one.judged) for one in said),
        sum(_is_right(one.new, one.judged) for one in said),
        float(weights[changed].sum() / weights.sum()) if len(found) else 0.0,
    )


def _weight(entry: Entry, audit_good: float, audit_bad: float) -> float:
    """How many parts of the period an item stands for (Horvitz and Thompson 1952)."""
    share = audit_good if entry.item.outcome == Outcome.ACCEPT else audit_bad
    return 1 / share if entry.item.is_audit and share else float(entry.times_seen)


def _is_right(verdict: Verdict, judged: Judged) -> bool:
    return verdict.outcome is (Outcome.ACCEPT if judged.said_good else Outcome.REJECT)
