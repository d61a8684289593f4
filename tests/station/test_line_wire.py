"""A camera triggered by wire: each part is judged by its own frame or faulted, whatever edges come.

Everything in the picture looks good here, so that a part judged by a frame of before would be accepted. Which
part stood before the camera at each exposure is written down beside the wire, and compared with the frame
that the line judged the part by.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.cameras.genicam.settings import TriggerKind
from drivers.cameras.pylon import PylonCamera, PylonSettings
from drivers.sorters.interface import Outcome, Receipt, Result, Sorter, SorterHealth, Trigger
from simulation.camera import SimulatedCamera, SimulatedSettings
from simulation.camera_faults import CameraFaults
from station.engines.interface import Engine, EngineInfo, Scores
from station.journal import Journal
from station.line import Line
from station.line_values import LineSettings
from station.observers import Observer, Observers
from station.part import InspectedPart
from station.prepared import Prepared
from station.queues import BoundedQueue
from station.recipe import Recipe, load_recipe
from tests.waiting import PATIENCE_S, wait_for

PICTURES = 200
GRAB_TIMEOUT_S = 0.1
RECIPE = """
name: strip
version: 1
description: a whole picture of two patches
product: {background: none, widths_px: [16], height_px: 32, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 32, width: 16}
patch: {size: 16}
engine: scripted
classes:
  - {name: defect-free, bin: 1}
  - {name: scratches, bin: 2}
fault_bin: 9
"""


class Camera(SimulatedCamera):
    """Writes down when it is emptied, and can refuse to be."""

    def __init__(self, settings: SimulatedSettings, faults: CameraFaults, said: list[str]) -> None:
        super().__init__(settings, faults, wired=True)
        self.said = said
        self.fail_disarm = self.fail_arm = 0
        self.slow_s = 0.0

    def disarm(self) -> None:
        time.sleep(self.slow_s)
        if self.fail_disarm:
            self.fail_disarm -= 1
            raise self._lost("does not stop")
        super().disarm()

    def arm(self) -> None:
        if self.fail_arm:
            self.fail_arm -= 1
            raise self._lost("does not start")
        super().arm()
        self.said.append("armed")


class WiredEmulator(PylonCamera):
    """Basler's emulator, hardware-triggered; its software trigger, behind the driver's back, is the wire."""

    def __init__(self, pool: Path, said: list[str]) -> None:
        emulator = PylonSettings(emulation=pool, exposure_us=100.0)
        super().__init__(emulator.model_copy(update={"trigger": TriggerKind.HARDWARE}))
        self.said = said

    def open(self) -> None:
        super().open()
        self.device.GetNodeMap().GetNode("TriggerSource").FromString("Software")

    def arm(self) -> None:
        super().arm()
        self.said.append("armed")

    def wire(self) -> int:
        self.device.WaitForFrameTriggerReady(1000)
        self.device.ExecuteSoftwareTrigger()
        return 0


class Passing(Engine):
    """Finds every part good; may be held up."""

    info = EngineInfo("passing", "0" * 64, "scripted", "fp32", "none", ("defect-free", "scratches"), 16, 1, 0)

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        self.go_on.wait(5)
        return Scores(np.tile(np.array([0.9, 0.1], np.float32), (len(patches), 1)))

    def close(self) -> None:
        pass


@dataclass
class Cell(Sorter):
    """A robot that sets parts before the camera, triggers over the line and pulses the camera's wire."""

    camera: Camera | WiredEmulator
    said: list[str]
    triggers: BoundedQueue[Trigger] = field(default_factory=lambda: BoundedQueue("triggers", 1000))
    receipts: BoundedQueue[Receipt] = field(default_factory=lambda: BoundedQueue("receipts", 1000))
    results: dict[int, Result] = field(default_factory=dict)
    acknowledged_at: dict[int, float] = field(default_factory=dict)
    in_place: int = 0
    """The part before the camera; 0 is none."""
    shows: dict[int, int] = field(default_factory=dict)
    """Exposure -> the part that was in place."""
    on_acknowledge: Callable[[int], object] = lambda part_id: None
    changed: threading.Condition = field(default_factory=threading.Condition)

    # what the tests do

    def edge(self, times: int = 1) -> None:
        """Edges on the wire, wanted or not."""
        for _ in range(times):
            with self.changed:
                exposure = self.camera.wire()
                if exposure:
                    self.shows[exposure] = self.in_place

    def bring(self, part_id: int) -> None:
        """Set the part in place, and trigger."""
        with self.changed:
            self.in_place = part_id
        self.triggers.put(Trigger(part_id, "", time.monotonic_ns()), 1)

    def wait_until(self, what: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE_S)

    def wait_answer(self, part_id: int) -> bool:
        """Wait for TRIGGER-ACK, or a result in its place; whether the wire may be pulsed."""
        self.wait_until(lambda: part_id in self.acknowledged_at or part_id in self.results)
        return part_id in self.acknowledged_at

    def wait_result(self, part_id: int) -> Outcome:
        self.wait_until(lambda: part_id in self.results)
        return self.results[part_id].outcome

    def inspect(self, part_id: int, pulses: int = 1) -> Outcome:
        """The whole way of one part, as docs/serial-protocol.md asks for it."""
        self.bring(part_id)
        if self.wait_answer(part_id):
            self.edge(pulses)
        return self.wait_result(part_id)

    # what the line calls

    def open(self) -> None:
        pass

    def set_ready(self, ready: bool, reason: str = "") -> None:
        pass

    def wait_trigger(self, timeout_s: float) -> Trigger | None:
        return self.triggers.get(timeout_s)

    def acknowledge(self, trigger: Trigger) -> None:
        self.said.append(f"acknowledged {trigger.part_id}")
        self.on_acknowledge(trigger.part_id)
        with self.changed:
            self.acknowledged_at[trigger.part_id] = time.monotonic()
            self.changed.notify_all()

    def prepare(self, recipe: str) -> None:
        self.prepared = recipe

    def send(self, result: Result) -> None:
        self.receipts.put(Receipt(result.part_id, True, result.bin, time.monotonic_ns()), 1)
        with self.changed:
            assert result.part_id not in self.results
            self.results[result.part_id] = result
            self.changed.notify_all()

    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        return self.receipts.get(timeout_s)

    def health(self) -> SorterHealth:
        return SorterHealth(True, "cell", 0, 0, 0, 0, 0, 0)

    def close(self) -> None:
        pass


