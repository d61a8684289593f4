"""The line with parts of several frames: verdicts, journal, deadline, changeover and pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.cameras.settings import Mode
from drivers.lights.interface import LightConfigError, LightError
from drivers.sorters.interface import Outcome
from station.journal import Journal
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.lighting import Lighting
from station.line import Line
from station.line_values import LineSettings
from station.observers import Observer, Observers
from station.part import InspectedPart
from station.prepared import Prepared
from station.recipe import load_recipe
from station.supervision import State
from tests.station.conftest import RECIPE, ScriptedEngine, ScriptedSorter
from tests.station.lamps import OUTPUTS, MemoryLights, SeeingCamera, lit_recipe
from tests.waiting import PATIENCE_S, wait_for

WRONG = ("lost", "one lost before", "incomplete", "twice", "late", "no exposure")
DEFECT = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)


class Looker(Observer):
    """Keeps what it is shown, frames and all."""

    name = "looker"
    needs_frame = True

    def __init__(self) -> None:
        self.parts: list[InspectedPart] = []

    def observe(self, part: InspectedPart) -> None:
        self.parts.append(part)


class Sorter(ScriptedSorter):
    """Lays each part before the camera as it is triggered."""

    camera: SeeingCamera

    def acknowledge(self, trigger: object) -> None:
        super().acknowledge(trigger)  # type: ignore[arg-type]
        self.camera.part = self.acknowledged[-1]


class Plant:
    """A line of scripted devices whose recipe lights a part by three lamps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lights = MemoryLights()
        self.camera = SeeingCamera(self.lights)
        self.sorter = Sorter()
        self.sorter.camera = self.camera
        self.engine = ScriptedEngine()
        self.looker = Looker()
        self.journal = Journal(folder / "journal.sqlite", station="test")
        self.lines: list[Line] = []

    def line(self, lighting: Lighting | None = None, **settings: object) -> Line:
        values = {"deadline_s": 20.0, "in_place_s": 5.0, "grab_timeout_s": 0.1, "reopen_after_s": (0.01,)}
        line = Line(
            camera=self.camera,
            sorter=self.sorter,
            prepared=Prepared(lit_recipe(self.folder), self.engine),
            journal=self.journal,
            settings=LineSettings(**(values | settings)),  # type: ignore[arg-type]
            observers=Observers([self.looker]),
            lighting=lighting or Lighting(self.lights),
        )
        self.lines.append(line)
        return line

    def run(self, *part_ids: int, **settings: object) -> Line:
        line = self.line(**settings)  # type: ignore[arg-type]
        self.sorter.ask(*part_ids)
        line.start(parts=len(part_ids))
        assert line.wait(PATIENCE_S)
        line.stop()
        wait_for(lambda: len(self.looker.parts) == len(self.sorter.told))
        return line

    def outcomes(self) -> dict[int, Outcome]:
        return {result.part_id: result.outcome for result in self.sorter.told}

    def reason(self, part_id: int) -> str:
        return next(result.reason for result in self.sorter.told if result.part_id == part_id)

    def frames_in_the_journal(self) -> dict[int, dict[str, object]]:
        """What the event of each record says, by the part's id."""
        with JournalReader(self.journal.path) as reader:
            parts = {record.record_id: record.part_id for record in reader.records()}
            found = list(reader.station_events(["frames"]))
        return {parts[one.record_id]: dict(one.values) for one in found}


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    yield plant
    for line in plant.lines:
        line.stop()
    plant.journal.close()


def test_a_part_is_judged_by_the_frames_of_all_its_lamps(plant: Plant) -> None:
    seen: list[tuple[int, ...]] = []
    scores = plant.engine.scores

    def looked(patches: NDArray[np.uint8], timeout_s: float | None = None) -> object:
        seen.append(patches.shape)
        return scores(patches, timeout_s)

    plant.engine.scores = looked  # type: ignore[method-assign, assignment]
    plant.engine.script = [DEFECT]
    plant.run(11, 12)
    assert plant.outcomes() == {11: Outcome.REJECT, 12: Outcome.ACCEPT}
    assert seen == [(2, 16, 16, 3)] * 2
    sources = [[frame.source for frame in one.part.frames] for one in plant.looker.parts]
    assert sources == [[f"{part}/{output}" for output in OUTPUTS] for part in (11, 12)]
    assert plant.lights.lit == ()


def test_the_journal_has_every_exposure_and_its_audit_is_green(plant: Plant) -> None:
    plant.camera.wrong.extend(["", "", "", "", "one lost before"])
    plant.run(11, 12, 13)
    assert plant.outcomes() == {11: Outcome.ACCEPT, 12: Outcome.FAULT, 13: Outcome.ACCEPT}
    assert plant.reason(12).startswith("F103 frame 2 of 3 (the lamp at output 1): 1 exposure(s) lost")
    good = {"frame_ids": [0, 1, 2], "lost_before": [0, 0, 0], "complete": [True, True, True]}
    found = plant.frames_in_the_journal()
    assert found[11] == good
    assert found[12] == {"frame_ids": [3, None], "lost_before": [0, 1], "complete": [True, None]}
    assert found[13] == good
    with JournalReader(plant.journal.path) as reader:
        records = {record.part_id: record for record in reader.records()}
    assert (records[11].frame_id, records[11].lost_before, records[11].frame_complete) == (2, 0, True)
    assert (records[12].frame_id, records[12].lost_before, records[12].frame_complete) == (None, 1, None)
    plant.journal.close()
    report = audit(plant.journal.path)
    assert report.passed, report.findings


