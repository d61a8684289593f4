"""Counts and times of a run, kept beside the line and read by the live view and the summary."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from drivers.sorters.interface import Outcome, Receipt
from station.decision import Verdict

REMEMBERED = 100_000
"""Latencies kept for the percentiles; older ones are forgotten so that memory stays flat."""
RATE_WINDOW_S = 10.0


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
        """The percentiles of a list of times."""
        if not values_ms:
            return Percentiles(0, 0.0, 0.0, 0.0, 0.0)
        p50, p95, p99 = np.percentile(values_ms, (50, 95, 99))
        return Percentiles(len(values_ms), float(p50), float(p95), float(p99), max(values_ms))


@dataclass(frozen=True, slots=True)
class Settled:
    """One part's end, as the live view and the summary need it."""

    part_id: int
    verdict: Verdict
    verdict_ms: float
    """Trigger to verdict told, milliseconds."""
    truth: object | None
    """What the simulation knows of the part; None for a real one."""


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
    parts_per_s: float
    """Over the last ten seconds."""
    to_verdict: Percentiles
    to_acknowledged: Percentiles
    last: Settled | None
    settled: tuple[Settled, ...] = field(default=(), repr=False)
    """Every part with a known truth, for the confusion table."""

    @property
    def yield_fraction(self) -> float:
        """Accepted parts among all that have a verdict; 0 when there is none."""
        done = self.accepted + self.rejected + self.faulted
        return self.accepted / done if done else 0.0


class Statistics:
    """Thread-safe counters of one run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._triggers = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._classes: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._acknowledged = 0
        self._unacknowledged = 0
        self._to_verdict: deque[float] = deque(maxlen=REMEMBERED)
        self._to_acknowledged: deque[float] = deque(maxlen=REMEMBERED)
        self._recent: deque[float] = deque(maxlen=10_000)
        self._with_truth: deque[Settled] = deque(maxlen=REMEMBERED)
        self._last: Settled | None = None

    def trigger(self) -> None:
        """One part more is in hand."""
        with self._lock:
            self._triggers += 1

    def verdict(self, settled: Settled) -> None:
        """One part less is in hand."""
        with self._lock:
            self._outcomes[settled.verdict.outcome] += 1
            if settled.verdict.outcome is Outcome.REJECT:
                self._classes[settled.verdict.class_name] += 1
            elif settled.verdict.outcome is Outcome.FAULT:
                self._faults[settled.verdict.reason] += 1
                if len(self._faults) > 200:
                    self._faults.pop(min(self._faults, key=self._faults.__getitem__))
            self._to_verdict.append(settled.verdict_ms)
            self._recent.append(time.monotonic())
            self._last = settled
            if settled.truth is not None:
                self._with_truth.append(settled)

    def receipt(self, receipt: Receipt, latency_ms: float) -> None:
        """The cell's answer to one result, or its absence."""
        with self._lock:
            if receipt.acknowledged:
                self._acknowledged += 1
                self._to_acknowledged.append(latency_ms)
            else:
                self._unacknowledged += 1

    def snapshot(self) -> RunStatistics:
        """The state of the run now."""
        with self._lock:
            now = time.monotonic()
            recent = [moment for moment in self._recent if now - moment <= RATE_WINDOW_S]
            span = max(now - recent[0], 1.0) if recent else 1.0
            done = self._outcomes.total()
            return RunStatistics(
                triggers=self._triggers,
                accepted=self._outcomes[Outcome.ACCEPT],
                rejected=self._outcomes[Outcome.REJECT],
                faulted=self._outcomes[Outcome.FAULT],
                in_hand=self._triggers - done,
                acknowledged=self._acknowledged,
                unacknowledged=self._unacknowledged,
                classes=dict(self._classes.most_common()),
                faults=dict(self._faults.most_common()),
                parts_per_s=len(recent) / span,
                to_verdict=Percentiles.of(list(self._to_verdict)),
                to_acknowledged=Percentiles.of(list(self._to_acknowledged)),
                last=self._last,
                settled=tuple(self._with_truth),
            )