class Seen(Observer):
    """Writes down which exposure each accepted part was judged by; a frame is named after it."""

    name = "seen"
    capacity = 1000
    outcomes = frozenset({Outcome.ACCEPT})
    needs_frame = True

    def __init__(self) -> None:
        self.judged: dict[int, int] = {}

    def observe(self, part: InspectedPart) -> None:
        assert part.part.frame is not None
        self.judged[part.part_id] = int(Path(part.part.frame.source).stem)


@dataclass
class Plant:
    camera: Camera | WiredEmulator
    cell: Cell
    engine: Passing
    journal: Journal
    line: Line
    said: list[str]
    observers: Observers
    seen: Seen

    def judged_by(self) -> dict[int, int]:
        """Accepted part -> the exposure it was judged by."""
        accepted = sum(result.outcome is Outcome.ACCEPT for result in self.cell.results.values())
        wait_for(lambda: len(self.seen.judged) >= accepted)
        return self.seen.judged

    def close(self) -> None:
        """Stop, and see that nothing was forgotten and nobody was judged by another's frame."""
        self.engine.go_on.set()
        self.line.stop()
        run = self.line.status().statistics
        assert not self.line.status().failure
        assert run.triggers == run.accepted + run.rejected + run.faulted == len(self.cell.results)
        counts = self.journal.counts()
        assert (counts.triggers, counts.accepted, counts.open) == (run.triggers, run.accepted, 0)
        self.journal.close()
        self.observers.close()
        if isinstance(self.camera, WiredEmulator):
            return  # its frames do not say which exposure they are
        judged = self.judged_by()
        assert len(judged) == run.accepted
        assert {part: self.cell.shows[exposure] for part, exposure in judged.items()} == {
            part: part for part in judged
        }


