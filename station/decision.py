"""One verdict for a part from the scores of its patches: Algorithm 1 of the SMHSI paper, fail closed.

Algorithm 1 (section III.C): every patch takes its most probable class; the part is defect-free if, and
only if, every patch is; otherwise the part takes the class of the defective patch with the highest
probability. A recipe may extend it:

- ``decision.temperature`` T: every p becomes softmax(log p / T). The most probable class stays the same.
- ``threshold`` t of a defect class c: a patch with p_c >= t is defective too, whatever is more probable.
  It can only add defective patches.
- ``release_below`` t of a defect class c: a patch whose most probable class is c is let pass while its
  whole defect probability (the sum of all defect classes) is below t, and no threshold is reached. This
  is the only rule that makes fewer patches defective; every step up of it lets more defects escape.

- ``decision.unknown: reject``: a part that no class rejects, and one of whose patches is far from what the
  engine was trained on (novelty > 1), is rejected as class ``unknown``. It can only add rejects. A recipe
  with one class has nothing else to reject by.

Equal probabilities go to the defect. Whatever is not a full set of probabilities is a fault; where unknown
parts are rejected, so is whatever is not a novelty of every patch.

:func:`decide_by` is the rule itself; it needs no bins, so that an engine is judged by it, too.
:func:`decide` adds the bin. Nothing else names a part's class or says which patches are defective.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from station.faults import Code
from station.recipe import UNKNOWN, Recipe

FAULT_CLASS = 255
"""The class index of a fault."""

UNKNOWN_CLASS = 254
"""The class index of a part that no class rejected and that is far from what the engine was trained on."""

FAR = 1.0
"""The novelty above which a patch is far from what the engine was trained on."""

SUM_TOLERANCE = 1e-3
"""The largest difference from 1 of the sum of a patch's probabilities."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of the decision for a product; values by class are in the order of ``classes``."""

    patches: int
    """Patches of one part."""
    classes: tuple[str, ...]
    """The first one is the good one."""
    temperature: float
    thresholds: tuple[float, ...]
    """The probability from which a patch counts as a class; 0 = not used."""
    releases: tuple[float, ...]
    """The sum of defect probabilities below which a patch of a class counts as good; 0 = never."""
    reject_unknown: bool = False
    """Whether a part is rejected that is far from what the engine was trained on."""

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The rules of a recipe."""
        return cls(
            recipe.patch_count,
            tuple(entry.name for entry in recipe.classes),
            recipe.decision.temperature,
            tuple(entry.threshold for entry in recipe.classes),
            tuple(entry.release_below for entry in recipe.classes),
            recipe.decision.unknown == "reject",
        )

    def name_of(self, class_index: int) -> str:
        """A class index in words; ``a fault`` for a fault."""
        special = {FAULT_CLASS: "a fault", UNKNOWN_CLASS: UNKNOWN}
        return special.get(class_index) or self.classes[class_index]


@dataclass(frozen=True, slots=True)
class Decision:
    """The class of a part by its patches, without a bin; the fields are those of :class:`Verdict`."""

    class_index: int
    confidence: float
    patch: int | None
    reason: str
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a part ends, and why."""

    outcome: Outcome
    class_index: int
    """Index in the recipe's classes; 255 for a fault, 254 for ``unknown``."""
    class_name: str
    """``fault`` for a fault, ``unknown`` for a part that is far from what the engine was trained on."""
    confidence: float
    """Reject: the deciding probability. Accept: the lowest defect-free one of all patches. Fault: 0.

    Unknown: 1 - 1 / novelty of the deciding patch: 0 at the threshold, 0.5 at twice the threshold.
    """
    patch: int | None
    """The patch that decided: the deciding one of a reject, the least certain one of an accept."""
    bin: int
    reason: str
    """Which rule decided, in words; a fault begins with its code (docs/faults.md). ASCII."""
    labels: tuple[int, ...] = ()
    """The class index of every patch, 0 where it is not defective; empty for a fault."""


def decide(
    scores: NDArray[np.float32], recipe: Recipe, novelty: NDArray[np.float32] | None = None
) -> Verdict:
    """The verdict from ``scores`` (patches, classes), probabilities in the recipe's class order.

    ``novelty`` (patches,) is looked at only where the recipe rejects unknown parts, and is needed there.
    Never raises for bad scores: they are a fault.
    """
    found = decide_by(scores, Rules.of(recipe), novelty)
    if found.class_index == FAULT_CLASS:
        return fault(found.reason, recipe)
    if found.class_index == UNKNOWN_CLASS:
        name, to = UNKNOWN, recipe.decision.unknown_bin
        assert to is not None, "a recipe that rejects unknown parts names their bin"
    else:
        name, to = recipe.classes[found.class_index].name, recipe.classes[found.class_index].bin
    outcome = Outcome.REJECT if found.class_index else Outcome.ACCEPT
    return Verdict(
        outcome, found.class_index, name, found.confidence, found.patch, to, found.reason, found.labels
    )


def decide_by(
    scores: NDArray[np.float32], rules: Rules, novelty: NDArray[np.float32] | None = None
) -> Decision:
    """The class of a part from ``scores`` (patches, classes), probabilities in the rules' order.

    ``novelty`` (patches,) is looked at only where the rules reject unknown parts, and is needed there.
    Never raises for bad scores: they are a fault.
    """
    problem = _problem(scores, rules) or _problem_of_novelty(novelty, rules)
    if problem:
        return Decision(FAULT_CLASS, 0.0, None, Code.BAD_SCORES.of(problem), ())
    decision = _by_classes(scores, rules) if len(rules.classes) > 1 else None
    if rules.reject_unknown and novelty is not None and (decision is None or not decision.class_index):
        decision = _by_novelty(novelty, rules) or decision
    return decision or Decision(FAULT_CLASS, 0.0, None, Code.BAD_SCORES.of("nothing to decide by"), ())


