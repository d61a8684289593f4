"""A line of scripted devices: camera, sorter and engine do what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.cameras.interface import (
    Camera,
    CameraError,
    CameraHealth,
    CameraLostError,
    CameraTimeoutError,
    Frame,
)
from drivers.sorters.interface import JobChange, Outcome, Receipt, Result, Sorter, SorterHealth, Trigger
from station.engines.interface import Engine, EngineInfo, Scores
from station.journal import Journal, PartRecord
from station.journal.reading import JournalReader
from station.line import Line
from station.line_values import LineSettings
from station.observers import Observers
from station.prepared import Prepared
from station.queues import BoundedQueue
from station.recipe import Recipe, load_recipe
from tests.waiting import PATIENCE_S

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


BY_NUMBER = -1
"""The id of a frame that gets the number of its exposure since ``arm`` when it is grabbed."""


class ScriptedCamera(Camera):
    """Gives what the script says: pixels, or an exception, or a function to call first."""

    def __init__(self) -> None:
        self.script: list[Frame | Exception | Callable[[], Frame]] = []
        self.opened = 0
        self.rearmed = 0
        self.connected = False
        self.fail_open = 0
        self.why_not_open: CameraError = CameraLostError("still unplugged")
        self.unplugged = False
        self.wired = False
        self.pace_s = 0.0
        self.slow_to_fire_s = 0.0
        self.not_ready = 0
        self.has_noise = False
        self._next_id = 0
        self._fired_ns = 0

    @property
    def triggered_by_wire(self) -> bool:
        return self.wired

    def good(self, **changes: object) -> Frame:
        values: dict[str, object] = {
            "pixels": np.full((32, 16), 100, np.uint8),
            "frame_id": BY_NUMBER,
            "lost_before": 0,
            "complete": True,
            "arrived_ns": time.monotonic_ns(),
            "exposed_by_ns": None if self.wired else self._fired_ns,
        }
        return Frame(**(values | changes))  # type: ignore[arg-type]

    def open(self) -> None:
        if self.fail_open:
            self.fail_open -= 1
            raise self.why_not_open
        self.opened += 1
        self.connected = True

    def arm(self) -> None:
        self.rearmed += 1
        self._next_id = 0

    def wait_ready(self, timeout_s: float) -> None:
        if self.not_ready:
            self.not_ready -= 1
            raise CameraTimeoutError("the exposure before is still under way")

    def trigger(self, timeout_s: float) -> None:
        time.sleep(self.slow_to_fire_s)
        self._fired_ns = time.monotonic_ns()

    def grab(self, timeout_s: float) -> Frame:
        time.sleep(self.pace_s)
        step = self.script.pop(0) if self.script else self.good()
        if isinstance(step, Exception):
            raise step
        frame = step if isinstance(step, Frame) else step()
        self._next_id += 1
        return replace(frame, frame_id=self._next_id - 1) if frame.frame_id == BY_NUMBER else frame

    def disarm(self) -> None:
        pass

    def probe(self) -> None:
        if self.unplugged:
            self.unplugged = False
            raise CameraLostError("does not answer")

    def health(self) -> CameraHealth:
        return CameraHealth(
            self.connected, "scripted", 0, 0, 0, self.opened - 1, simulated=not self.has_noise
        )

    def close(self) -> None:
        self.connected = False


@dataclass
class ScriptedSorter(Sorter):
    """Acknowledges every result into the bin it was told, at once; brings a part when the place is free."""

    triggers: BoundedQueue[Trigger] = field(default_factory=lambda: BoundedQueue("triggers", 1000))
    receipts: BoundedQueue[Receipt] = field(default_factory=lambda: BoundedQueue("receipts", 1000))
    told: list[Result] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    ready: list[tuple[bool, str]] = field(default_factory=list)
    on_tell: Callable[[Result], None] = lambda result: None
    may_leave: list[int] = field(default_factory=list)
    jobs: BoundedQueue[JobChange] = field(default_factory=lambda: BoundedQueue("jobs", 10))
    answers: list[tuple[str, str]] = field(default_factory=list)
    """Of job changes: the recipe, and the problem."""
    patient: bool = True
    """Leaves a part before the camera until it may go."""
    _lies: int = 0
    _place_free: threading.Event = field(default_factory=threading.Event)
    _free_ns: int = 0

    def ask(self, *part_ids: int, recipe: str = "") -> None:
        for part_id in part_ids:
            self.triggers.put(Trigger(part_id, recipe, time.monotonic_ns()), 1)

    def waiting(self) -> int:
        return self.triggers.status().length

    def open(self) -> None:
        pass

    def set_ready(self, ready: bool, reason: str = "") -> None:
        self.ready.append((ready, reason))

    def wait_trigger(self, timeout_s: float) -> Trigger | None:
        waits = self.patient and self._lies
        if waits and not self._place_free.wait(timeout_s):
            return None
        trigger = self.triggers.get(timeout_s)
        if trigger is not None:
            if waits:  # the cell triggers when the place is free
                trigger = replace(trigger, received_ns=max(trigger.received_ns, self._free_ns))
            self._place_free.clear()
            self._lies = trigger.part_id
        return trigger

    def acknowledge(self, trigger: Trigger) -> None:
        self.acknowledged.append(trigger.part_id)

    def acquisition_done(self, trigger: Trigger) -> None:
        self.may_leave.append(trigger.part_id)
        self._leaves(trigger.part_id)

    def _leaves(self, part_id: int) -> None:
        if part_id == self._lies:
            self._free_ns = time.monotonic_ns()
            self._place_free.set()

    def prepare(self, recipe: str) -> None:
        self.prepared = recipe

    def wait_job(self, timeout_s: float) -> JobChange | None:
        return self.jobs.get(timeout_s)

    def job_done(self, job: JobChange, problem: str = "") -> None:
        self.answers.append((job.recipe, problem))

    def send(self, result: Result) -> None:
        self.on_tell(result)
        self.told.append(result)
        self._leaves(result.part_id)
        self.receipts.put(Receipt(result.part_id, True, result.bin, time.monotonic_ns()), 1)

    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        return self.receipts.get(timeout_s)

    def health(self) -> SorterHealth:
        return SorterHealth(True, "scripted", 0, 0, 0, 0, 0, 0)

    def close(self) -> None:
        pass


class ScriptedEngine(Engine):
    """Every patch is good unless the script says otherwise."""

    def __init__(self, digit: str = "0") -> None:
        """``digit``: what the engine's digest is made of."""
        classes = ("defect-free", "scratches")
        self.info = EngineInfo("scripted", digit * 64, "scripted", "fp32", "none", classes, 16, 1, 0)
        self.closed = 0
        self.script: list[NDArray[np.float32] | Exception | Callable[[], NDArray[np.float32]]] = []

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        assert not self.closed, "an engine is used after it was closed"
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            return Scores(step if isinstance(step, np.ndarray) else step())
        return Scores(np.tile(np.array([0.9, 0.1], np.float32), (len(patches), 1)))

    def close(self) -> None:
        self.closed += 1


