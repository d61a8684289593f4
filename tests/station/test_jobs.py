"""Job changes: the cell asks for another recipe, and the station changes over to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest

from drivers.sorters.interface import JobChange, Trigger
from station.assembly import JOB_WAITS_S
from station.config import load_config
from station.engines.interface import EngineError
from station.jobs import JobChanges
from station.line import Line
from station.observers import Observers
from station.running import Station
from station.supervision import State
from tests.conftest import TINY_RECIPE
from tests.waiting import wait_for

if TYPE_CHECKING:
    from tests.station.conftest import Plant


CONFIG = """
station: {name: test}
recipe: tiny
paths: {recipes: recipes, engines: engines, journal: var/j.db, images: var/images, cache: var/cache}
camera: {kind: folder, path: frames}
sorter: {kind: serial, port: ./cell.pty}
engine: {backend: onnxruntime-cpu, precision: fp32, threads: 1}
"""


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


@pytest.mark.usefixtures("tiny_engine")
def test_the_cells_job_change_waits_for_the_changeover_of_a_person_and_comes_last(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir(exist_ok=True)
    for name in ("tiny", "second"):
        recipe = TINY_RECIPE.replace("name: tiny", f"name: {name}")
        (tmp_path / "recipes" / f"{name}.yaml").write_text(recipe)
    (tmp_path / "station.yaml").write_text(CONFIG)
    line = plant.line()
    station = Station(line, load_config(tmp_path / "station.yaml"), plant.journal, Observers(), [])
    is_loading, may_go_on = threading.Event(), threading.Event()
    load = onnxruntime.InferenceSession

    def loads_slowly(*arguments: Any, **options: Any) -> onnxruntime.InferenceSession:
        is_loading.set()
        assert may_go_on.wait(60)
        return load(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", loads_slowly)
    line.start()
    person = threading.Thread(target=station.prepare, args=("tiny",))
    person.start()
    assert is_loading.wait(60)
    with pytest.raises(EngineError, match="another changeover is under way"):
        station.prepare("second")
    with JobChanges(plant.sorter, line, partial(station.prepare, wait_s=JOB_WAITS_S)):
        plant.sorter.jobs.put(JobChange(1, "second"), 1)
        wait_for(lambda: line.status().state is State.INITIALIZED)
        time.sleep(0.1)
        assert not plant.sorter.answers, "it waits, and does not give up"
        may_go_on.set()
        wait_for(lambda: bool(plant.sorter.answers), 60)
    person.join(60)
    assert plant.sorter.answers == [("second", "")]
    assert line.prepared.recipe.name == "second"
    assert line.status().state is State.READY
    line.stop()
    line.prepared.engine.close()
