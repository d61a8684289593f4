"""Counts and times of a run, kept beside the line and read by the live view, the summary and the status.

The decision path counts every part itself, so that the counts are exact whatever observers shed. What it
writes has a fixed size - counters, histograms, a ring of the last seconds - so that one count costs a few
microseconds and whoever looks holds the lock only to copy a few hundred numbers. Everything derived from
them is computed outside the lock.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from drivers.sorters.interface import Outcome, Receipt
from station.decision import Verdict
from station.faults import code_of

RATE_WINDOW_S = 10.0
"""Parts per second are counted over this time."""
REASONS = 200
"""The most reasons of faults that are counted apart; beyond that, the rarest is removed."""
NO_CODE = "none"
"""Counts faults whose reason begins with no code."""

_SMALLEST_MS, _LARGEST_MS, _STEP = 0.01, 3_600_000.0, 1.02
"""The histograms' range, and the ratio of two neighbouring buckets: a percentile is right within 1 %."""
_BUCKETS = math.ceil(math.log(_LARGEST_MS / _SMALLEST_MS) / math.log(_STEP)) + 1
_SLOT_S = 0.1
_SLOTS = round(RATE_WINDOW_S / _SLOT_S)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; all zero when nothing was measured."""

    count: int
    p50: float
    p95: float
    p99: float
    longest: float

    @staticmethod
    def of(values_ms: list[float]) -> Percentiles:
        """The exact percentiles of a list of times."""
        if not values_ms:
            return Percentiles(0, 0.0, 0.0, 0.0, 0.0)
        p50, p95, p99 = np.percentile(values_ms, (50, 95, 99))
        return Percentiles(len(values_ms), float(p50), float(p95), float(p99), max(values_ms))


STAGES = ("frame", "cut", "scored", "decided")
"""In the order of a part's way; each is timed from the trigger to its end."""

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 5.0)
"""The edges of :class:`Times`, as shares of the deadline."""


@dataclass(frozen=True, slots=True)
class Times:
    """How many parts took how long, counted exactly at edges of which one is the deadline; seconds."""

    edges_s: tuple[float, ...]
    cumulative: tuple[int, ...]
    """Parts that took at most so long, per edge; the last one counts all."""
    sum_s: float


class TimesToDeadline:
    """Counts for :class:`Times`. Not thread-safe."""

    def __init__(self, deadline_s: float) -> None:
        self._edges_ms = [deadline_s * 1000 * share for share in SHARES]
        self._counts = [0] * (len(SHARES) + 1)
        self._sum_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one time, milliseconds."""
        self._counts[bisect_left(self._edges_ms, ms)] += 1
        self._sum_ms += ms

    def copy(self) -> tuple[list[int], float]:
        """What :meth:`times` needs, so that it can be called without the lock."""
        return self._counts.copy(), self._sum_ms

    def times(self, counts: list[int], sum_ms: float) -> Times:
        """The counts as seconds."""
        return Times(tuple(edge / 1000 for edge in self._edges_ms), tuple(accumulate(counts)), sum_ms / 1000)


@dataclass(frozen=True, slots=True)
class Settled:
    """One part's end, as the live view needs it."""

    part_id: int
    verdict: Verdict
    verdict_ms: float
    """Trigger to verdict sent, milliseconds."""
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """Trigger to the end of each stage that the part reached (:data:`STAGES`), milliseconds."""


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A snapshot. ``triggers == accepted + rejected + faulted + in_hand``."""

    triggers: int
    accepted: int
    rejected: int
    faulted: int
    in_hand: int
    acknowledged: int
    unacknowledged: int
    classes: dict[str, int]
    """Rejected parts by class, for the Pareto."""
    faults: dict[str, int]
    """Faulted parts by reason."""
    fault_codes: dict[str, int]
    """Faulted parts by code (docs/faults.md)."""
    parts_per_s: float
    """Over the last ten seconds."""
    to_verdict: Percentiles
    to_acknowledged: Percentiles
    verdict_times: Times
    """Trigger to verdict sent."""
    acknowledged_times: Times
    """Trigger to the cell's acknowledgement."""
    stage_times: dict[str, Times]
    """Trigger to the end of each stage."""
    deadline_s: float
    """From trigger to verdict."""
    last: Settled | None

    @property
    def yield_fraction(self) -> float:
        """Accepted parts among all that have a verdict; 0 when there is none."""
        done = self.accepted + self.rejected + self.faulted
        return self.accepted / done if done else 0.0


