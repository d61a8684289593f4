"""How sure it is, after any number of parts, that an engine is worse than another one on few parts. No I/O.

The test may be looked at after each part and ended at any time: a fixed-sample test that is looked at often
says "significant" by chance sooner or later, this one does not. It is a mixture sequential probability ratio
test of a share p of parts, those on which the new verdict is *worse*, against a limit L:

    E(k of n) = mean over q of  (q/L)^k ((1-q)/(1-L))^(n-k)

with fixed shares q below L (evidence that p < L) or above L (evidence that p > L). For every p on the other
side of L, the expected factor of one more part is at most 1, whatever came before: E is a supermartingale
that begins at 1. So it *ever* reaches 1/a with a probability of at most a (Ville 1939). An engine that is
worse on L of the parts or more is promoted with a probability of at most a, however long it shadows.

What a person says later only takes parts away from k, which raises E: counting doubtful parts as worse
errs on the safe side.

Sources: J. Ville, *Étude critique de la notion de collectif*, 1939; H. Robbins, *Statistical methods related
to the law of the iterated logarithm*, Ann. Math. Stat. 41 (1970), section 3, for mixtures; R. Johari,
L. Pekelis, D. Walsh, *Always valid inference*, arXiv:1512.04922, for the test as it is used here; S. Howard,
A. Ramdas, J. McAuliffe, J. Sekhon, *Time-uniform, nonparametric, nonasymptotic confidence sequences*, Ann.
Stat. 49 (2021), for the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

BELOW = (0.0, 0.0, 0.0, 0.0, 0.125, 0.25, 0.5, 0.75)
"""The shares q of the mixture for p < L, in units of L; half of its weight is on *never worse*."""
ABOVE = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""The shares q of the mixture for p > L, in units of L, as far as they are below 1."""


class Finding(StrEnum):
    """What the parts so far say of the candidate."""

    OPEN = "open"
    """Not enough parts yet."""
    BETTER = "good enough"
    """It is worse on fewer parts than the limit: it may be promoted."""
    WORSE = "worse"
    """It is worse on more parts than the limit."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What ``worse`` of ``parts`` say, with a limit and a risk."""

    parts: int
    worse: int
    limit: float
    """The share of parts L on which the candidate may be worse, between 0 and 1."""
    risk: float
    """The probability a of a wrong finding, between 0 and 1; it holds for each of the two findings."""

    @property
    def finding(self) -> Finding:
        """What is sure enough."""
        sure = -math.log(self.risk)
        if log_evidence_below(self.worse, self.parts, self.limit) >= sure:
            return Finding.BETTER
        if log_evidence_above(self.worse, self.parts, self.limit) >= sure:
            return Finding.WORSE
        return Finding.OPEN

    @property
    def at_most(self) -> float:
        """The share that the true one exceeds, at any time, with a probability of at most the risk."""
        sure = -math.log(self.risk)
        low, high = self.worse / self.parts if self.parts else 1.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            refuted = 0 < middle < 1 and log_evidence_below(self.worse, self.parts, middle) >= sure
            low, high = (low, middle) if refuted else (middle, high)
        return high

    @property
    def still_needed(self) -> int:
        """How many more parts, none of them worse, it would take to find it good enough; 0 when it is."""
        sure = -math.log(self.risk)

        def is_enough(more: int) -> bool:
            return log_evidence_below(self.worse, self.parts + more, self.limit) >= sure

        if is_enough(0):
            return 0
        low, high = 0, 1
        while not is_enough(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_enough(middle) else (middle, high)
        return high

    def in_words(self) -> str:
        """One sentence for people."""
        counted = f"worse on {self.worse} of {self.parts} parts"
        if self.finding is Finding.BETTER:
            sure = f"on fewer than {self.limit:.2%} of all, with a risk of {self.risk:.0%} that this is wrong"
            return f"{counted}, and {sure}: it may be promoted"
        if self.finding is Finding.WORSE:
            return f"{counted}: more than the {self.limit:.2%} that are allowed"
        return (
            f"{counted}, at most {self.at_most:.2%} of all; {self.still_needed} more parts without a worse "
            f"one would show that it is below {self.limit:.2%}"
        )


def log_evidence_below(worse: int, parts: int, limit: float) -> float:
    """The logarithm of the evidence that the share of worse parts is below ``limit``."""
    return _log_mixture(worse, parts, limit, tuple(share * limit for share in BELOW))


def log_evidence_above(worse: int, parts: int, limit: float) -> float:
    """The logarithm of the evidence that the share of worse parts is above ``limit``."""
    shares = tuple(share * limit for share in ABOVE if share * limit < 1) or ((1 + limit) / 2,)
    return _log_mixture(worse, parts, limit, shares)


def _log_mixture(worse: int, parts: int, limit: float, shares: tuple[float, ...]) -> float:
    found = [_log_ratio(worse, parts, limit, share) for share in shares]
    highest = max(found)
    if highest == -math.inf:
        return highest
    return highest + math.log(sum(math.exp(one - highest) for one in found) / len(found))


def _log_ratio(worse: int, parts: int, limit: float, share: float) -> float:
    if share == 0.0 and worse:
        return -math.inf
    worse_too = worse * math.log(share / limit) if worse else 0.0
    return worse_too + (parts - worse) * (math.log1p(-share) - math.log1p(-limit))
