"""Thresholds of the decision for a target escape rate, from parts whose truth is known.

Each defect class gets one *level* s in 0..1, from sensitive to lenient. 0.5 is Algorithm 1 itself: the most
probable class decides. A level below 0.5 is the class's ``threshold``: a patch with p >= s is defective,
whatever is more probable. A level above 0.5 is its ``release_below``: a patch of this class passes if its
whole defect probability is below s. A part is rejected if any class finds a patch at its level. So a higher
level can only let more parts pass: escapes rise and overkill falls with every level.

For each permitted number of escapes, the search starts with every class at its most sensitive level, where
overkill is highest and escapes are fewest. It raises one level at a time, always the one that saves the most
overkill for the escapes that it costs. Where it ends is a point of the trade-off curve. Then each level moves
back towards Algorithm 1 as far as no count gets worse: a recipe differs from it only where the parts require
it. :func:`station.decision.decide` itself counts every point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from retraining.errors import DatasetError
from retraining.evaluation.proportions import ends, parts_needed
from retraining.evaluation.scored_parts import ScoredPart
from retraining.surfaces import SOUND
from station.decision import Verdict, decide, fault, tempered
from station.outcomes import Judgement, Outcomes, count_outcomes
from station.recipe import SURE, Recipe

NEUTRAL = 0.5
"""The level that is Algorithm 1."""
LEVELS: tuple[float, ...] = tuple(
    level
    for level in sorted({float(f"{1 / (1 + np.exp(-x)):.4g}") for x in np.linspace(-7.0, 7.0, 113)})
    if level <= SURE
)
"""Levels that are tried: evenly spaced in log-odds, from 0.0009 to what a recipe takes without a risk."""
_HINT = 1e-4
"""What one patchless step towards saving an overkill counts, where it takes several classes to save it."""


@dataclass(frozen=True, slots=True)
class OperatingPoint(Outcomes):
    """What the station's decision makes of the parts with some levels of the defect classes."""

    levels: tuple[float, ...]
    """One for each defect class, in the recipe's order."""


def with_levels(recipe: Recipe, levels: Sequence[float], temperature: float) -> Recipe:
    """The recipe with these levels and this temperature in place of its own."""
    classes = [recipe.classes[0]]
    for entry, level in zip(recipe.classes[1:], levels, strict=True):
        numbers = {
            "threshold": level if level < NEUTRAL else 0.0,
            "release_below": level if level > NEUTRAL else 0.0,
        }
        classes.append(entry.model_copy(update=numbers))
    # Not checked here: a temperature that is a risk is asked for when the recipe is read.
    rules = recipe.decision.model_copy(update={"temperature": temperature})
    return recipe.model_copy(update={"classes": tuple(classes), "decision": rules})


def verdicts(parts: Sequence[ScoredPart], recipe: Recipe) -> list[Verdict]:
    """The station's verdict on every part."""
    return [fault(p.reason, recipe) if p.scores is None else decide(p.scores, recipe) for p in parts]


def operating_point(
    parts: Sequence[ScoredPart], recipe: Recipe, levels: Sequence[float], temperature: float
) -> OperatingPoint:
    """What the station makes of the parts with these levels."""
    found = verdicts(parts, with_levels(recipe, levels, temperature))
    counted = count_outcomes(
        Judgement(part.defective, verdict.outcome, verdict.class_index in part.labels)
        for part, verdict in zip(parts, found, strict=True)
    )
    return OperatingPoint(**asdict(counted), levels=tuple(levels))


def trade_off(parts: Sequence[ScoredPart], recipe: Recipe, temperature: float) -> list[OperatingPoint]:
    """The curve from few escapes to little overkill, Algorithm 1 among its points, by rising escapes.

    Raises :class:`DatasetError` without good or without defective parts.
    """
    defective = np.array([p.defective for p in parts], bool)
    if defective.all() or not defective.any():
        raise DatasetError("thresholds need good and defective parts; add those that are missing")
    reach = critical_levels(parts, recipe, temperature)
    found = [(NEUTRAL,) * (len(recipe.classes) - 1)]
    fewest = len(parts) + 1
    for allowed in _allowances(int(defective.sum())):
        levels = _most_lenient(reach, defective, allowed)
        _, overkill = _counts(reach, defective, levels)
        if overkill < fewest:
            found.append(_towards_neutral(reach, defective, levels))
            fewest = overkill
        if _counts(reach, defective, (1.0,) * reach.shape[1])[1] == overkill:
            break
    candidates = dict.fromkeys(found)
    points = [operating_point(parts, recipe, levels, temperature) for levels in candidates]
    return sorted(points, key=lambda p: (p.escapes, -p.overkill))


def common_levels(parts: Sequence[ScoredPart], recipe: Recipe, temperature: float) -> list[OperatingPoint]:
    """What every second level does when all classes share it: how far away either kind of error is."""
    count = len(recipe.classes) - 1
    return [operating_point(parts, recipe, (level,) * count, temperature) for level in LEVELS[::2]]


