"""What can be claimed from verdicts: parts of one group look alike, so a group counts once.

Ten pictures of one part that are all judged right are not ten proofs. Shares are shown by part, and their
intervals rest on groups; a group is wrong if any of its parts is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from retraining.evaluation.proportions import ends, shown
from station.outcomes import Judgement, Outcomes, count_outcomes


@dataclass(frozen=True, slots=True)
class Share:
    """How many parts of some are of a kind, and how many groups count as of that kind."""

    parts: int
    of_parts: int
    groups: int
    of_groups: int

    def ends(self) -> tuple[float, float]:
        """The ends of the 95 % interval of the share of groups, 0..1."""
        return ends(self.groups, self.of_groups)

    def __str__(self) -> str:
        """``3 of 40 (7.5%, 2.6 to 19.9)``, or with groups ``3 of 40; 2 of 17 groups (11.8%, ...)``."""
        if self.of_parts == self.of_groups:
            return shown(self.parts, self.of_parts)
        by_group = shown(self.groups, self.of_groups).replace("(", "groups (")
        return f"{self.parts} of {self.of_parts}; {by_group}"


@dataclass(frozen=True, slots=True)
class Counted:
    """Verdicts on parts of known truth, by part and by group."""

    outcomes: Outcomes
    right: Share
    escapes: Share
    """Of the defective parts."""
    overkill: Share
    """Of the good parts."""


def share_of(hits: Iterable[tuple[str, bool]], *, all_of_group: bool = False) -> Share:
    """The share of parts, given by their groups, that are hit.

    A group is hit if any of its parts is, or with ``all_of_group`` if all are.
    """
    by_group: dict[str, list[bool]] = defaultdict(list)
    for group, hit in hits:
        by_group[group].append(hit)
    every = [hit for own in by_group.values() for hit in own]
    decide = all if all_of_group else any
    return Share(sum(every), len(every), sum(map(decide, by_group.values())), len(by_group))


def count_groups(judged: Iterable[tuple[str, Judgement]]) -> Counted:
    """Verdicts, each with the group of its part."""
    rows = list(judged)
    return Counted(
        count_outcomes(judgement for _, judgement in rows),
        right=share_of(((group, one.right) for group, one in rows), all_of_group=True),
        escapes=share_of((group, one.escaped) for group, one in rows if one.defective),
        overkill=share_of((group, one.overkilled) for group, one in rows if not one.defective),
    )