def test_an_incomplete_frame_is_in_the_record_and_never_classified(plant: Plant) -> None:
    plant.camera.wrong.extend(["", "incomplete"])
    plant.run(11)
    assert plant.reason(11).startswith("F106 frame 2 of 3")
    assert plant.frames_in_the_journal()[11]["complete"] == [True, False]
    assert plant.looker.parts[0].part.patches is None


def test_a_lamp_that_fails_before_the_first_exposure_is_a_part_that_the_cell_may_not_expose(
    plant: Plant,
) -> None:
    line = plant.line()
    line.start(parts=1)
    plant.lights.fault = "refuses"
    plant.sorter.ask(11)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {11: Outcome.FAULT}
    assert plant.reason(11).startswith("F110 frame 1 of 3 (the lamp at output 2): the controller refuses")
    assert plant.sorter.acknowledged == []


def test_a_part_whose_deadline_passes_between_two_lamps_gets_no_further_exposure(plant: Plant) -> None:
    line = plant.line(deadline_s=0.3)
    only, lit = Lighting.only, []

    class Slow(Lighting):
        def only(self, *given: object) -> None:
            lit.append(given)
            only(self, *given)  # type: ignore[arg-type]
            time.sleep(0.5 if len(lit) == 2 else 0)

    line = plant.line(Slow(plant.lights), deadline_s=0.3)
    line.start(parts=1)
    plant.sorter.ask(11)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.reason(11).startswith("F401")
    assert len(lit) == 2
    assert plant.lights.lit == ()


def test_a_station_whose_controller_does_not_answer_does_not_begin(plant: Plant) -> None:
    plant.lights.fault = "is silent"
    with pytest.raises(LightError, match="silent"):
        plant.line().start()


def test_a_changeover_to_lamps_that_cannot_be_lit_is_refused_and_nothing_is_changed(
    plant: Plant, tmp_path: Path
) -> None:
    file = tmp_path / "strip.yaml"
    file.write_text(RECIPE)
    line = Line(
        camera=plant.camera,
        sorter=plant.sorter,
        prepared=Prepared(load_recipe(file), plant.engine),
        journal=plant.journal,
        settings=LineSettings(mode=Mode.CELL),
    )
    plant.lines.append(line)
    line.start()
    with pytest.raises(LightConfigError, match="name the light controller"):
        line.prepare(Prepared(lit_recipe(tmp_path), ScriptedEngine("1")))
    assert line.prepared.recipe.name == "strip"
    assert line.status().state is State.READY


def test_a_line_changes_over_between_one_frame_and_several(plant: Plant, tmp_path: Path) -> None:
    file = tmp_path / "strip.yaml"
    file.write_text(RECIPE)
    line = plant.line()
    line.start()
    plant.sorter.ask(1)
    wait_for(lambda: len(plant.sorter.told) == 1)
    line.prepare(Prepared(load_recipe(file), ScriptedEngine("1")))
    plant.lights.fault = "is silent"  # nobody asks them
    plant.sorter.ask(2, recipe="strip")
    wait_for(lambda: len(plant.sorter.told) == 2)
    plant.lights.fault = ""
    line.prepare(Prepared(lit_recipe(tmp_path), ScriptedEngine("2")))
    plant.sorter.ask(3, recipe="lit")
    wait_for(lambda: len(plant.sorter.told) == 3)
    assert plant.outcomes() == dict.fromkeys((1, 2, 3), Outcome.ACCEPT)
    assert plant.frames_in_the_journal().keys() == {1, 3}


@settings(max_examples=15)
@given(
    wrong=st.lists(
        st.sampled_from(
            ("", "", "", "lost", "one lost before", "incomplete", "twice", "late", "no exposure")
        ),
        max_size=12,
    )
)
def test_every_trigger_has_one_verdict_and_no_accept_has_frames_of_another(
    tmp_path_factory: pytest.TempPathFactory, wrong: list[str]
) -> None:
    plant = Plant(tmp_path_factory.mktemp("line"))
    plant.camera.wrong.extend(wrong)
    line = plant.run(1, 2, 3, 4)
    run = line.status().statistics
    assert run.triggers == run.accepted + run.rejected + run.faulted == 4
    assert sorted(result.part_id for result in plant.sorter.told) == [1, 2, 3, 4]
    seen = {one.part_id: [frame.source for frame in one.part.frames] for one in plant.looker.parts}
    for part, outcome in plant.outcomes().items():
        if outcome is Outcome.ACCEPT:
            assert seen[part] == [f"{part}/{output}" for output in OUTPUTS]
    plant.journal.close()
    assert audit(plant.journal.path).passed
