"""A station that is held up between TRIGGER-ACK and exposure, and a cell that does not wait for it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome, Receipt, Result, Sorter, SorterHealth, Trigger
from simulation.camera import SimulatedCamera, SimulatedSettings
from simulation.place import Place
from station.engines.interface import Scores
from station.journal import Journal
from station.line import Line
from station.line_values import LineSettings
from station.prepared import Prepared
from station.queues import BoundedQueue
from station.recipe import load_recipe
from tests.station.conftest import RECIPE, ScriptedEngine
from tests.waiting import PATIENCE_S

TAKEN_AWAY_S = 0.17
HELD_UP_S = 0.42
PARTS = 8


def is_defective(part_id: int) -> bool:
    return part_id % 2 == 1


class HeldUp(SimulatedCamera):
    """Stands still before every second pair of exposures, as a stopped process or a busy machine does."""

    exposed = 0

    def trigger(self, timeout_s: float) -> None:
        self.exposed += 1
        if self.exposed % 4 in (1, 2):
            time.sleep(HELD_UP_S)
        super().trigger(timeout_s)


class Bright(ScriptedEngine):
    """Calls a bright patch defective."""

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        bright = patches.reshape(len(patches), -1).mean(axis=1) > 150
        return Scores(np.where(bright[:, None], [0.1, 0.9], [0.9, 0.1]).astype(np.float32))


@dataclass
class Robot(Sorter):
    """Lays parts before the camera, and takes each away by the clock."""

    place: Place
    triggers: BoundedQueue[Trigger] = field(default_factory=lambda: BoundedQueue("triggers", 100))
    receipts: BoundedQueue[Receipt] = field(default_factory=lambda: BoundedQueue("receipts", 100))
    results: dict[int, Result] = field(default_factory=dict)
    answered: dict[int, threading.Event] = field(
        default_factory=lambda: {part_id: threading.Event() for part_id in range(1, PARTS + 1)}
    )

    def work(self) -> None:
        for part_id, answered in self.answered.items():
            self.place.put(part_id)
            self.triggers.put(Trigger(part_id, "", time.monotonic_ns()), 1)
            assert answered.wait(PATIENCE_S)
            time.sleep(TAKEN_AWAY_S)

    def open(self) -> None: ...
    def set_ready(self, ready: bool, reason: str = "") -> None: ...
    def prepare(self, recipe: str) -> None: ...
    def close(self) -> None: ...

    def wait_trigger(self, timeout_s: float) -> Trigger | None:
        return self.triggers.get(timeout_s)

    def acknowledge(self, trigger: Trigger) -> None:
        self.answered[trigger.part_id].set()

    def send(self, result: Result) -> None:
        self.results[result.part_id] = result
        self.answered[result.part_id].set()
        self.receipts.put(Receipt(result.part_id, True, result.bin, time.monotonic_ns()), 1)

    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        return self.receipts.get(timeout_s)

    def health(self) -> SorterHealth:
        return SorterHealth(True, "robot", 0, 0, 0, 0, 0, 0)


def test_a_part_that_was_taken_away_while_the_station_was_held_up_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for part_id in range(1, PARTS + 1):
        grey = 200 if is_defective(part_id) else 100
        cv2.imwrite(str(tmp_path / "pool" / f"{part_id}.png"), np.full((32, 16), grey, np.uint8))
    (tmp_path / "strip.yaml").write_text(RECIPE)
    camera = HeldUp(SimulatedSettings(pool=tmp_path / "pool", place=tmp_path / "place"))
    robot = Robot(Place(tmp_path / "place"))
    with Journal(tmp_path / "journal.sqlite", station="test") as journal:
        line = Line(
            camera=camera,
            sorter=robot,
            prepared=Prepared(load_recipe(tmp_path / "strip.yaml"), Bright()),
            journal=journal,
            settings=LineSettings(deadline_s=5.0, grab_timeout_s=1.0),
        )
        line.start(parts=PARTS)
        robot.work()
        assert line.wait(PATIENCE_S)
        line.stop()
    outcomes = {part_id: result.outcome for part_id, result in robot.results.items()}
    assert len(outcomes) == PARTS
    assert not [
        part for part, outcome in outcomes.items() if is_defective(part) and outcome is Outcome.ACCEPT
    ]
    assert {outcomes[part_id] for part_id in (1, 2, 5, 6)} == {Outcome.FAULT}, (
        "their frames may show the next"
    )
    in_time = {part_id: outcomes[part_id] for part_id in (4, 8)}
    assert set(in_time.values()) <= {Outcome.ACCEPT, Outcome.FAULT}
    assert Outcome.ACCEPT in in_time.values(), "the station goes on as before"
