"""The time to a verdict while a candidate is loaded, on a machine whose processors are full."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulation.rendering.parts import render_part
from station.bench.busy import busy
from station.bench.verdicts import sustained
from station.engines import open_engine
from station.machine import processor
from station.recipe import load_recipe
from station.spare.engine import open_judging
from station.spare.jobs import JudgingEngine
from station.statistics import Percentiles

ROOT = Path(__file__).parents[3]
NAME = "servo-motor-housing"
ROUNDS, SECONDS, PACE = 3, 20.0, 1.5


class _EndedError(Exception):
    """The round is over."""


@contextmanager
def loading(job: JudgingEngine) -> Iterator[None]:
    """Meanwhile, a candidate is opened in spare time, again and again."""
    ended = threading.Event()

    def meanwhile() -> None:
        if ended.is_set():
            raise _EndedError

    def opens() -> None:
        try:
            while True:
                open_judging(job, meanwhile)[0].close()
        except _EndedError:
            return

    thread = threading.Thread(target=opens)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow  # a 99th percentile takes a minute of parts on either side
def test_the_line_does_not_wait_for_a_candidate_that_is_loaded_while_other_work_fills_the_machine() -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{NAME}.yaml")
    folder = ROOT / "engines" / NAME
    engine = open_engine(folder, "onnxruntime-cpu", "int8", threads=2, recipe=recipe)
    job = JudgingEngine.of(folder, NAME, recipe, "onnxruntime-cpu", "int8", None)
    frames = [render_part(900_001, width=recipe.product.widths_px[0]).frame()]
    alone: list[float] = []
    beside: list[float] = []
    sustained(engine.scores, frames, recipe, 2.0)
    with busy(os.cpu_count() or 1):
        for _ in range(ROUNDS):
            alone += sustained(engine.scores, frames, recipe, SECONDS, pace=PACE).verdict_ms
            with loading(job):
                beside += sustained(engine.scores, frames, recipe, SECONDS, pace=PACE).verdict_ms
    engine.close()
    before, after = Percentiles.of(alone), Percentiles.of(beside)
    said = f"{processor()}: alone {before}, while a candidate is loaded {after}"
    print(said)
    # The hazard is a matter of seconds: with a thread of the lowest priority, it was 10 times as long.
    assert after.p99 < 2 * before.p99 + 100, said
