"""Job changes: the cell asks for another recipe, and the station changes over to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from drivers.sorters.interface import JobChange, Trigger
from station.engines.interface import EngineError
from station.jobs import JobChanges
from station.line import Line
from station.supervision import State

if TYPE_CHECKING:
    from tests.station.conftest import Plant


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.002)


@pytest.fixture
def line(plant: Plant) -> Iterator[Line]:
    made = plant.line()
    known = {"shaft": plant.another("shaft", "1"), "strip": plant.another("strip", "2")}
    known |= dict.fromkeys(("/tmp/strip", "../strip@40", "strip.yaml"), known["strip"])

    def prepare(recipe: str) -> None:
        if recipe == "broken":
            raise ZeroDivisionError("a mistake of ours")
        if recipe not in known:
            raise EngineError(f"no recipe {recipe}")
        made.prepare(known[recipe])

    made.start()
    with JobChanges(plant.sorter, made, prepare):
        yield made
    made.stop()


def test_a_recipe_that_the_cell_asks_for_is_prepared_and_parts_are_judged_by_it(
    plant: Plant, line: Line
) -> None:
    plant.sorter.jobs.put(JobChange(1, "shaft"), 1)
    wait_for(lambda: bool(plant.sorter.answers))
    assert plant.sorter.answers == [("shaft", "")]
    assert plant.sorter.prepared == "shaft"
    assert line.status().state is State.READY
    plant.sorter.ask(1)
    wait_for(lambda: len(plant.sorter.told) == 1)
    assert plant.records()[1].recipe == "shaft"


@pytest.mark.parametrize(("recipe", "said"), [("gear", "no recipe gear"), ("broken", "mistake of ours")])
def test_after_a_recipe_that_cannot_be_prepared_nothing_is_until_another_one_is(
    plant: Plant, line: Line, recipe: str, said: str
) -> None:
    plant.sorter.jobs.put(JobChange(1, recipe), 1)
    wait_for(lambda: bool(plant.sorter.answers))
    assert said in plant.sorter.answers[0][1]
    assert line.status().state is State.INITIALIZED
    assert said in line.status().reason
    assert not plant.sorter.ready[-1][0]
    plant.sorter.jobs.put(JobChange(2, "strip"), 1)
    wait_for(lambda: len(plant.sorter.answers) == 2)
    assert plant.sorter.answers[1] == ("strip", "")
    assert line.status().state is State.READY
    assert plant.sorter.ready[-1] == (True, "")


@pytest.mark.parametrize("path", ["/tmp/strip", "../strip@40", "strip.yaml"])
def test_a_cell_names_recipes_and_no_files(plant: Plant, line: Line, path: str) -> None:
    plant.sorter.jobs.put(JobChange(1, path), 1)
    wait_for(lambda: bool(plant.sorter.answers))
    assert "it is a path" in plant.sorter.answers[0][1]
    assert line.status().state is State.INITIALIZED


def test_the_lot_that_a_trigger_names_stands_in_the_record_of_its_part_alone(
    plant: Plant, line: Line
) -> None:
    for part, lot in ((1, "4711-B"), (2, "")):
        plant.sorter.triggers.put(Trigger(part, "", time.monotonic_ns(), lot), 1)
    wait_for(lambda: len(plant.sorter.told) == 2)
    assert {part: record.lot for part, record in plant.records().items()} == {1: "4711-B", 2: None}
