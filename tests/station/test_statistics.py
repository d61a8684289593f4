"""Counts that are exact, percentiles that are right within 1 %, and snapshots that hold nobody up."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sorters.interface import Outcome, Receipt
from station.decision import Verdict
from station.statistics import Histogram, Settled, Statistics

ACCEPT = Verdict(Outcome.ACCEPT, 0, "good", 0.9, 0, 1, "all good")
REJECT = Verdict(Outcome.REJECT, 1, "pits", 0.9, 0, 2, "pits")


def fault(reason: str) -> Verdict:
    return Verdict(Outcome.FAULT, 255, "fault", 0.0, None, 9, reason)


def settle(statistics: Statistics, *verdicts: Verdict, ms: float = 20.0) -> None:
    for number, verdict in enumerate(verdicts):
        statistics.trigger()
        statistics.verdict(Settled(number, verdict, ms))


@pytest.mark.parametrize("middle_ms", [0.4, 26.0, 900.0, 40_000.0])
def test_percentiles_are_within_one_per_cent(middle_ms: float) -> None:
    chance = random.Random(3)
    times = [middle_ms * chance.lognormvariate(0, 0.4) for _ in range(20_000)]
    histogram = Histogram()
    for ms in times:
        histogram.add(ms)
    found = histogram.percentiles()
    exact = np.percentile(times, (50, 95, 99))
    assert (found.p50, found.p95, found.p99) == pytest.approx(tuple(exact), rel=0.011)
    assert (found.count, found.longest) == (20_000, max(times))


@given(st.lists(st.floats(0.02, 1e6), min_size=1, max_size=200))
def test_a_percentile_is_within_one_per_cent_of_a_time_that_was_measured(times: list[float]) -> None:
    histogram = Histogram()
    for ms in times:
        histogram.add(ms)
    found = histogram.percentiles()
    for percentile in (found.p50, found.p95, found.p99):
        assert any(percentile == pytest.approx(ms, rel=0.0101) for ms in times)
    assert found.p50 <= found.p95 <= found.p99 <= found.longest == max(times)


@pytest.mark.parametrize("ms", [0.0, -3.0, 1e-9, 1e12])
def test_a_time_outside_the_range_is_counted_all_the_same(ms: float) -> None:
    histogram = Histogram()
    histogram.add(ms)
    assert histogram.percentiles().count == 1


def test_every_trigger_is_in_one_of_the_counts() -> None:
    statistics = Statistics()
    settle(statistics, ACCEPT, REJECT, ACCEPT, fault("no frame"))
    statistics.trigger()
    statistics.receipt(Receipt(1, True, 1, 0), 30.0)
    statistics.receipt(Receipt(2, False, 0, 0), 30.0)
    run = statistics.snapshot()
    assert (run.triggers, run.accepted, run.rejected, run.faulted, run.in_hand) == (5, 2, 1, 1, 1)
    assert (run.acknowledged, run.unacknowledged) == (1, 1)
    assert (run.classes, run.faults) == ({"pits": 1}, {"no frame": 1})
    assert run.last is not None
    assert run.last.part_id == 3
    assert run.parts_per_s == pytest.approx(4, abs=0.5)


def test_a_thousand_different_reasons_of_faults_do_not_fill_the_memory() -> None:
    statistics = Statistics()
    settle(statistics, *(fault("often") for _ in range(5)), *(fault(f"reason {n}") for n in range(1000)))
    run = statistics.snapshot()
    assert run.faulted == 1005
    assert len(run.faults) <= 200
    assert next(iter(run.faults)) == "often"


def test_after_a_hundred_thousand_parts_a_snapshot_holds_no_verdict_up() -> None:
    statistics = Statistics()
    settled = Settled(1, ACCEPT, 26.0)
    for _ in range(120_000):
        statistics.trigger()
        statistics.verdict(settled)
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            statistics.snapshot()

    def verdicts_s() -> list[float]:
        took = []
        for _ in range(2000):
            begun = time.perf_counter()
            statistics.verdict(settled)
            took.append(time.perf_counter() - begun)
        return took

    looker = threading.Thread(target=look)
    looker.start()
    try:
        took = verdicts_s()
    finally:
        ended.set()
        looker.join()
    # Somebody looks all the time; were it under the lock, every verdict would wait for a whole snapshot.
    assert np.percentile(took, 50) < 1e-3
