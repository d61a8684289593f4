"""Whether an engine in trial does as well on the line as the one before it. No I/O.

Parts are looked at in groups of :data:`GROUP`, in the order of their records, by four measures: the share of
parts that the engine *faulted* (no scores, or too late), that came close to the deadline (*slow*), that it
*rejected*, and, where the engine before it judges beside it, on which the two *disagree*.

Each share is held against Laney's p' chart of the baseline, the parts that the engine before judged last: the
centre is their share p, and the limits are p +- 3 sigma_z sqrt(p (1 - p) / n), where sigma_z is how much more
the groups of the baseline differ from each other than chance alone would have it. Ordinary p charts say of
any process whose reject rate moves from lot to lot that it is out of control; this one learns how it moves.
A part that is rejected as a class which the engine before did not know counts for no upper limit: to find it
is what the new engine came for.

The lower limit of the reject rate is that of the engine before, or of the new one as it judged in the shadow,
whichever is lower: a rule or a person has promoted it knowing these verdicts. The shadow judges in spare time
and leaves out accepted parts first; so what it said of parts that the engine before rejected, and of those
that it accepted, is weighted by their shares in the baseline.

Two groups in a row beyond the same limit are a finding; one alone is chance too often where few parts are
rejected. When the trial is over, all of it is one more group. Only the reject rate has a lower limit: an
engine that rejects too little is no better.

So an engine that is far worse goes back after 2 groups, and one that becomes worse during its trial after 3
at most, because the first of them may have begun before it did.

Source: D. B. Laney, *Improved control charts for attributes*, Quality Engineering 14 (4), 2002, 531-537.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

GROUP = 25
"""Parts of a group."""
IN_A_ROW = 2
"""Groups beyond a limit that are a finding."""
SIGMAS = 3.0
LEAST_GROUPS = 4
"""Groups of a baseline with which a reject rate can be compared."""
RARE = 0.01
"""The share of faulted and slow parts that is taken for usual where there is no baseline."""


class Measure(Enum):
    """What is counted of a part: its name, and whether too little of it is a finding, too."""

    FAULTED = ("parts without scores in time", False)
    SLOW = ("parts close to the deadline", False)
    REJECTED = ("rejected parts", True)
    DISAGREES = ("parts that the engine before judges otherwise", False)

    def __init__(self, words: str, has_lower: bool) -> None:
        self.words, self.has_lower = words, has_lower


@dataclass(frozen=True, slots=True)
class Judged:
    """What health must know of a part; None where a measure does not apply to it."""

    faulted: bool
    """By the engine: no scores, or none in time."""
    slow: bool
    rejected: bool | None
    """None for a part without a decision."""
    disagrees: bool | None = None
    """None where the engine before did not judge it."""
    excused: bool = False
    """Rejected as a class that the engine before did not know: what the new one came for, and no upper limit
    counts it."""

    def value(self, measure: Measure) -> bool | None:
        """What one measure says."""
        found: bool | None = getattr(self, measure.name.lower())
        return found


@dataclass(frozen=True, slots=True)
class Beside:
    """What an engine that shadows said of a part, beside the active one."""

    agrees: bool
    rejected: bool
    active_rejected: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Laney's p' chart of one measure."""

    share: float
    """The centre, between 0 and 1, never quite either: half a part is added to both sides."""
    sigma_z: float
    """How much more the groups differ than by chance; at least 1."""

    def limits(self, parts: int) -> tuple[float, float]:
        """The lowest and the highest share that is usual in a group of so many parts."""
        reach = SIGMAS * self.sigma_z * math.sqrt(self.share * (1 - self.share) / parts)
        return self.share - reach, self.share + reach


def chart_of(values: Sequence[bool]) -> Chart:
    """The chart of a baseline of at least one part, in the order of the parts."""
    share = _share(values)
    groups = [values[at : at + GROUP] for at in range(0, len(values) - GROUP + 1, GROUP)]
    spread = math.sqrt(share * (1 - share) / GROUP)
    z = [(sum(group) / GROUP - share) / spread for group in groups]
    steps = [abs(after - before) for before, after in pairwise(z)]
    # The mean moving range of two values is 1.128 standard deviations.
    return Chart(share, max(1.0, sum(steps) / len(steps) / 1.128) if steps else 1.0)