def choose(points: Sequence[OperatingPoint], target: float, *, surely: bool = False) -> OperatingPoint:
    """The point with the least overkill whose escape rate is at most ``target``.

    ``surely``: not the rate counted but the upper end of its 95 % interval must be. Of equals the one with
    fewer escapes, then with more parts of the right class. Raises :class:`DatasetError` where there is none.
    """
    if not 0.0 <= target < 1.0:
        raise DatasetError(f"an escape rate of {target} is not within 0 to 1")
    allowed = [p for p in points if bound(p, surely) <= target]
    if not allowed:
        least = min(points, key=lambda p: bound(p, surely))
        remedy = "train further, or add validation parts"
        if surely and target > 0.0:
            remedy = f"it takes {parts_needed(target)} defective parts without an escape to show it"
        raise DatasetError(
            f"no thresholds keep the escape rate at {target:.2%}: the most sensitive thresholds let "
            f"{least.escapes} of "
            f"{least.defective} escape (up to {bound(least, True):.2%}); {remedy}"
        )
    return min(allowed, key=lambda p: (p.overkill, p.escapes, -p.right))


def bound(point: OperatingPoint, surely: bool) -> float:
    """The escape rate, or the upper end of its 95 % interval."""
    return ends(point.escapes, point.defective)[1] if surely else point.escape_rate


def critical_levels(parts: Sequence[ScoredPart], recipe: Recipe, temperature: float) -> NDArray[np.float64]:
    """``(parts, defect classes)``: up to which level a class rejects a part; 1 throughout for a fault.

    The decision's own rules: up to 0.5 a class has a patch whose most probable class it is, or whose
    probability of it reaches the level; above, the former with a whole defect probability that does.
    """
    reach = np.ones((len(parts), len(recipe.classes) - 1))
    for row, part in enumerate(parts):
        if part.scores is None:
            continue
        p = tempered(part.scores, temperature)
        defects, whole = p[:, 1:], p[:, 1:].sum(axis=1)
        decided = defects.max(axis=1) >= p[:, SOUND]
        strongest = np.eye(defects.shape[1], dtype=bool)[defects.argmax(axis=1)] & decided[:, None]
        by_patch = np.where(
            strongest, np.maximum(whole, NEUTRAL)[:, None], np.minimum(defects, np.nextafter(NEUTRAL, 0))
        )
        reach[row] = by_patch.max(axis=0)
    return reach


def _counts(
    reach: NDArray[np.float64], defective: NDArray[np.bool_], levels: Sequence[float]
) -> tuple[int, int]:
    """Escapes and overkill at these levels."""
    rejected = (reach >= np.asarray(levels)).any(axis=1)
    return int((~rejected & defective).sum()), int((rejected & ~defective).sum())


def _allowances(defective: int) -> list[int]:
    """Numbers of escapes for which a point is looked for: each up to 60, then in steps of a thirtieth."""
    found = [0]
    while found[-1] < defective:
        found.append(min(defective, found[-1] + max(1, found[-1] // 30)))
    return found


def _most_lenient(
    reach: NDArray[np.float64], defective: NDArray[np.bool_], allowed: int
) -> tuple[float, ...]:
    """Levels raised one at a time, at the best price first, while no more than ``allowed`` parts escape.

    Where even the most sensitive levels let more escape, these.
    """
    count = reach.shape[1]
    at = [0] * count
    while True:
        hits = reach >= np.array([LEVELS[i] for i in at])
        rejecting = hits.sum(axis=1)
        left = allowed - int((defective & (rejecting == 0)).sum())
        best: tuple[float, float, int, int] | None = None
        for k in range(count):
            dropped = hits[:, k, None] & (reach[:, k, None] < np.array(LEVELS[at[k] + 1 :]))
            passed = dropped & (rejecting == 1)[:, None]
            saved = passed[~defective].sum(axis=0) + _HINT * dropped[~defective].sum(axis=0)
            costs = passed[defective].sum(axis=0)
            for offset in np.flatnonzero((saved > 0) & (costs <= left)):
                gain, cost = float(saved[offset]), int(costs[offset])
                rank = (-gain / cost if cost else -np.inf, -gain, at[k] + 1 + int(offset), k)
                best = rank if best is None else min(best, rank)
        if best is None:
            return tuple(LEVELS[i] for i in at)
        at[best[3]] = best[2]


def _towards_neutral(
    reach: NDArray[np.float64], defective: NDArray[np.bool_], levels: tuple[float, ...]
) -> tuple[float, ...]:
    """Each level as near to 0.5 as it can be without one more escape or one more overkill."""
    wanted, found = _counts(reach, defective, levels), list(levels)
    for k, level in enumerate(levels):
        for nearer in sorted(LEVELS, key=lambda s: abs(s - NEUTRAL)):
            if abs(nearer - NEUTRAL) >= abs(level - NEUTRAL):
                break
            tried = [*found[:k], nearer, *found[k + 1 :]]
            escapes, overkill = _counts(reach, defective, tried)
            if escapes <= wanted[0] and overkill <= wanted[1]:
                found = tried
                break
    return tuple(found)
