"""Verdicts against the ground truth, where a simulated plant knows what is really on its parts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from drivers.sorters.interface import Outcome
from station.observers.interface import Observer, ObserverSetup
from station.outcomes import Judgement, Outcomes, count_outcomes, judge
from station.recipe import UNKNOWN

if TYPE_CHECKING:
    from station.decision import Verdict
    from station.part import InspectedPart

REMEMBERED = 1000
"""Part ids of escapes and of overkill that are remembered, each; all are counted."""


class Truth(Protocol):
    """What is really on a part."""

    @property
    def label(self) -> str:
        """The part's class, as the recipe names it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every class on the part; naming any of them is right."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """A snapshot: verdicts against ground truth."""

    rows: dict[str, dict[str, int]]
    """True class -> verdict (class, the good class's name for an accept, or ``fault``) -> parts."""
    outcomes: Outcomes
    right_by_another: int
    """Right, but under the name of another of the part's kinds of defect: off the table's diagonal."""
    escaped: tuple[int, ...]
    """Part ids of the first escapes."""
    overkilled: tuple[int, ...]
    """Part ids of the first overkill."""


class GroundTruth(Observer):
    """Looks the truth of each part up by its frame, and counts."""

    name = "ground truth"
    needs_frame = True
    capacity = 4  # a frame is 20 MB

    def __init__(self, identify: Callable[[InspectedPart], Truth | None]) -> None:
        """``identify``: the truth of a part; None where it is unknown."""
        self._identify = identify
        self._lock = threading.Lock()
        self._classes: list[str] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._judgements: Counter[Judgement] = Counter()
        self._right_by_another = 0
        self._escaped: list[int] = []
        self._overkilled: list[int] = []

    def observe(self, part: InspectedPart) -> None:
        """Count the part, if the truth about it is known."""
        truth = self._identify(part)
        if truth is not None:
            classes = [entry.name for entry in part.part.prepared.recipe.classes]
            self.count(part.part_id, part.verdict, truth, classes)

    def count(self, part_id: int, verdict: Verdict, truth: Truth, classes: list[str]) -> None:
        """Compare one verdict; a part with several kinds of defect is right under any of their names."""
        found = "fault" if verdict.outcome is Outcome.FAULT else verdict.class_name
        judgement = judge(truth.labels, classes, verdict.outcome, found)
        with self._lock:
            named = (*classes, truth.label, *([UNKNOWN] if found == UNKNOWN else []))
            self._classes += [name for name in named if name not in self._classes]
            self._counts[truth.label, found] += 1
            self._judgements[judgement] += 1
            self._right_by_another += judgement.right and found != truth.label
            if judgement.escaped and len(self._escaped) < REMEMBERED:
                self._escaped.append(part_id)
            if judgement.overkilled and len(self._overkilled) < REMEMBERED:
                self._overkilled.append(part_id)
        now = self.confusion().outcomes
        self.note = (
            f"accuracy {now.accuracy:.2%} of {now.parts} parts with known truth, {now.escapes} escapes, "
            f"{now.overkill} overkill"
        )

    def confusion(self) -> Confusion:
        """The comparison so far."""
        with self._lock:
            counts, classes = self._counts.copy(), list(self._classes)
            outcomes = count_outcomes(self._judgements)
            escaped, overkilled = tuple(self._escaped), tuple(self._overkilled)
            by_another = self._right_by_another
        true_classes = [name for name in classes if name != UNKNOWN]
        rows = {true: {found: counts[true, found] for found in (*classes, "fault")} for true in true_classes}
        return Confusion(rows, outcomes, by_another, escaped, overkilled)


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The comparison; None where there is no ground truth."""
    return GroundTruth(setup.plant.identify) if setup.plant.knows_truth else None