Make = Callable[..., Plant]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are named by the exposure they are used up by."""
    folder = tmp_path_factory.mktemp("pool")
    for number in range(1, PICTURES + 1):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((32, 16), 100, np.uint8))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    file = tmp_path_factory.mktemp("recipe") / "strip.yaml"
    file.write_text(RECIPE)
    return load_recipe(file)


def started(
    pool: Path,
    recipe: Recipe,
    folder: Path,
    *,
    exposure_s: float = 0.0,
    deadline_s: float = 2.0,
    grab_timeout_s: float = GRAB_TIMEOUT_S,
    in_place_s: float = 0.1,
    faults: CameraFaults | None = None,
    emulated: bool = False,
) -> Plant:
    said: list[str] = []
    camera: Camera | WiredEmulator
    if emulated:
        camera = WiredEmulator(pool, said)
    else:
        settings = SimulatedSettings(pool=pool, exposure_ms=exposure_s * 1000)
        camera = Camera(settings, faults or CameraFaults(), said)
    cell, engine = Cell(camera, said), Passing()
    journal = Journal(folder / "journal.sqlite", station="test")
    seen = Seen()
    observers = Observers([] if emulated else [seen])
    line = Line(
        camera=camera,
        sorter=cell,
        prepared=Prepared(recipe, engine),
        journal=journal,
        settings=LineSettings(
            deadline_s=deadline_s,
            grab_timeout_s=grab_timeout_s,
            in_place_s=in_place_s,
            reopen_after_s=(0.01,),
            stop_timeout_s=2.0,
        ),
        observers=observers,
    )
    line.start()
    return Plant(camera, cell, engine, journal, line, said, observers, seen)


@pytest.fixture
def make(pool: Path, recipe: Recipe, tmp_path: Path) -> Iterator[Make]:
    plants: list[Plant] = []

    def one(**changes: object) -> Plant:
        plants.append(started(pool, recipe, tmp_path, **changes))  # type: ignore[arg-type]
        return plants[-1]

    yield one
    for plant in plants:
        plant.close()


def test_a_part_whose_wire_is_pulsed_after_the_acknowledgement_is_judged_by_its_frame(make: Make) -> None:
    plant = make()
    assert [plant.cell.inspect(part) for part in (1, 2, 3)] == [Outcome.ACCEPT] * 3
    assert plant.judged_by() == {1: 1, 2: 2, 3: 3}
    assert plant.line.status().camera.discarded == 0


def test_the_cell_is_acknowledged_when_the_record_is_durable_and_the_camera_empty(make: Make) -> None:
    plant = make()
    records: list[int] = []
    plant.cell.on_acknowledge = lambda part_id: records.append(plant.journal.counts().triggers)
    for part in (1, 2):
        plant.cell.inspect(part)
    assert plant.said == ["armed", "armed", "acknowledged 1", "armed", "acknowledged 2"]
    assert records == [1, 2]


def test_a_stray_edge_before_the_trigger_never_judges_the_part(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    plant = make()
    plant.cell.edge()
    with caplog.at_level(logging.WARNING):
        assert plant.cell.inspect(1, pulses=0) is Outcome.FAULT
    assert "no edge came on its wire" in plant.cell.results[1].reason
    assert plant.line.status().camera.discarded == 1
    assert "discarded 1 frame(s) that no trigger asked for: stray edges on the trigger wire" in caplog.text


def test_a_part_after_a_stray_edge_is_judged_by_its_own_frame(make: Make) -> None:
    plant = make()
    plant.cell.edge()
    assert plant.cell.inspect(1) is Outcome.ACCEPT
    assert plant.judged_by() == {1: 2}


def test_a_stray_exposure_still_under_way_at_the_trigger_is_aborted(make: Make) -> None:
    plant = make(exposure_s=0.06)
    plant.cell.edge()
    assert plant.cell.inspect(1, pulses=0) is Outcome.FAULT
    plant.cell.edge()
    assert plant.cell.inspect(2) is Outcome.ACCEPT
    assert plant.judged_by() == {2: 3}


def test_the_second_frame_of_two_edges_does_not_reach_the_next_part(make: Make) -> None:
    plant = make()
    outcomes = [plant.cell.inspect(part, pulses) for part, pulses in ((1, 2), (2, 0), (3, 1))]
    assert outcomes == [Outcome.ACCEPT, Outcome.FAULT, Outcome.ACCEPT]
    assert plant.judged_by() == {1: 1, 3: 3}
    assert plant.line.status().camera.discarded == 1


def test_a_wire_that_chatters_until_the_buffers_overflow_costs_no_part(make: Make) -> None:
    plant = make()
    plant.cell.edge(times=12)  # the camera has five buffers
    assert plant.cell.inspect(1) is Outcome.ACCEPT
    assert plant.judged_by() == {1: 13}


def test_a_stray_frame_is_found_while_the_station_is_idle(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    plant = make()
    with caplog.at_level(logging.WARNING):
        plant.cell.edge(times=3)
        wait_for(lambda: plant.line.status().camera.discarded)
    assert plant.line.status().camera.discarded == 3
    assert "discarded 3 frame(s) that no trigger asked for" in caplog.text
    assert plant.cell.inspect(1) is Outcome.ACCEPT


def test_a_frame_lost_after_the_trigger_faults_the_part(make: Make) -> None:
    plant = make(faults=CameraFaults(drop_every=2))
    assert plant.cell.inspect(1) is Outcome.ACCEPT
    assert plant.cell.inspect(2, pulses=2) is Outcome.FAULT
    assert "1 exposure(s) lost" in plant.cell.results[2].reason


def test_a_pulse_before_the_acknowledgement_is_in_vain(make: Make) -> None:
    plant = make()
    plant.camera.slow_s = 0.05  # the pulse comes before the camera is empty
    plant.cell.bring(1)
    plant.cell.edge()
    assert plant.cell.wait_result(1) is Outcome.FAULT
    assert plant.line.status().camera.discarded == 1


def test_a_cell_that_waits_for_nothing_never_has_a_part_judged_by_the_next_ones_frame(make: Make) -> None:
    plant = make(grab_timeout_s=0.5)
    plant.camera.slow_s = 0.05
    for part in (1, 2, 3):  # its pulse is thrown away, and the next part's comes while its frame is awaited
        plant.cell.bring(part)
        plant.cell.edge()
        plant.cell.wait_answer(part)
    assert [plant.cell.wait_result(part) for part in (1, 2, 3)] == [Outcome.FAULT] * 3


def test_a_frame_that_comes_after_the_next_parts_trigger_is_nobodys(make: Make) -> None:
    plant = make(grab_timeout_s=0.5)
    plant.cell.bring(1)
    assert plant.cell.wait_answer(1)
    plant.cell.bring(2)
    plant.cell.edge()
    assert plant.cell.wait_result(1) is Outcome.FAULT
    assert "triggered the next part before this one's frame" in plant.cell.results[1].reason
    assert plant.cell.wait_answer(2)
    plant.cell.edge()
    assert plant.cell.wait_result(2) is Outcome.ACCEPT
    assert plant.judged_by() == {2: 2}


def test_a_part_may_come_while_the_one_before_is_still_classified(make: Make) -> None:
    plant = make()
    plant.engine.go_on.clear()
    for part in (1, 2, 3):
        plant.cell.bring(part)
        assert plant.cell.wait_answer(part)
        plant.cell.edge()
        time.sleep(0.03)  # the frame is out of the camera
    plant.engine.go_on.set()
    assert [plant.cell.wait_result(part) for part in (1, 2, 3)] == [Outcome.ACCEPT] * 3
    assert plant.judged_by() == {1: 1, 2: 2, 3: 3}


@pytest.mark.parametrize("call", ["fail_disarm", "fail_arm"])
def test_a_camera_that_cannot_be_emptied_is_lost_and_its_part_a_fault_recorded_once(
    make: Make, call: str
) -> None:
    plant = make()
    setattr(plant.camera, call, 1)
    plant.cell.edge()
    assert plant.cell.inspect(1) is Outcome.FAULT
    assert "camera lost" in plant.cell.results[1].reason
    assert 1 not in plant.cell.acknowledged_at, "nobody may pulse the wire for it"
    assert plant.journal.counts().triggers == 1
    assert plant.cell.inspect(2) is Outcome.ACCEPT
    assert plant.line.status().camera.reopened == 1


def test_the_deadline_counts_from_the_trigger_and_not_from_the_emptying(make: Make) -> None:
    plant = make(deadline_s=0.1)
    plant.camera.slow_s = 0.3
    plant.cell.bring(1)
    assert plant.cell.wait_result(1) is Outcome.FAULT
    assert "deadline" in plant.cell.results[1].reason
    time.sleep(0.3)
    assert 1 not in plant.cell.acknowledged_at


@pytest.mark.skipif(importlib.util.find_spec("pypylon") is None, reason="pypylon is not installed")
def test_baslers_emulator_is_emptied_before_the_cell_is_acknowledged(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    plant = make(emulated=True, grab_timeout_s=1.0, in_place_s=5.0)

    def stray() -> None:
        plant.cell.edge()
        wait_for(lambda: plant.camera.waiting())

    assert plant.cell.inspect(1) is Outcome.ACCEPT
    stray()
    assert plant.cell.inspect(2, pulses=0) is Outcome.FAULT
    assert "no trigger came on Line1" in plant.cell.results[2].reason
    stray()
    assert plant.cell.inspect(3) is Outcome.ACCEPT
    assert plant.line.status().camera.discarded == 2
    order = [one for one in plant.said if one.startswith("acknowledged")]
    assert order == ["acknowledged 1", "acknowledged 2", "acknowledged 3"]
    for one in order:
        assert plant.said[plant.said.index(one) - 1] == "armed"


@dataclass(frozen=True)
class Plan:
    """What the cell does with one part."""

    strays: int
    """Edges before it is in place."""
    early: int
    """Edges after its trigger, before the acknowledgement is waited for."""
    pulses: int
    patient: bool
    """Leaves the part in place until its result."""


PLANS = st.builds(Plan, st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.booleans())


@settings(max_examples=30, deadline=None)
@example(plans=[Plan(0, 0, 0, patient=False), Plan(0, 1, 1, patient=True)], exposure_s=0.0)
@given(plans=st.lists(PLANS, min_size=1, max_size=6), exposure_s=st.sampled_from([0.0, 0.004]))
def test_whatever_edges_come_a_part_is_judged_by_its_own_frame_or_faulted(
    pool: Path, recipe: Recipe, plans: list[Plan], exposure_s: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plant = started(pool, recipe, Path(folder), exposure_s=exposure_s, grab_timeout_s=0.05)
        cell, due = plant.cell, []
        for part, plan in enumerate(plans, 1):
            cell.edge(plan.strays)
            cell.bring(part)
            cell.edge(plan.early)
            if cell.wait_answer(part):
                cell.edge(plan.pulses)
                in_time = time.monotonic() - cell.acknowledged_at[part] < 0.02
                if plan.patient and plan.pulses and in_time:
                    due.append(part)
            if plan.patient:
                cell.wait_result(part)
        for part in range(1, len(plans) + 1):
            cell.wait_result(part)
        plant.close()  # compares each part's frame with what stood before the camera
        assert set(due) <= set(plant.judged_by()), "a part was faulted though its cell did everything right"
