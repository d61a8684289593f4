"""Verdicts counted against the truth: what is right, an escape, overkill - for every screen and report.

- *right*: the verdict names a class that is on the part; `unknown` is right where a class is on the part that
  the recipe does not have. A fault is never right.
- *escape*: a defective part that was accepted.
- *overkill*: a good part that was not accepted. A good part that was faulted goes to the reject side, too, so
  that it counts as overkill; ``good_faults`` says how many of the overkill those are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from drivers.sorters.interface import Outcome
from station.recipe import UNKNOWN


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict beside the truth."""

    defective: bool
    """Whether the part has a defect."""
    outcome: Outcome
    named: bool
    """The verdict names a class that is on the part."""

    @property
    def right(self) -> bool:
        """The verdict names a class that is on the part, and is no fault."""
        return self.named and self.outcome != Outcome.FAULT

    @property
    def escaped(self) -> bool:
        """A defective part that was accepted."""
        return self.defective and self.outcome == Outcome.ACCEPT

    @property
    def overkilled(self) -> bool:
        """A good part that was not accepted: rejected, or faulted."""
        return not self.defective and self.outcome != Outcome.ACCEPT


def judge(on_part: Collection[str], classes: Sequence[str], outcome: Outcome | str, found: str) -> Judgement:
    """A verdict (``outcome``, and ``found``, the class it names) beside the classes that are on the part.

    ``classes`` are the recipe's; the first is that of good parts, and a part is defective when any other
    class is on it.
    """
    defective = any(name != classes[0] for name in on_part)
    strange = any(name not in classes for name in on_part)
    return Judgement(defective, Outcome(outcome), found in on_part or (found == UNKNOWN and strange))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts of parts."""

    parts: int
    good: int
    """Parts without a defect."""
    defective: int
    """Parts with a defect."""
    right: int
    """Parts whose verdict names a class that is on them."""
    escapes: int
    """Defective parts that were accepted."""
    overkill: int
    """Good parts that were not accepted, faulted ones among them."""
    faults: int
    """Parts that could not be inspected, good and defective."""
    good_faults: int
    """Good parts that could not be inspected: a part of the overkill."""

    @property
    def accuracy(self) -> float:
        """Share of all parts whose verdict was right; 0 where there is none."""
        return self.right / self.parts if self.parts else 0.0

    @property
    def escape_rate(self) -> float:
        """Share of the defective parts that were accepted."""
        return self.escapes / self.defective if self.defective else 0.0

    @property
    def overkill_rate(self) -> float:
        """Share of the good parts that were not accepted."""
        return self.overkill / self.good if self.good else 0.0


def count_outcomes(judgements: Iterable[Judgement]) -> Outcomes:
    """The counts of some verdicts; a :class:`collections.Counter` of them is counted as often as it says."""
    held = Counter(judgements)

    def total(which: Iterable[Judgement]) -> int:
        return sum(held[one] for one in which)

    return Outcomes(
        parts=held.total(),
        good=total(one for one in held if not one.defective),
        defective=total(one for one in held if one.defective),
        right=total(one for one in held if one.right),
        escapes=total(one for one in held if one.escaped),
        overkill=total(one for one in held if one.overkilled),
        faults=total(one for one in held if one.outcome == Outcome.FAULT),
        good_faults=total(one for one in held if one.outcome == Outcome.FAULT and not one.defective),
    )
