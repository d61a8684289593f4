"""Changing over between two parts, and halting, while parts are on their way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.cameras.interface import Frame
from drivers.cameras.settings import Mode
from drivers.sorters.interface import Outcome
from station.journal import STATION_EVENTS
from station.journal.reading import JournalReader
from station.line import Line
from station.observers import Observer, Observers
from station.part import InspectedPart
from station.supervision import State
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from tests.station.conftest import Plant

GOOD = np.tile(np.array([0.9, 0.1], np.float32), (2, 1))


def balanced(line: Line) -> bool:
    run = line.status().statistics
    return run.triggers == run.accepted + run.rejected + run.faulted and run.in_hand == 0


def events(plant: Plant) -> list[tuple[str, dict[str, object]]]:
    """Kind and values of the station's events in the journal's chain."""
    with JournalReader(plant.journal.path) as reader:
        return [(one.kind, dict(one.values)) for one in reader.events() if one.kind in STATION_EVENTS]


def test_parts_in_hand_finish_with_the_recipe_and_engine_they_began_with(plant: Plant) -> None:
    go_on = threading.Event()

    def slowly() -> NDArray[np.float32]:
        go_on.wait(10)
        return GOOD

    plant.engine.script = [slowly]
    line = plant.line(deadline_s=20)
    second = plant.another("shaft", "1")
    line.start()
    plant.sorter.ask(1, 2, 3)
    wait_for(lambda: len(plant.sorter.acknowledged) == 3)
    line.prepare(second)
    plant.sorter.ask(4, 5, recipe="shaft")
    wait_for(lambda: len(plant.sorter.acknowledged) == 5)
    assert not plant.engine.closed, "three parts still need it"
    go_on.set()
    wait_for(lambda: len(plant.sorter.told) == 5)
    wait_for(lambda: bool(plant.engine.closed))
    line.stop()
    assert set(plant.outcomes().values()) == {Outcome.ACCEPT}
    records = plant.records()
    assert {part: (record.recipe, record.engine_digest) for part, record in records.items()} == {
        **dict.fromkeys((1, 2, 3), ("strip", "0" * 64)),
        **dict.fromkeys((4, 5), ("shaft", "1" * 64)),
    }
    assert plant.engine.closed == 1
    assert not second.engine.closed, "whoever prepared it closes it"
    assert plant.sorter.prepared == "shaft"
    assert balanced(line)


def test_under_load_every_part_bears_the_recipe_and_engine_of_one_and_the_same_changeover(
    plant: Plant,
) -> None:
    line = plant.line(deadline_s=20)
    prepared = [plant.another(f"recipe-{number}", str(number)) for number in range(1, 9)]
    ended = threading.Event()

    def cell() -> None:
        part = 0
        while not ended.is_set():
            if (
                plant.sorter.waiting() < 8
            ):  # a busy machine must not be left with more than it can judge in time
                part += 1
                plant.sorter.ask(part)
            time.sleep(0.001)

    line.start()
    asking = threading.Thread(target=cell)
    asking.start()
    for one in prepared:
        time.sleep(0.05)
        line.prepare(one)
    time.sleep(0.05)
    ended.set()
    asking.join()
    wait_for(lambda: len(plant.sorter.told) == len(plant.sorter.acknowledged) and not plant.sorter.waiting())
    line.stop()
    records = plant.records()
    pairs = {(record.recipe, record.engine_digest) for record in records.values()}
    allowed = {("strip", "0" * 64)} | {(one.recipe.name, one.engine_digest) for one in prepared}
    assert pairs <= allowed
    assert len(pairs) > 4
    assert balanced(line)
    assert {record.outcome for record in records.values()} == {"accept"}
    assert [one.engine.closed for one in prepared] == [1] * 7 + [0]  # type: ignore[attr-defined]
    in_order = [records[part].recipe for part in sorted(records)]
    assert in_order == sorted(in_order, key=["strip", *(one.recipe.name for one in prepared)].index)


def test_changing_over_to_the_same_engine_does_not_close_it(plant: Plant) -> None:
    judging, go_on = threading.Event(), threading.Event()

    def slowly() -> NDArray[np.float32]:
        judging.set()
        assert go_on.wait(PATIENCE_S)
        return GOOD

    plant.engine.script = [slowly]
    line = plant.line()
    line.start()
    plant.sorter.ask(1)
    assert judging.wait(PATIENCE_S), "the thread that closes engines is busy from now on"
    other = plant.another("shaft", "1")
    for prepared in (other, line.prepared, other, line.prepared):
        line.prepare(prepared)
    go_on.set()
    plant.sorter.ask(2)
    wait_for(lambda: len(plant.sorter.told) == 2)
    line.stop()
    assert set(plant.outcomes().values()) == {Outcome.ACCEPT}
    assert not line.prepared.engine.closed  # type: ignore[attr-defined]


def test_a_replaced_engine_that_fails_does_not_halt_the_line(plant: Plant) -> None:
    go_on = threading.Event()

    def fail() -> NDArray[np.float32]:
        go_on.wait(10)
        raise RuntimeError("device lost")

    plant.engine.script = [fail]
    line = plant.line(deadline_s=20, engine_failures_allowed=1)
    line.start()
    plant.sorter.ask(1)
    wait_for(lambda: bool(plant.sorter.acknowledged))
    line.prepare(plant.another("shaft", "1"))
    go_on.set()
    plant.sorter.ask(2)
    wait_for(lambda: len(plant.sorter.told) == 2)
    assert plant.outcomes() == {1: Outcome.FAULT, 2: Outcome.ACCEPT}
    assert not line.status().failure


def test_after_a_changeover_a_trigger_for_the_recipe_of_before_is_a_fault(plant: Plant) -> None:
    line = plant.line()
    line.start()
    line.prepare(plant.another("shaft", "1"))
    plant.sorter.ask(1, recipe="strip")
    wait_for(lambda: len(plant.sorter.told) == 1)
    assert plant.outcomes() == {1: Outcome.FAULT}
    assert "'shaft' is prepared" in plant.reason(1)


def test_start_changeover_halt_resume_and_stop_are_events_of_the_chain(plant: Plant) -> None:
    line = plant.line()
    line.start()
    line.prepare(plant.another("shaft", "1"))
    line.halt("a new batch")
    line.resume()
    line.stop()
    found = events(plant)
    assert [kind for kind, _ in found] == ["start", "changeover", "halt", "resume", "stop"]
    assert found[0][1]["recipe"] == "strip"
    assert (found[1][1]["recipe"], found[1][1]["engine_digest"]) == ("shaft", "1" * 64)
    assert found[2][1]["reason"] == "a new batch"


def test_a_halted_line_finishes_what_is_in_hand_and_takes_nothing_until_it_is_resumed(plant: Plant) -> None:
    go_on = threading.Event()

    def slowly() -> NDArray[np.float32]:
        go_on.wait(10)
        return GOOD

    plant.engine.script = [slowly]
    line = plant.line(deadline_s=20)
    line.start()
    plant.sorter.ask(1)
    wait_for(lambda: bool(plant.sorter.acknowledged))
    line.halt("tool change")
    assert line.status().state is State.HALTED
    assert "tool change" in line.status().reason
    assert plant.sorter.ready[-1] == (False, "F603 tool change")
    go_on.set()
    wait_for(lambda: len(plant.sorter.told) == 1)
    plant.sorter.ask(2)  # by a cell that does not care
    wait_for(lambda: len(plant.sorter.told) == 2)
    line.resume()
    assert line.status().state in (State.READY, State.SINGLE_EXECUTION)
    assert plant.sorter.ready[-1] == (True, "")
    plant.sorter.ask(3)
    wait_for(lambda: len(plant.sorter.told) == 3)
    assert plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.FAULT, 3: Outcome.ACCEPT}
    assert not line.wait(0), "halted is not ended"


def test_free_running_no_frame_of_a_halt_is_a_part_and_the_first_one_after_it_is(plant: Plant) -> None:
    plant.camera.pace_s = 0.002
    line = plant.line(mode=Mode.FREE_RUNNING)
    line.start()
    wait_for(lambda: line.status().statistics.triggers > 3)
    line.halt("tool change")
    wait_for(lambda: line.status().statistics.in_hand == 0)
    time.sleep(0.05)
    taken = line.status().statistics.triggers
    time.sleep(0.1)
    assert line.status().statistics.triggers == taken
    armed = plant.camera.rearmed
    line.resume()
    wait_for(lambda: line.status().statistics.triggers > taken)
    assert plant.camera.rearmed == armed + 1, "what was exposed during the halt is thrown away"
    line.stop()
    assert balanced(line)


def test_free_running_no_frame_of_before_a_changeover_is_judged_by_the_recipe_after_it(plant: Plant) -> None:
    line = plant.line(mode=Mode.FREE_RUNNING)
    second = plant.another("shaft", "1")
    armed: list[int] = []

    def changed_over_meanwhile() -> Frame:
        line.prepare(second)
        armed.append(plant.camera.rearmed)
        return plant.camera.good()

    plant.camera.script = [plant.camera.good, changed_over_meanwhile]
    plant.camera.pace_s = 0.01
    line.start()
    wait_for(lambda: line.status().statistics.accepted >= 3)
    line.stop()
    records = plant.records()
    assert (records[1].recipe, records[1].outcome) == ("strip", Outcome.ACCEPT)
    assert (records[2].recipe, records[2].outcome) == ("shaft", Outcome.FAULT)
    assert "the recipe was changed while this frame came" in records[2].reason
    assert {(records[part].recipe, records[part].outcome) for part in (3, 4)} == {("shaft", Outcome.ACCEPT)}
    assert plant.camera.rearmed == armed[0] + 1, "what waited in the camera is thrown away"
    assert balanced(line)


class Awkward(Observer):
    """Does with each part what a test says."""

    name = "awkward"

    def __init__(self, does: Callable[[], None]) -> None:
        self.does = does

    def observe(self, part: InspectedPart) -> None:
        self.does()


def raise_something() -> None:
    raise RuntimeError("nothing works today")


@pytest.mark.parametrize("kind", ["slow", "raising", "hanging", "exiting"])
def test_an_awkward_observer_touches_neither_verdicts_nor_pace_nor_the_stop(plant: Plant, kind: str) -> None:
    ended = threading.Event()
    does: dict[str, Callable[[], object]] = {
        "slow": lambda: ended.wait(1.0),
        "raising": raise_something,
        "hanging": lambda: ended.wait(60),
        "exiting": lambda: (_ for _ in ()).throw(SystemExit(1)),
    }
    with Observers([Awkward(does[kind])]) as observers:  # type: ignore[arg-type]
        line = plant.line(observers, deadline_s=20)
        plant.sorter.ask(*range(1, 61))
        begun = time.monotonic()
        line.start(parts=60)
        assert line.wait(PATIENCE_S)
        line.stop()
        assert time.monotonic() - begun < 45.0, "60 parts at 1 s each would take 60"
        status = line.status()
        ended.set()
    assert plant.outcomes() == dict.fromkeys(range(1, 61), Outcome.ACCEPT)
    assert balanced(line)
    assert not status.failure
    assert status.observers[0].problem
