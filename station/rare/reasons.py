"""Why an inspected part is worth keeping: one small function per reason, no I/O.

A further voice, for example a second engine that judges beside the active one, is one more function in
:func:`reasons_of` and one more :class:`~station.rare.items.Reason`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.sorters.interface import Outcome
from station.decision import FAR, UNKNOWN_CLASS, tempered
from station.rare.items import Reason, Why

if TYPE_CHECKING:
    from collections.abc import Mapping

    from station.config import Rare
    from station.part import InspectedPart


def reasons_of(inspected: InspectedPart, settings: Rare, *, items_of_class: int, draw: float) -> list[Why]:
    """The reasons to keep a part that has a verdict by its scores; empty for most parts.

    ``items_of_class``: the items of its class that were kept as rare so far. ``draw``: the part's number
    from 0 to 1, see :func:`draw_of`. A fault has no scores to go by, and no reason here.
    """
    if inspected.verdict.outcome is Outcome.FAULT:
        return []
    found = (
        _far_from_training(inspected),
        _rare_class(inspected, settings, items_of_class),
        _two_close(inspected, settings),
        _low_confidence(inspected, settings),
    )
    whys = [why for why in found if why is not None]
    return whys or _audit(inspected, settings, draw)


def disagreement(values: Mapping[str, Any]) -> Why:
    """The reason to keep a part that another engine judged differently; ``values`` of its ``opinion``."""
    who = f"{values['engine']} on {values['backend']} {values['precision']}"
    text = (
        f"{who} says {values['class_name']} {values['confidence']:.3f}; the station said {values['verdict']}"
    )
    return Why(Reason.ENGINES_DISAGREE, float(values["confidence"]), text)


def far_by_second_network(values: Mapping[str, Any]) -> Why:
    """The reason to keep a part that is far by the engine's second network; ``values`` of its ``novelty``."""
    highest = float(values["novelty"])
    text = f"patch {values['patch']}: novelty {highest:.3g} of the second network (threshold {FAR:g})"
    return Why(Reason.FAR_FROM_TRAINING, 1 - FAR / highest, text)


def far_by_drift(values: Mapping[str, Any]) -> Why:
    """The reason to keep a part of a shift that drifts; ``values`` of its ``drift``."""
    beyond = float(values["value"])
    text = f"{values['cause']} drift: {values['measure']} is at {beyond:.2f} of its alarm"
    return Why(Reason.FAR_FROM_TRAINING, 1 - 1 / max(beyond, 1.0), text)


def draw_of(journal_id: str, record_id: int, what: str = "") -> float:
    """A number in [0, 1) that depends on the record only, so that the audit's parts can be drawn again.

    ``what``: another draw of the same record, independent of this one.
    """
    digest = hashlib.sha256(f"{journal_id}/{record_id}{what}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


def _far_from_training(inspected: InspectedPart) -> Why | None:
    """For parts that no class rejected: a known defect lies far from good surfaces, too, and is no news."""
    scores = inspected.part.scores
    by_a_class = inspected.verdict.class_index not in (0, UNKNOWN_CLASS)
    if scores is None or scores.novelty is None or by_a_class:
        return None
    patch = int(scores.novelty.argmax())
    highest = float(scores.novelty[patch])
    if highest <= FAR:
        return None
    text = f"patch {patch}: novelty {highest:.3g} (threshold {FAR:g})"
    return Why(Reason.FAR_FROM_TRAINING, 1 - FAR / highest, text)


def _rare_class(inspected: InspectedPart, settings: Rare, items: int) -> Why | None:
    verdict = inspected.verdict
    known = verdict.class_index != UNKNOWN_CLASS
    if verdict.outcome is not Outcome.REJECT or not known or items >= settings.class_items:
        return None
    text = f"item {items + 1} of {verdict.class_name}; rare until {settings.class_items}"
    return Why(Reason.RARE_CLASS, 1 - items / settings.class_items, text)


def _two_close(inspected: InspectedPart, settings: Rare) -> Why | None:
    verdict, part = inspected.verdict, inspected.part
    if part.scores is None or verdict.patch is None or len(part.prepared.recipe.classes) < 2:
        return None
    recipe = part.prepared.recipe
    p = tempered(part.scores.probabilities[verdict.patch], recipe.decision.temperature)
    second, first = np.argsort(p)[-2:]
    margin = float(p[first] - p[second])
    if margin >= settings.close_below:
        return None
    names = f"{recipe.classes[first].name} {p[first]:.3f}, {recipe.classes[second].name} {p[second]:.3f}"
    return Why(Reason.TWO_CLASSES_CLOSE, 1 - margin, f"patch {verdict.patch}: {names}")


def _low_confidence(inspected: InspectedPart, settings: Rare) -> Why | None:
    p = inspected.verdict.confidence
    if p >= settings.low_confidence or inspected.verdict.class_index == UNKNOWN_CLASS:
        return None
    return Why(Reason.LOW_CONFIDENCE, 1 - p, f"{inspected.verdict.class_name} {p:.3f}")


def _audit(inspected: InspectedPart, settings: Rare, draw: float) -> list[Why]:
    good = inspected.verdict.outcome is Outcome.ACCEPT
    share = settings.audit_good if good else settings.audit_bad
    if draw >= share:
        return []
    return [Why(Reason.AUDIT, 0.0, f"one of {share:.3%} of the confident {'good' if good else 'bad'} parts")]