def _by_novelty(novelty: NDArray[np.float32], rules: Rules) -> Decision | None:
    """The decision by the novelty alone: unknown, or good where there is one class; else None."""
    far = novelty > FAR
    patch = int(np.argmax(novelty))
    highest = float(novelty[patch])
    if not far.any():
        if len(rules.classes) > 1:
            return None
        reason = f"all {len(far)} patches {rules.classes[0]}, highest novelty {highest:.3g} at {patch}"
        return Decision(0, 1.0, patch, reason, (0,) * len(far))
    reason = f"patch {patch}: far from training, novelty {highest:.3g} (threshold {FAR:g})"
    labels = tuple(np.where(far, UNKNOWN_CLASS, 0).tolist())
    return Decision(UNKNOWN_CLASS, 1.0 - FAR / highest, patch, reason, labels)


def _by_classes(scores: NDArray[np.float32], rules: Rules) -> Decision:
    """The decision by the probabilities alone."""
    probabilities = tempered(scores, rules.temperature)
    names = rules.classes
    thresholds = np.array([threshold or np.inf for threshold in rules.thresholds])
    thresholds[0] = np.inf
    release = np.array(rules.releases)

    # Lines 8-9 of Algorithm 1: the most probable class; a tie with defect-free goes to the defect.
    defects = probabilities[:, 1:]
    strongest = 1 + np.argmax(defects, axis=1)
    strongest_p = defects.max(axis=1)
    by_argmax = strongest_p >= probabilities[:, 0]
    by_argmax &= defects.sum(axis=1) >= release[strongest]
    over = probabilities >= thresholds
    by_threshold = over.any(axis=1) & ~by_argmax
    over_p = np.where(over, probabilities, -1.0)

    # Lines 12-14: among the defective patches, the class with the highest probability.
    label = np.where(by_argmax, strongest, np.argmax(over_p, axis=1))
    label_p = np.where(by_argmax, strongest_p, over_p.max(axis=1))
    defective = by_argmax | by_threshold
    labels = tuple(np.where(defective, label, 0).tolist())
    if defective.any():
        patch = int(min(np.flatnonzero(defective), key=lambda i: (-label_p[i], label[i], i)))
        index = labels[patch]
        p = float(label_p[patch])
        rule = "most probable class" if by_argmax[patch] else f"threshold {rules.thresholds[index]:g}"
        reason = f"patch {patch}: {names[index]} {_shown(p)} ({rule})"
        return Decision(index, p, patch, reason, labels)

    good = probabilities[:, 0]
    patch = int(np.argmin(good))
    p = float(good[patch])
    released = int(np.count_nonzero(strongest_p >= good))
    reason = f"all {len(good)} patches {names[0]}, least {_shown(p)} at {patch}"
    if released:
        reason = f"no defect of {len(good)} patches, {released} released, least {_shown(p)} at {patch}"
    return Decision(0, p, patch, reason, labels)


def fault(reason: str, recipe: Recipe) -> Verdict:
    """The verdict of a part that could not be inspected: to the recipe's fault bin."""
    return Verdict(Outcome.FAULT, FAULT_CLASS, "fault", 0.0, None, recipe.fault_bin, reason)


def tempered(scores: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """softmax(log p / T) along the last axis; as given for T = 1."""
    given = np.asarray(scores, dtype=np.float64)
    if temperature == 1.0:
        return given
    with np.errstate(divide="ignore"):
        logs = np.log(given) / temperature
    weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float64)


def _problem(scores: NDArray[np.float32], rules: Rules) -> str:
    """Why these scores are not a full set of probabilities; empty when they are."""
    wanted = (rules.patches, len(rules.classes))
    shape = getattr(scores, "shape", None)
    if shape is None or not np.issubdtype(scores.dtype, np.floating):
        return "scores are not an array of floating-point numbers"
    if shape != wanted:
        return f"scores have shape {shape}, not {wanted} (patches, classes)"
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        return f"patch {int(np.argmin(finite))}: a score is not a number"
    sums = scores.sum(axis=1, dtype=np.float64)
    right = (np.abs(sums - 1.0) <= SUM_TOLERANCE) & (scores >= 0.0).all(axis=1)
    if not right.all():
        patch = int(np.argmin(right))
        return f"patch {patch}: scores are no probabilities (sum {sums[patch]:.4g})"
    return ""


def _problem_of_novelty(novelty: NDArray[np.float32] | None, rules: Rules) -> str:
    """Why unknown parts cannot be told by this novelty; empty where they can, or are not rejected."""
    if not rules.reject_unknown:
        return "" if len(rules.classes) > 1 else "with one class, only unknown parts can be rejected"
    shape = getattr(novelty, "shape", None)
    if novelty is None or shape is None or not np.issubdtype(novelty.dtype, np.floating):
        return "unknown parts are to be rejected, and the engine gives no novelty"
    if shape != (rules.patches,):
        return f"novelty has shape {shape}, not {(rules.patches,)} (patches)"
    right = np.isfinite(novelty) & (novelty >= 0.0)
    if not right.all():
        patch = int(np.argmin(right))
        return f"patch {patch}: novelty is {novelty[patch]:g}, not a number from 0 on"
    return ""


def _shown(p: float) -> str:
    """A probability with three decimals, never rounded up to 1."""
    return f"{min(p, 0.999) if p < 1.0 else 1.0:.3f}"
