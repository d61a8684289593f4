"""A clean stop at any moment, in every mode: each record has verdict and receipt, and the sums agree."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.cameras.interface import CameraLostError, CameraTimeoutError, Frame
from drivers.cameras.settings import Mode
from drivers.sorters.interface import Outcome, Receipt, Result
from station.line import Line
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from tests.station.conftest import Plant

GOOD = np.tile(np.array([0.9, 0.1], np.float32), (2, 1))


def conserved(plant: Plant, line: Line) -> None:
    """Read the journal itself, not only what the line says of itself."""
    counts, run = plant.journal.counts(), line.status().statistics
    assert counts.open == 0
    assert counts.triggers == counts.accepted + counts.rejected + counts.faulted
    assert run.triggers == run.accepted + run.rejected + run.faulted
    assert run.in_hand == 0
    plant.journal.flush()
    records = plant.records()
    assert len(records) == counts.triggers
    assert all(record.outcome is not None for record in records.values())
    assert all(record.acknowledged is not None for record in records.values())
    told = [result.part_id for result in plant.sorter.told]
    assert sorted(told) == sorted(records), "one result per record, no more and no less"


def test_a_stop_while_the_camera_waits_for_the_next_frame_leaves_no_record_open(plant: Plant) -> None:
    waiting = threading.Event()

    def slowly() -> Frame:
        waiting.set()
        line.wait(PATIENCE_S)  # until the stop has begun
        return plant.camera.good()

    plant.camera.script = [plant.camera.good(), slowly]
    line = plant.line(mode=Mode.FREE_RUNNING)
    line.start()
    assert waiting.wait(PATIENCE_S)
    line.stop()
    assert plant.journal.counts().triggers == 1, "a frame that comes after the stop is no part"
    conserved(plant, line)


def test_a_frame_that_comes_when_the_stop_has_given_up_on_the_camera_opens_no_record(plant: Plant) -> None:
    waiting, released = threading.Event(), threading.Event()

    def hang() -> Frame:
        waiting.set()
        released.wait(10)
        return plant.camera.good(lost_before=2)

    plant.camera.script = [hang]
    line = plant.line(mode=Mode.FREE_RUNNING, stop_timeout_s=0.1)
    line.start()
    assert waiting.wait(PATIENCE_S)
    line.stop()
    released.set()
    time.sleep(0.1)
    assert plant.journal.counts().triggers == 0


def test_triggers_that_came_before_the_cell_knew_of_the_stop_are_faulted(plant: Plant) -> None:
    waiting = threading.Event()

    def slowly() -> Frame:
        waiting.set()
        line.wait(PATIENCE_S)  # until the stop has begun
        return plant.camera.good()

    plant.camera.script = [slowly]
    line = plant.line()
    plant.sorter.ask(1, 2, 3)
    line.start()
    assert waiting.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.FAULT, 3: Outcome.FAULT}
    assert "the station was stopping" in plant.reason(2)
    conserved(plant, line)


def test_results_that_nobody_acknowledged_have_their_receipt_after_the_stop(plant: Plant) -> None:
    """The sorter says so only when it is closed."""
    held: list[Result] = []

    def close() -> None:
        for result in held:
            receipt = Receipt(
                result.part_id, False, 0, time.monotonic_ns(), "closed before the cell answered"
            )
            plant.sorter.receipts.put(receipt, 1)

    plant.sorter.send = lambda result: (held.append(result), plant.sorter.told.append(result))[0]  # type: ignore[method-assign]
    plant.sorter.close = close  # type: ignore[method-assign]
    line = plant.line(stop_timeout_s=0.1)
    plant.sorter.ask(1)
    line.start()
    wait_for(lambda: held)
    line.stop()
    conserved(plant, line)
    assert plant.records()[1].ack_problem == "closed before the cell answered"


SITUATIONS = ("running", "camera lost", "halted", "changing over")


@pytest.mark.parametrize("mode", ["cell", "wire", "free running"])
@pytest.mark.parametrize("situation", SITUATIONS)
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    before_s=st.floats(0, 0.04),
    paces_ms=st.lists(st.integers(0, 8), min_size=3, max_size=3),
)
def test_whenever_it_is_stopped_every_part_is_settled(
    plant: Plant, mode: str, situation: str, before_s: float, paces_ms: list[int]
) -> None:
    stop_and_look(plant, mode, situation, before_s, paces_ms)


def stop_and_look(plant: Plant, mode: str, situation: str, before_s: float, paces_ms: list[int]) -> None:
    camera, engine, sorter = plant.camera, plant.engine, plant.sorter
    grab_s, score_s, cell_s = (pace / 1000 for pace in paces_ms)

    def grabbed() -> Frame:
        time.sleep(grab_s)
        return camera.good(frame_id=0)

    def lost() -> Frame:
        camera.fail_open = 5
        raise CameraLostError("unplugged")

    def scored() -> NDArray[np.float32]:
        time.sleep(score_s)
        return GOOD

    def nothing() -> Frame:
        raise CameraTimeoutError("nothing")

    usual: list[Callable[[], Frame]] = [grabbed, grabbed, nothing, grabbed]
    camera.wired = mode == "wire"
    camera.script = list(usual * 100)
    if situation == "camera lost":
        camera.script = [grabbed, lost, *camera.script]
    camera.fail_open = 0
    engine.script = [scored] * 400
    sorter.on_tell = lambda result: time.sleep(cell_s)
    line = plant.line(mode=Mode.FREE_RUNNING if mode == "free running" else Mode.CELL)
    first = 1 + plant.journal.counts().triggers
    second = plant.another("shaft", "1") if situation == "changing over" else None
    line.start()
    if mode != "free running":
        sorter.ask(*range(first, first + 40))
    time.sleep(before_s / 2)
    if situation == "halted":
        line.halt("tool change")
    changing = threading.Thread(target=lambda: second and line.prepare(second))
    changing.start()
    time.sleep(before_s / 2)
    line.stop()
    changing.join()
    sorter.on_tell = lambda result: None
    conserved(plant, line)