class Histogram:
    """Times in buckets that grow by 2 %: a fixed size for any number of parts. Not thread-safe."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._longest = 0.0

    def add(self, ms: float) -> None:
        """Count one time, milliseconds."""
        place = int(math.log(max(ms, _SMALLEST_MS) / _SMALLEST_MS) / math.log(_STEP))
        self._counts[min(place, _BUCKETS - 1)] += 1
        self._longest = max(self._longest, ms)

    def copy(self) -> Histogram:
        """A second histogram with the same counts."""
        other = Histogram.__new__(Histogram)
        other._counts, other._longest = self._counts.copy(), self._longest
        return other

    def percentiles(self) -> Percentiles:
        """The percentiles, each within 1 % of the exact one."""
        reached = list(accumulate(self._counts))
        count = reached[-1]
        if not count:
            return Percentiles(0, 0.0, 0.0, 0.0, 0.0)
        p50, p95, p99 = (self._at(reached, count * share) for share in (0.50, 0.95, 0.99))
        return Percentiles(count, p50, p95, p99, self._longest)

    def _at(self, reached: list[int], rank: float) -> float:
        place = next(place for place, so_far in enumerate(reached) if so_far >= rank)
        middle: float = _SMALLEST_MS * _STEP ** (place + 0.5)
        return min(middle, self._longest)


class Statistics:
    """Thread-safe counters of one run; ``deadline_s`` is the time limit from trigger to verdict."""

    def __init__(self, deadline_s: float = 1.0) -> None:
        self._deadline_s = deadline_s
        self._verdict_times = TimesToDeadline(deadline_s)
        self._acknowledged_times = TimesToDeadline(deadline_s)
        self._stage_times = {stage: TimesToDeadline(deadline_s) for stage in STAGES}
        self._lock = threading.Lock()
        self._triggers = 0
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._classes: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._acknowledged = 0
        self._unacknowledged = 0
        self._to_verdict = Histogram()
        self._to_acknowledged = Histogram()
        self._slots = [(-1, 0)] * _SLOTS
        """Verdicts by tenth of a second: (which one, how many)."""
        self._last: Settled | None = None

    def trigger(self) -> None:
        """One part more is in hand."""
        with self._lock:
            self._triggers += 1

    def verdict(self, settled: Settled) -> None:
        """One part less is in hand."""
        slot = int(time.monotonic() / _SLOT_S)
        with self._lock:
            self._outcomes[settled.verdict.outcome] += 1
            if settled.verdict.outcome is Outcome.REJECT:
                self._classes[settled.verdict.class_name] += 1
            elif settled.verdict.outcome is Outcome.FAULT:
                self._faults[settled.verdict.reason] += 1
                self._codes[str(code_of(settled.verdict.reason) or NO_CODE)] += 1
                if len(self._faults) > REASONS:
                    self._faults.pop(min(self._faults, key=self._faults.__getitem__))
            self._to_verdict.add(settled.verdict_ms)
            self._verdict_times.add(settled.verdict_ms)
            for stage, ms in settled.stages_ms.items():
                if stage in self._stage_times:
                    self._stage_times[stage].add(ms)
            of, count = self._slots[slot % _SLOTS]
            self._slots[slot % _SLOTS] = (slot, count + 1 if of == slot else 1)
            self._last = settled

    def receipt(self, receipt: Receipt, latency_ms: float) -> None:
        """The cell's answer to one result, or its absence."""
        with self._lock:
            if receipt.acknowledged:
                self._acknowledged += 1
                self._to_acknowledged.add(latency_ms)
                self._acknowledged_times.add(latency_ms)
            else:
                self._unacknowledged += 1

    def snapshot(self) -> RunStatistics:
        """The state of the run now. Copies under the lock and computes outside it."""
        with self._lock:
            triggers, outcomes = self._triggers, self._outcomes.copy()
            acknowledged, unacknowledged = self._acknowledged, self._unacknowledged
            classes, faults, codes = self._classes.copy(), self._faults.copy(), self._codes.copy()
            verdict_times = self._verdict_times.copy()
            acknowledged_times = self._acknowledged_times.copy()
            stage_times = {stage: times.copy() for stage, times in self._stage_times.items()}
            to_verdict, to_acknowledged = self._to_verdict.copy(), self._to_acknowledged.copy()
            slots, last = self._slots.copy(), self._last
        return RunStatistics(
            triggers=triggers,
            accepted=outcomes[Outcome.ACCEPT],
            rejected=outcomes[Outcome.REJECT],
            faulted=outcomes[Outcome.FAULT],
            in_hand=triggers - sum(outcomes.values()),
            acknowledged=acknowledged,
            unacknowledged=unacknowledged,
            classes=dict(classes.most_common()),
            faults=dict(faults.most_common()),
            fault_codes=dict(codes.most_common()),
            parts_per_s=_rate(slots, time.monotonic()),
            to_verdict=to_verdict.percentiles(),
            to_acknowledged=to_acknowledged.percentiles(),
            verdict_times=self._verdict_times.times(*verdict_times),
            acknowledged_times=self._acknowledged_times.times(*acknowledged_times),
            stage_times={name: self._stage_times[name].times(*found) for name, found in stage_times.items()},
            deadline_s=self._deadline_s,
            last=last,
        )


def _rate(slots: list[tuple[int, int]], now_s: float) -> float:
    """Parts per second over the window, or since the first part in it, but over one second at least."""
    recent = [(slot, count) for slot, count in slots if slot >= 0 and now_s - slot * _SLOT_S <= RATE_WINDOW_S]
    if not recent:
        return 0.0
    span_s = max(now_s - min(recent)[0] * _SLOT_S, 1.0)
    return sum(count for _, count in recent) / span_s