@dataclass(frozen=True, slots=True)
class Health:
    """What a trial says so far."""

    parts: int
    """Judged in the trial."""
    problem: str
    """Why the engine is to go back; empty while it need not."""
    enough: bool
    """Whether it has judged as many parts as a trial takes."""
    not_compared: tuple[str, ...] = ()
    """What cannot be compared, and why."""

    @property
    def is_good(self) -> bool:
        """Whether the trial has ended well."""
        return self.enough and not self.problem


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual of the engine before."""

    charts: Mapping[Measure, Chart]
    shadowed: Chart | None
    """Of the reject rate that the engine in trial has by its word in the shadow; None without one."""
    not_compared: tuple[str, ...]

    @staticmethod
    def of(parts: Sequence[Judged], beside: Sequence[Beside] = ()) -> Baseline:
        """From the parts that it judged last, in their order; ``beside``: the word of the new one."""
        charts, not_compared = {}, []
        for measure in Measure:
            usual = [value for part in parts if (value := part.value(measure)) is not None]
            if len(usual) >= LEAST_GROUPS * GROUP:
                charts[measure] = chart_of(usual)
            elif measure in (Measure.FAULTED, Measure.SLOW):
                charts[measure] = Chart(RARE, 1.0)
            elif measure is Measure.REJECTED:
                not_compared.append(f"{measure.words}: the engine before judged {len(usual)} parts")
        usual_rejects = charts.get(Measure.REJECTED)
        shadowed = _in_the_shadow(usual_rejects, beside) if usual_rejects is not None else None
        return Baseline(charts, shadowed, tuple(not_compared))


def _in_the_shadow(usual: Chart, beside: Sequence[Beside]) -> Chart | None:
    """The chart of the reject rate that the new engine has by its word; None while it has said too little."""
    of_rejected = [one.rejected for one in beside if one.active_rejected]
    of_accepted = [one.rejected for one in beside if not one.active_rejected]
    if min(len(of_rejected), len(of_accepted)) < GROUP:
        return None
    share = usual.share * _share(of_rejected) + (1 - usual.share) * _share(of_accepted)
    return Chart(share, usual.sigma_z)


def _share(values: Sequence[bool]) -> float:
    return (sum(values) + 0.5) / (len(values) + 1)


def health_of(baseline: Baseline, trial: Sequence[Judged], trial_parts: int) -> Health:
    """What the parts of a trial say, in their order, held against the engine before."""
    enough = len(trial) >= trial_parts
    problems = [
        problem
        for measure, chart in baseline.charts.items()
        if (problem := _finding(chart, trial, measure, baseline.shadowed, whole=enough))
    ]
    return Health(len(trial), "; ".join(problems), enough, baseline.not_compared)


def _finding(
    chart: Chart, parts: Sequence[Judged], measure: Measure, shadowed: Chart | None, *, whole: bool
) -> str:
    """What is unusual in a trial by one measure; empty when nothing is. ``whole``: of all of it, too."""
    before = row = 0
    for at in range(0, len(parts) - GROUP + 1, GROUP):
        beyond, words = _look(chart, parts[at : at + GROUP], measure, shadowed)
        row = row + 1 if beyond and beyond == before else abs(beyond)
        before = beyond
        if row >= IN_A_ROW:
            return words
    return _look(chart, parts, measure, shadowed)[1] if whole else ""


def _look(chart: Chart, parts: Sequence[Judged], measure: Measure, shadowed: Chart | None) -> tuple[int, str]:
    """1 above the upper limit, -1 below the lower one, else 0; and that in words, empty for 0."""
    known = [(value, part.excused) for part in parts if (value := part.value(measure)) is not None]
    if not known:
        return 0, ""
    low, high = _limits(chart, len(known), measure, shadowed)
    most, every = sum(value and not excused for value, excused in known), sum(value for value, _ in known)
    if most / len(known) > high:
        return 1, _words(chart, most, len(known), measure, shadowed)
    if measure.has_lower and every / len(known) < low:
        return -1, _words(chart, every, len(known), measure, shadowed)
    return 0, ""


def _limits(chart: Chart, parts: int, measure: Measure, shadowed: Chart | None) -> tuple[float, float]:
    low, high = chart.limits(parts)
    return (min(low, shadowed.limits(parts)[0]) if measure.has_lower and shadowed else low), high


def _words(chart: Chart, count: int, parts: int, measure: Measure, shadowed: Chart | None) -> str:
    low, high = _limits(chart, parts, measure, shadowed)
    usual = f"{max(low, 0):.1%} to {min(high, 1):.1%}" if measure.has_lower else f"at most {min(high, 1):.1%}"
    return f"{measure.words}: {count} of {parts}, usual are {usual} (centre {chart.share:.1%})"
