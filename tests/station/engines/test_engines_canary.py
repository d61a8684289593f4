"""All golden parts soon after the start, then each once per period, in the time that parts leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from station.engines import open_engine
from station.engines.canary import ALL_WITHIN_S, STEP_PATCHES, Canary
from station.engines.folder import load_manifest, read_golden
from station.engines.interface import Engine, EngineError, Scores
from station.recipe import Recipe


class Watched(Engine):
    """A real engine whose scores a test may change, and whose calls it may count."""

    def __init__(self, inner: Engine) -> None:
        self.inner, self.info = inner, inner.info
        self.sizes: list[int] = []
        self.change: Callable[[Scores], Scores] = lambda scores: scores

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        self.sizes.append(len(patches))
        return self.change(self.inner.scores(patches, timeout_s))

    def close(self) -> None:
        self.inner.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _good(scores: Scores) -> Scores:
    sure = np.eye(3, dtype=np.float32)[np.zeros(len(scores.probabilities), int)]
    return replace(scores, probabilities=sure)


@pytest.fixture
def engine(tiny_engine_master: Path, tmp_path: Path) -> Watched:
    return Watched(open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(
    engine: Watched, clock: Clock, tiny_engine_master: Path, tiny_recipe: Recipe
) -> Callable[[float], Canary]:
    manifest = load_manifest(tiny_engine_master)
    return lambda period_s: Canary(engine, manifest, tiny_recipe, period_s, clock)


def _idle(canary: Canary) -> None:
    while canary.step(part_waits=False):
        pass


def test_all_golden_parts_are_judged_in_the_first_spare_time_after_the_start(
    make: Callable[[float], Canary], engine: Watched
) -> None:
    canary = make(60.0)
    _idle(canary)
    status = canary.status()
    assert (status.passed, status.golden, status.problem) == (12, 12, "")
    assert set(engine.sizes) == {STEP_PATCHES}


@pytest.mark.parametrize("period_s", [10.0, 60.0, 600.0])
def test_without_any_spare_time_all_are_judged_within_a_minute_a_few_patches_between_two_parts(
    make: Callable[[float], Canary], clock: Clock, period_s: float
) -> None:
    canary = make(period_s)
    assert not canary.step(part_waits=True), "nothing is overdue at once"
    within = min(period_s, ALL_WITHIN_S)
    while clock.now < within:
        clock.now += 0.1
        canary.step(part_waits=True)
    assert canary.status().passed >= 12


@pytest.mark.parametrize("part_waits", [False, True])
def test_each_golden_part_is_judged_again_within_every_period(
    make: Callable[[float], Canary], clock: Clock, part_waits: bool
) -> None:
    canary = make(60.0)
    judged: dict[int, list[float]] = {number: [0.0] for number in range(12)}
    while clock.now < 600:
        before = canary.status().passed
        canary.step(part_waits)
        if canary.status().passed > before:
            judged[before % 12].append(clock.now)
        clock.now += 0.1
    for times in judged.values():
        times.append(600.0)
        assert max(later - earlier for earlier, later in pairwise(times)) <= 60.0
    assert canary.status().passed <= 12 + 600 / 60 * 13, "no more than needed"


def test_an_engine_that_says_good_to_everything_is_found_within_one_period(
    make: Callable[[float], Canary], clock: Clock, engine: Watched
) -> None:
    canary = make(60.0)
    _idle(canary)
    engine.change = _good
    begun = clock.now
    while not canary.problem:
        clock.now += 0.1
        canary.step(part_waits=True)
    assert clock.now - begun < 60.0
    assert "taken for good" in canary.problem or "off by" in canary.problem
    assert canary.problem.startswith("golden part ")
    engine.change = lambda scores: scores
    clock.now += 100
    assert not canary.step(part_waits=False), "it is never trusted again"
    assert canary.status().problem


@pytest.mark.parametrize(
    "broken",
    [
        lambda scores: replace(scores, features=None),
        lambda scores: replace(scores, features=scores.features * 2),
        lambda scores: replace(scores, probabilities=scores.probabilities[:, ::-1]),
        lambda scores: replace(scores, probabilities=scores.probabilities[1:]),
        lambda scores: replace(scores, probabilities=scores.probabilities * np.float32("nan")),
    ],
)
def test_any_other_deviation_is_one_too(
    make: Callable[[float], Canary], engine: Watched, broken: Callable[[Scores], Scores]
) -> None:
    canary = make(60.0)
    engine.change = broken
    _idle(canary)
    assert canary.problem


@pytest.mark.parametrize("error", [EngineError("the device is gone"), ValueError("odd"), MemoryError()])
def test_an_engine_that_gives_no_scores_has_failed_and_the_golden_part_is_begun_again(
    make: Callable[[float], Canary], engine: Watched, error: Exception
) -> None:
    def fail(scores: Scores) -> Scores:
        raise error

    canary = make(60.0)
    engine.change = fail
    for times in (1, 2):
        with pytest.raises(type(error)):
            canary.step(False)
        assert canary.failures == times
    engine.change = lambda scores: scores
    _idle(canary)
    assert (canary.problem, canary.failures) == ("", 0)
    assert canary.status().passed == canary.status().golden


def test_an_engine_that_fails_now_and_then_within_every_golden_part_is_counted_too(
    make: Callable[[float], Canary], engine: Watched
) -> None:
    calls = iter(range(1000))

    def fail_every_second_time(scores: Scores) -> Scores:
        if next(calls) % 2:
            raise EngineError("the device is gone")
        return scores

    canary = make(60.0)
    engine.change = fail_every_second_time
    for times in (1, 2, 3):
        assert canary.step(False)
        with pytest.raises(EngineError):
            canary.step(False)
        assert canary.failures == times


def test_golden_parts_in_memory_are_those_that_were_checked(tiny_engine: Path, tiny_recipe: Recipe) -> None:
    manifest = load_manifest(tiny_engine)
    engine = open_engine(tiny_engine, "onnxruntime-cpu", "fp32", cache=tiny_engine.parent / "cache")
    canary = Canary(engine, manifest, tiny_recipe, 60.0)
    for part in manifest.golden:
        part.file.write_bytes(b"")
    _idle(canary)
    assert not canary.problem
    with pytest.raises(EngineError, match="sha256"):
        read_golden(manifest, manifest.golden[0])
