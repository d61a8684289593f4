"""Frame in memory to verdict, timed: the station's paths and their rivals side by side in one run.

Absolute times on a shared machine are noise; the rounds of all paths are interleaved so that their
ratios are not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from station.decision import Verdict, decide
from station.engines.interface import Engine, Scorer, Scores
from station.patching import Patches, cut
from station.queues import BoundedQueue
from station.recipe import Recipe
from station.statistics import Percentiles

Scoring = Callable[[NDArray[np.uint8]], Scores]
"""uint8 patches ``(N, patch, patch, C)`` -> what an engine says of them."""


Judge = Callable[[NDArray[np.uint8]], str]
"""A frame in memory -> the class of the part on it."""
Pace = Callable[[Sequence[NDArray[np.uint8]], float], float]
"""Frames that come in turn for some seconds -> parts per second."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way from a frame to a verdict."""

    name: str
    judge: Judge
    """One part at a time."""
    pace: Pace | None = None
    """Sustained: cutting the next part while this one is scored, as the line does; None: one at a time."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one contender did over all rounds."""

    name: str
    one_part: Percentiles
    """Milliseconds, one part at a time."""
    parts_per_s: float
    """Sustained where the contender can, else the inverse of the median."""
    paces: tuple[float, ...]
    """The same of each round."""


@dataclass(frozen=True, slots=True)
class Run:
    """Parts judged one after the other for some seconds."""

    parts_per_s: float
    verdict_ms: list[float]
    """Of each part, from the frame in memory to the verdict; it includes the wait for the part before it."""


def run(
    contenders: Sequence[Contender],
    frames: Sequence[NDArray[np.uint8]],
    *,
    rounds: int,
    seconds: float,
    before_round: Callable[[], None] = lambda: None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Timing]:
    """Interleave ``rounds`` rounds of ``seconds`` per contender; every one judges the same frames.

    ``before_round`` is for what is measured once per round. Raises RuntimeError for a contender that gives
    no verdict.
    """
    for contender in contenders:
        contender.judge(frames[0])
    singles: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    paces: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        before_round()
        for contender in contenders:
            progress(f"round {number + 1} of {rounds}: {contender.name}")
            times = _one_at_a_time(contender.judge, frames, seconds)
            singles[contender.name] += times
            pace = (
                1000.0 / float(np.median(times))
                if contender.pace is None
                else contender.pace(frames, seconds)
            )
            paces[contender.name].append(pace)
    return [
        Timing(
            contender.name,
            Percentiles.of(singles[contender.name]),
            float(np.median(paces[contender.name])),
            tuple(paces[contender.name]),
        )
        for contender in contenders
    ]


def cutting(
    frames_by_width: dict[int, NDArray[np.uint8]], recipe: Recipe, repeats: int
) -> dict[int, Percentiles]:
    """Milliseconds of background removal, resize and patches, by product width."""
    times: dict[int, list[float]] = {width: [] for width in frames_by_width}
    for _ in range(repeats):
        for width, frame in frames_by_width.items():
            started = time.perf_counter()
            cut(frame, recipe)
            times[width].append((time.perf_counter() - started) * 1000)
    return {width: Percentiles.of(values) for width, values in times.items()}


def rivals(recipe: Recipe) -> list[Contender]:
    """What other packages offer to be measured beside the station (entry points ``station.bench``).

    Each entry point is a function of the recipe that returns a :data:`Scorer`; the workshop brings
    Algorithm 1 taken literally, in torch, which a device does not have.
    """
    found: list[Contender] = []
    if recipe.decision.unknown == "reject":  # none of them says how far a part is from its training
        return found
    for point in entry_points(group="station.bench"):
        try:
            found.append(scored(point.name, _scoring(point.load()(recipe)), recipe))
        except ImportError:
            continue
    return found


def _scoring(score: Scorer) -> Scoring:
    return lambda patches: Scores(score(patches))


def decided(scores: Scores, recipe: Recipe) -> Verdict:
    """The verdict from what an engine says of a part's patches."""
    return decide(scores.probabilities, recipe, scores.novelty)


def scored(name: str, scorer: Scoring, recipe: Recipe) -> Contender:
    """The station's patching and decision around ``scorer``, one part at a time."""

    def judge(frame: NDArray[np.uint8]) -> str:
        verdict = decided(scorer(cut(frame, recipe).pixels), recipe)
        if verdict.outcome is Outcome.FAULT:
            raise RuntimeError(f"{name} cannot be measured: {verdict.reason}")
        return verdict.class_name

    return Contender(name, judge)


def contender(name: str, engine: Engine, recipe: Recipe) -> Contender:
    """An engine as the station uses it, one part at a time and sustained."""

    def pace(frames: Sequence[NDArray[np.uint8]], seconds: float) -> float:
        return sustained(engine.scores, frames, recipe, seconds).parts_per_s

    return replace(scored(name, engine.scores, recipe), pace=pace)


def _one_at_a_time(judge: Judge, frames: Sequence[NDArray[np.uint8]], seconds: float) -> list[float]:
    times: list[float] = []
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        frame = frames[len(times) % len(frames)]
        started = time.perf_counter()
        judge(frame)
        times.append((time.perf_counter() - started) * 1000)
    return times


def sustained(
    scorer: Scoring,
    frames: Sequence[NDArray[np.uint8]],
    recipe: Recipe,
    seconds: float,
    show: Callable[[Patches, Verdict], None] = lambda patches, verdict: None,
    pace: float | None = None,
) -> Run:
    """Judge parts for some seconds, with the next part's patches cut while this part is scored.

    ``show`` is called with each part after its decision, as observers are. ``pace``: frames that come
    per second; None: each comes as soon as it can be cut.
    """
    ready: BoundedQueue[tuple[float, Patches]] = BoundedQueue("patches", 2)
    ended = threading.Event()

    def cut_ahead() -> None:
        number, begun = 0, time.perf_counter()
        while not ended.is_set():
            came = time.perf_counter()
            if pace is not None:
                came = begun + number / pace
                if ended.wait(max(came - time.perf_counter(), 0.0)):
                    return
            patches = cut(frames[number % len(frames)], recipe)
            while not ready.put((came, patches), 0.05) and not ended.is_set():
                pass
            number += 1

    cutter = threading.Thread(target=cut_ahead, name="cut ahead")
    cutter.start()
    times: list[float] = []
    started = time.perf_counter()
    try:
        while time.perf_counter() - started < seconds or len(times) < 2:
            next_one = ready.get(5.0 + (0.0 if pace is None else 1 / pace))
            if next_one is None:
                raise RuntimeError("cutting stopped")
            came, patches = next_one
            verdict = decided(scorer(patches.pixels), recipe)
            times.append((time.perf_counter() - came) * 1000)
            show(patches, verdict)
        return Run(len(times) / (time.perf_counter() - started), times)
    finally:
        ended.set()
        cutter.join()
