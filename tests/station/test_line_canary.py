"""An engine that goes wrong while the station runs is found by its golden parts, and accepts nothing more."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.cameras.settings import Mode
from drivers.sorters.interface import Outcome, Result
from station.engines import open_engine
from station.engines.canary import STEP_PATCHES, Canary
from station.engines.folder import load_manifest, read_surface
from station.engines.interface import Engine, EngineError, Scores
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.line import NOT_TRUSTED, Line
from station.line_values import LineSettings
from station.prepared import Prepared
from station.recipe import Recipe
from station.supervision import State
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from tests.station.conftest import Plant


class GoesBlind(Engine):
    """A real engine that says *good* to everything from a moment on."""

    def __init__(self, inner: Engine) -> None:
        self.inner, self.info = inner, inner.info
        self.blind = False
        self.broken = False
        self.on_part: Callable[[], object] = lambda: None

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        if self.broken:
            raise EngineError("the device is gone")
        found = self.inner.scores(patches, timeout_s)
        if len(patches) > STEP_PATCHES:
            self.on_part()
        if not self.blind:
            return found
        sure = np.tile(np.array([1, 0, 0], np.float32), (len(patches), 1))
        return replace(found, probabilities=sure)

    def close(self) -> None:
        self.inner.close()


@dataclass
class Tiny:
    """A plant whose camera shows one golden part of the tiny engine, good or defective."""

    plant: Plant
    recipe: Recipe
    folder: Path
    cache: Path

    def shows(self, truth: str) -> None:
        manifest = load_manifest(self.folder)
        part = next(part for part in manifest.golden if part.truth == truth)
        pixels = read_surface(manifest, part)[..., 0]
        camera = self.plant.camera
        camera.good = lambda **changes: type(camera).good(camera, **({"pixels": pixels} | changes))  # type: ignore[method-assign]

    def prepared(self, period_s: float = 60.0) -> tuple[Prepared, GoesBlind]:
        engine = GoesBlind(open_engine(self.folder, "onnxruntime-cpu", "fp32", cache=self.cache))
        canary = Canary(engine, load_manifest(self.folder), self.recipe, period_s)
        return Prepared(self.recipe, engine, canary=canary), engine

    def line(self, prepared: Prepared, **settings: object) -> Line:
        values: dict[str, object] = {"deadline_s": 5.0, "stop_timeout_s": 2.0}
        line = Line(
            camera=self.plant.camera,
            sorter=self.plant.sorter,
            prepared=prepared,
            journal=self.plant.journal,
            settings=LineSettings(**(values | settings)),  # type: ignore[arg-type]
        )
        self.plant.lines.append(line)
        return line

    def events(self, kind: str) -> list[dict[str, object]]:
        with JournalReader(self.plant.journal.path) as reader:
            return [dict(one.values) for one in reader.events() if one.kind == kind]


@pytest.fixture
def tiny(plant: Plant, tiny_recipe: Recipe, tiny_engine_master: Path, tmp_path: Path) -> Tiny:
    return Tiny(plant, tiny_recipe, tiny_engine_master, tmp_path / "cache")


def test_an_idle_station_proves_all_golden_parts_soon_after_its_start(tiny: Tiny) -> None:
    prepared, _ = tiny.prepared()
    line = tiny.line(prepared)
    line.start()
    wait_for(lambda: (canary := line.status().canary) is not None and canary.passed == 12)
    assert line.status().state is State.READY


@pytest.mark.parametrize("busy", [False, True])
def test_an_engine_that_says_good_to_everything_withdraws_ready_within_one_period(
    tiny: Tiny, busy: bool
) -> None:
    """Idle, and with a cell that leaves it no time; nothing is accepted once it is found."""
    period_s = 3.0
    prepared, engine = tiny.prepared(period_s)
    tiny.shows("bright")
    line = tiny.line(prepared)
    sorter = tiny.plant.sorter
    ended = threading.Event()

    def cell() -> None:
        part = 0
        while not ended.wait(0.001):
            if sorter.waiting() < 4:
                part += 1
                sorter.ask(part)

    found_after: list[int] = []
    sorter_ready = sorter.set_ready

    def set_ready(ready: bool, reason: str = "") -> None:
        sorter_ready(ready, reason)
        if "not trusted" in reason:
            found_after.append(len(sorter.told))

    sorter.set_ready = set_ready  # type: ignore[method-assign]
    line.start()
    asking = threading.Thread(target=cell)
    if busy:
        asking.start()
    wait_for(lambda: (canary := line.status().canary) is not None and canary.passed >= 12)
    if busy:
        wait_for(lambda: len(sorter.told) > 20)
        assert {result.outcome for result in sorter.told} == {Outcome.REJECT}
    engine.blind = True
    begun = time.monotonic()
    wait_for(lambda: line.status().state is State.HALTED)
    assert time.monotonic() - begun < period_s
    assert "engine tiny (onnxruntime-cpu fp32) is not trusted any more: golden part" in line.status().reason
    assert "`station activate tiny`" in line.status().reason
    if not busy:
        sorter.ask(1)
        wait_for(lambda: len(sorter.told) == 1)
    else:
        seen = len(sorter.told)
        wait_for(lambda: len(sorter.told) > seen + 10)
        ended.set()
        asking.join()
    later = sorter.told[found_after[0] + 1 :] if busy else sorter.told
    assert {result.outcome for result in later} == {Outcome.FAULT}
    line.stop()
    (event,) = tiny.events("canary")
    assert event["engine"] == "tiny"
    assert "golden part" in str(event["problem"])
    assert audit(tiny.plant.journal.path).findings == ()


def test_parts_in_flight_when_the_engine_is_found_wrong_are_faulted(tiny: Tiny) -> None:
    prepared, engine = tiny.prepared(1.0)
    tiny.shows("good")
    sorter, told, go_on = tiny.plant.sorter, threading.Event(), threading.Event()

    def hold_the_first(result: Result) -> None:
        if result.part_id == 1:
            told.set()
            assert go_on.wait(PATIENCE_S)

    sorter.on_tell = hold_the_first
    sorter.patient = False
    line = tiny.line(prepared, in_place_s=5.0)
    line.start()
    sorter.ask(1)
    assert told.wait(PATIENCE_S)
    sorter.ask(2)
    wait_for(lambda: line.status().queues[2].length == 1)
    engine.blind = True
    wait_for(lambda: line.status().state is State.HALTED)
    go_on.set()
    wait_for(lambda: len(sorter.told) == 2)
    assert tiny.plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.FAULT}
    assert tiny.plant.reason(2) == NOT_TRUSTED
    line.stop()


def test_an_accept_that_waits_for_the_disk_is_withdrawn_when_the_engine_is_found_wrong(tiny: Tiny) -> None:
    prepared, engine = tiny.prepared(0.5)
    tiny.shows("good")
    held, found = threading.Event(), threading.Event()

    def hold_the_disk() -> None:
        with closing(sqlite3.connect(tiny.plant.journal.segment_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            time.sleep(0.5)  # the verdict is made meanwhile, and waits for the disk
            engine.blind = True
            found.wait(10)
            time.sleep(0.2)
            other.execute("ROLLBACK")

    def stall() -> None:
        threading.Thread(target=hold_the_disk).start()
        assert held.wait(PATIENCE_S)

    engine.on_part = stall
    line = tiny.line(prepared)
    line.start()
    tiny.plant.sorter.ask(1)
    wait_for(lambda: line.status().state is State.HALTED)
    assert not tiny.plant.sorter.told
    found.set()
    wait_for(lambda: len(tiny.plant.sorter.told) == 1)
    line.stop()
    assert tiny.plant.outcomes() == {1: Outcome.FAULT}
    with JournalReader(tiny.plant.journal.path) as reader:
        kinds = [event.kind for event in reader.events(0) if event.record_id == 1]
    assert kinds == ["opened", "verdict", "withdrawn", "receipt"]
    assert audit(tiny.plant.journal.path).findings == ()


def test_an_engine_that_gives_no_scores_for_golden_parts_ends_the_line(
    tiny: Tiny,
) -> None:
    prepared, engine = tiny.prepared(0.5)
    line = tiny.line(prepared)
    line.start()
    engine.broken = True
    assert line.wait(PATIENCE_S)
    assert line.status().state is State.ERROR
    assert "golden parts in a row: the device is gone" in line.status().failure
    line.stop()


def test_resume_does_not_bring_a_distrusted_engine_back_another_one_does(tiny: Tiny) -> None:
    prepared, engine = tiny.prepared(1.0)
    tiny.shows("good")
    line = tiny.line(prepared)
    line.start()
    engine.blind = True
    wait_for(lambda: line.status().state is State.HALTED)
    with pytest.raises(EngineError, match="not trusted any more"):
        line.resume()
    with pytest.raises(EngineError, match="not trusted any more"):
        line.prepare(prepared)
    assert line.status().state is State.HALTED
    line.prepare(tiny.prepared()[0])
    assert line.status().state is State.READY
    tiny.plant.sorter.ask(1)
    wait_for(lambda: len(tiny.plant.sorter.told) == 1)
    assert tiny.plant.outcomes() == {1: Outcome.ACCEPT}
    line.stop()
    prepared.engine.close()
    line.prepared.engine.close()


def test_free_running_no_frame_becomes_a_part_once_the_engine_is_found_wrong(tiny: Tiny) -> None:
    prepared, engine = tiny.prepared(1.0)
    tiny.shows("good")
    tiny.plant.camera.pace_s = 0.01
    line = tiny.line(prepared, mode=Mode.FREE_RUNNING)
    line.start()
    wait_for(lambda: len(tiny.plant.sorter.told) > 5)
    engine.blind = True
    wait_for(lambda: line.status().state is State.HALTED)
    time.sleep(0.3)
    seen = line.status().statistics.triggers
    time.sleep(0.3)
    assert line.status().statistics.triggers == seen
    line.stop()