@dataclass
class Plant:
    camera: ScriptedCamera
    sorter: ScriptedSorter
    engine: ScriptedEngine
    journal: Journal
    recipe: Recipe
    lines: list[Line] = field(default_factory=list)

    def line(self, observers: Observers | None = None, **settings: object) -> Line:
        # Generous, as a thread may not run for a while on a busy machine: what is late is a fault.
        values: dict[str, object] = {"deadline_s": 20.0, "in_place_s": 5.0, "stop_timeout_s": 5.0}
        values["reopen_after_s"] = (0.01,)
        line = Line(
            camera=self.camera,
            sorter=self.sorter,
            prepared=Prepared(self.recipe, self.engine),
            journal=self.journal,
            observers=observers,
            settings=LineSettings(**(values | settings)),  # type: ignore[arg-type]
        )
        self.lines.append(line)
        return line

    def run(self, *part_ids: int, **settings: object) -> Line:
        """Trigger the parts, run the line until they are done, stop it."""
        line = self.line(**settings)
        self.sorter.ask(*part_ids)
        line.start(parts=len(part_ids))
        assert line.wait(PATIENCE_S)
        line.stop()
        return line

    def another(self, name: str, digit: str) -> Prepared:
        """A second recipe with the same bins, and an engine of its own."""
        file = self.journal.path.with_name(f"{name}.yaml")
        file.write_text(RECIPE.replace("name: strip", f"name: {name}"))
        return Prepared(load_recipe(file), ScriptedEngine(digit))

    def records(self) -> dict[int, PartRecord]:
        """The journal's records by part id."""
        with JournalReader(self.journal.path) as reader:
            return {record.part_id: record for record in reader.records()}

    def outcomes(self) -> dict[int, Outcome]:
        return {result.part_id: result.outcome for result in self.sorter.told}

    def reason(self, part_id: int) -> str:
        return next(result.reason for result in self.sorter.told if result.part_id == part_id)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    recipe = tmp_path / "strip.yaml"
    recipe.write_text(RECIPE)
    journal = Journal(tmp_path / "journal.sqlite", station="test")
    plant = Plant(ScriptedCamera(), ScriptedSorter(), ScriptedEngine(), journal, load_recipe(recipe))
    yield plant
    for line in plant.lines:
        line.stop()
    journal.close()
