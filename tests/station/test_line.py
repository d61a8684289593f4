"""The line against scripted devices: each test is one thing that may go wrong on a part's way."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.cameras.interface import CameraConfigError, CameraLostError, CameraTimeoutError, Frame
from drivers.cameras.settings import Mode
from drivers.sorters.interface import Outcome, Trigger
from station.engines.interface import EngineDeadlineError, EngineError
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.line import Line
from station.supervision import State
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from tests.station.conftest import Plant

DEFECT = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)


def balanced(line: Line) -> bool:
    run = line.status().statistics
    return run.triggers == run.accepted + run.rejected + run.faulted and run.in_hand == 0


def test_good_parts_are_accepted_written_told_and_acknowledged(plant: Plant) -> None:
    line = plant.run(11, 12, 13)
    assert plant.outcomes() == dict.fromkeys((11, 12, 13), Outcome.ACCEPT)
    assert {result.bin for result in plant.sorter.told} == {1}
    counts = plant.journal.counts()
    assert (counts.triggers, counts.accepted, counts.open) == (3, 3, 0)
    assert line.status().statistics.acknowledged == 3
    assert balanced(line)


def test_one_defective_patch_rejects_the_part(plant: Plant) -> None:
    plant.engine.script = [DEFECT]
    plant.run(1, 2)
    assert plant.outcomes() == {1: Outcome.REJECT, 2: Outcome.ACCEPT}


def test_the_verdict_is_in_the_journal_before_the_cell_is_told(plant: Plant) -> None:
    seen: list[int] = []
    plant.sorter.on_tell = lambda result: seen.append(plant.journal.counts().accepted)
    plant.run(1, 2, 3)
    assert seen == [1, 2, 3]


def test_the_trigger_is_acknowledged_only_when_its_record_is_durable(plant: Plant) -> None:
    opened: list[int] = []
    acknowledge = plant.sorter.acknowledge

    def look(trigger: Trigger) -> None:
        opened.append(plant.journal.counts().triggers)
        acknowledge(trigger)

    plant.sorter.acknowledge = look  # type: ignore[method-assign]
    plant.run(5, 6)
    assert plant.sorter.acknowledged == [5, 6]
    assert opened[0] >= 1
    assert opened[1] >= 2


def test_an_incomplete_frame_is_a_fault(plant: Plant) -> None:
    plant.camera.script = [plant.camera.good(complete=False, problem="3 lines missing")]
    plant.run(1, 2)
    assert plant.outcomes() == {1: Outcome.FAULT, 2: Outcome.ACCEPT}
    assert "3 lines missing" in plant.reason(1)


def test_a_lost_exposure_faults_the_part_because_the_frame_may_be_another_parts(plant: Plant) -> None:
    plant.camera.script = [plant.camera.good(lost_before=1)]
    plant.run(1, 2)
    assert plant.outcomes() == {1: Outcome.FAULT, 2: Outcome.ACCEPT}


def test_a_picture_equal_to_the_one_before_is_no_picture_of_the_part(plant: Plant) -> None:
    plant.camera.has_noise = True
    other = np.full((32, 16), 101, np.uint8)
    plant.camera.script = [plant.camera.good(pixels=other), plant.camera.good(), plant.camera.good()]
    plant.run(1, 2, 3)
    assert plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.ACCEPT, 3: Outcome.FAULT}
    assert "equal to the one before" in plant.reason(3)


def test_free_running_too_a_frozen_camera_shows_no_part(plant: Plant) -> None:
    plant.camera.has_noise = True
    line = plant.line(mode=Mode.FREE_RUNNING)
    line.start(parts=3)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.FAULT, 3: Outcome.FAULT}
    assert balanced(line)


def test_by_wire_only_the_first_frame_since_the_trigger_is_the_parts(plant: Plant) -> None:
    plant.camera.wired = True
    plant.camera.script = [plant.camera.good(frame_id=0), plant.camera.good(frame_id=1)]
    plant.run(1, 2)
    assert plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.FAULT}
    assert "frame 1 is not the first one since the part's trigger" in plant.reason(2)


def test_a_camera_that_the_station_triggers_is_not_armed_anew_for_every_part(plant: Plant) -> None:
    plant.run(1, 2, 3)
    assert plant.camera.rearmed == 1


def test_no_frame_in_time_is_a_fault_and_late_frames_are_discarded(plant: Plant) -> None:
    plant.camera.script = [CameraTimeoutError("nothing for 0.5 s")]
    plant.run(1, 2)
    assert plant.outcomes() == {1: Outcome.FAULT, 2: Outcome.ACCEPT}
    assert plant.camera.rearmed == 2


def test_a_lost_camera_faults_the_part_and_comes_back_by_itself(plant: Plant) -> None:
    plant.camera.script = [CameraLostError("unplugged")]
    plant.camera.fail_open = 0
    line = plant.line()
    plant.sorter.ask(1, 2)
    line.start(parts=2)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {1: Outcome.FAULT, 2: Outcome.ACCEPT}
    assert plant.camera.opened == 2
    assert any(not ready and "camera" in reason for ready, reason in plant.sorter.ready)


@pytest.mark.parametrize("mode", [Mode.CELL, Mode.FREE_RUNNING])
def test_an_error_that_the_cameras_driver_does_not_know_loses_the_camera_and_not_the_line(
    plant: Plant, mode: Mode
) -> None:
    def unforeseen() -> Frame:
        raise ZeroDivisionError("deep in an SDK")

    plant.camera.script = [plant.camera.good(), unforeseen]
    line = plant.line(mode=mode)
    if mode is Mode.CELL:
        plant.sorter.ask(1, 2, 3)
    line.start(parts=3)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert line.status().failure == ""
    assert plant.camera.opened == 2
    assert any("deep in an SDK" in reason for _, reason in plant.sorter.ready)
    assert balanced(line)


def test_a_camera_that_comes_back_and_refuses_its_settings_halts_the_line_and_says_why(
    plant: Plant,
) -> None:
    def unplugged() -> Frame:
        plant.camera.fail_open = 1000
        raise CameraLostError("unplugged")

    plant.camera.script = [unplugged]
    plant.camera.why_not_open = CameraConfigError("Basler 1 does not have line_rate_hz; remove the setting")
    line = plant.line()
    plant.sorter.ask(1, 2)
    line.start()
    assert line.wait(PATIENCE_S)
    assert plant.camera.fail_open == 999
    wait_for(lambda: line.status().reason == line.status().failure)
    status = line.status()
    assert status.state is State.ERROR
    assert "does not have line_rate_hz; remove the setting; correct this" in status.failure
    assert status.reason == status.failure
    assert plant.sorter.ready[-1] == (False, status.failure)
    line.stop()
    assert plant.outcomes() == {1: Outcome.FAULT}
    assert balanced(line)


def test_a_camera_lost_while_nobody_triggers_is_noticed_before_the_next_part(plant: Plant) -> None:
    line = plant.line()
    line.start(parts=1)
    plant.camera.unplugged = True
    wait_for(lambda: plant.camera.opened >= 2)
    assert plant.camera.opened == 2
    assert any("does not answer" in reason for _, reason in plant.sorter.ready)
    plant.sorter.ask(1)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {1: Outcome.ACCEPT}


def test_the_cell_is_told_ready_at_the_start_and_not_ready_at_the_end(plant: Plant) -> None:
    plant.run(1)
    assert plant.sorter.ready[0] == (True, "")
    assert plant.sorter.ready[-1][0] is False


def test_a_part_without_a_product_is_a_fault(plant: Plant) -> None:
    plant.camera.script = [plant.camera.good(pixels=np.full((4, 4), 100, np.uint8))]
    plant.run(1)
    assert plant.outcomes() == {1: Outcome.FAULT}


@pytest.mark.parametrize(
    "scores",
    [
        np.full((2, 2), np.nan, np.float32),
        np.array([[0.9, 0.1]], np.float32),
        np.array([[0.9, 0.9], [0.9, 0.9]], np.float32),
    ],
    ids=["nan", "too few patches", "not probabilities"],
)
def test_scores_that_make_no_sense_are_a_fault(plant: Plant, scores: NDArray[np.float32]) -> None:
    plant.engine.script = [scores]
    plant.run(1)
    assert plant.outcomes() == {1: Outcome.FAULT}


def test_an_engine_that_fails_faults_the_part(plant: Plant) -> None:
    plant.engine.script = [EngineError("device lost"), RuntimeError("segfault, nearly")]
    plant.run(1, 2, 3)
    assert plant.outcomes() == {1: Outcome.FAULT, 2: Outcome.FAULT, 3: Outcome.ACCEPT}


def test_an_engine_that_keeps_failing_halts_the_line(plant: Plant) -> None:
    plant.engine.script = [EngineDeadlineError("too slow")] * 3
    line = plant.line()
    plant.sorter.ask(1, 2, 3, 4, 5)
    line.start()
    assert line.wait(PATIENCE_S)
    line.stop()
    assert "engine failed 3 times" in line.status().failure
    assert set(plant.outcomes().values()) == {Outcome.FAULT}
    assert balanced(line)


def test_a_part_past_its_deadline_is_faulted_even_while_the_engine_hangs(plant: Plant) -> None:
    released = threading.Event()

    def hang() -> NDArray[np.float32]:
        released.wait(5)
        return np.tile(np.array([0.9, 0.1], np.float32), (2, 1))

    plant.engine.script = [hang]
    line = plant.line(deadline_s=0.1)
    plant.sorter.ask(1)
    line.start()
    wait_for(lambda: plant.sorter.told)
    assert plant.outcomes() == {1: Outcome.FAULT}
    assert "deadline" in plant.reason(1)
    released.set()
    line.stop()
    assert len(plant.sorter.told) == 1, "the late scores must not bring a second verdict"
    assert plant.journal.counts().accepted == 0


def test_parts_that_wait_until_their_deadline_are_overload_and_no_engine_failure(plant: Plant) -> None:
    busy: list[str] = []
    plant.sorter.set_busy = busy.append  # type: ignore[method-assign]

    def slowly() -> NDArray[np.float32]:
        time.sleep(1.2)  # more than half of the deadline
        return np.tile(np.array([0.9, 0.1], np.float32), (2, 1))

    def in_what_is_left() -> NDArray[np.float32]:
        raise EngineDeadlineError("no scores in 20 ms")

    plant.engine.script = [slowly, in_what_is_left, in_what_is_left, in_what_is_left]
    line = plant.line(deadline_s=2.0, grab_timeout_s=0.1, queue_capacity=8)
    plant.sorter.ask(*range(1, 6))
    line.start()
    wait_for(lambda: len(plant.sorter.told) >= 5)
    status = line.status()
    assert status.failure == ""
    assert plant.outcomes()[1] is Outcome.ACCEPT
    assert status.overloaded >= 3
    assert "overload" in plant.reason(2)
    assert busy, "the cell is told that the station is busy"
    wait_for(lambda: line.status().state is State.READY)
    assert plant.sorter.ready[-1] == (True, "")
    plant.sorter.ask(6)
    wait_for(lambda: 6 in plant.outcomes())
    assert plant.outcomes()[6] is Outcome.ACCEPT
    line.stop()
    assert balanced(line)


def test_a_queue_that_fills_up_behind_a_slow_engine_is_overload_and_the_station_goes_on(plant: Plant) -> None:
    def slowly() -> NDArray[np.float32]:
        time.sleep(0.15)
        return np.tile(np.array([0.9, 0.1], np.float32), (2, 1))

    plant.engine.script = [slowly] * 40
    line = plant.line(deadline_s=0.3, grab_timeout_s=0.1, queue_capacity=2, engine_failures_allowed=1)
    line.start()
    states = set()
    for part in range(1, 21):
        plant.sorter.ask(part)
        states.add(line.status().state)
        time.sleep(0.03)
    line.stop()
    assert State.OVERLOADED in states
    assert line.status().failure == ""
    assert len(plant.outcomes()) == 20
    assert line.status().overloaded > 0
    assert balanced(line)


def test_a_camera_call_that_never_returns_halts_the_line(plant: Plant) -> None:
    released = threading.Event()

    def hang() -> Frame:
        released.wait(5)
        return plant.camera.good()

    plant.camera.script = [hang]
    line = plant.line(deadline_s=0.1, hung_after_s=0.2)
    plant.sorter.ask(1)
    line.start()
    assert line.wait(PATIENCE_S)
    assert "camera has not returned" in line.status().failure
    assert plant.sorter.ready[-1][0] is False
    released.set()
    line.stop()
    assert plant.outcomes() == {1: Outcome.FAULT}


def test_a_trigger_for_another_recipe_is_a_fault(plant: Plant) -> None:
    line = plant.line()
    plant.sorter.ask(1, recipe="crankshaft")
    line.start(parts=1)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {1: Outcome.FAULT}
    assert "crankshaft" in plant.reason(1)


def test_a_journal_that_cannot_be_written_tells_nothing_and_halts(plant: Plant) -> None:
    plant.engine.script = [lambda: (plant.journal.close(), np.tile(np.float32([0.9, 0.1]), (2, 1)))[1]]
    line = plant.line()
    plant.sorter.ask(1)
    line.start()
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.sorter.told == []
    assert "journal" in line.status().failure
    assert plant.sorter.ready[-1][0] is False


def test_stopping_faults_what_cannot_be_finished(plant: Plant) -> None:
    released = threading.Event()

    def hang() -> NDArray[np.float32]:
        released.wait(5)
        return np.tile(np.array([0.9, 0.1], np.float32), (2, 1))

    plant.engine.script = [hang]
    line = plant.line(deadline_s=30.0, stop_timeout_s=0.2)
    plant.sorter.ask(1)
    line.start()
    wait_for(lambda: plant.sorter.acknowledged)
    line.stop()
    released.set()
    assert plant.outcomes() == {1: Outcome.FAULT}
    assert balanced(line)


def test_free_running_every_frame_is_a_part_and_every_lost_frame_a_faulted_one(plant: Plant) -> None:
    camera = plant.camera
    camera.script = [camera.good(), camera.good(lost_before=2), camera.good()]
    line = plant.line(mode=Mode.FREE_RUNNING)
    line.start(parts=5)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert [plant.outcomes()[part] for part in range(1, 6)] == [
        Outcome.ACCEPT,
        Outcome.FAULT,
        Outcome.FAULT,
        Outcome.ACCEPT,
        Outcome.ACCEPT,
    ]
    assert balanced(line)


def test_free_running_part_ids_go_on_where_the_journal_ended(plant: Plant) -> None:
    for _ in range(2):
        line = plant.line(mode=Mode.FREE_RUNNING)
        line.start(parts=2)
        assert line.wait(PATIENCE_S)
        line.stop()
    assert sorted(plant.outcomes())[:4] == [1, 2, 3, 4]


def test_the_record_names_the_camera_that_took_the_frame(plant: Plant) -> None:
    plant.run(1)
    assert plant.records()[1].camera_model == "scripted"


def test_an_exposure_that_begins_long_after_the_acknowledgement_is_a_fault(plant: Plant) -> None:
    plant.camera.slow_to_fire_s = 0.15  # the process was held up, and the part may be gone
    plant.run(1, in_place_s=0.1)
    assert plant.outcomes() == {1: Outcome.FAULT}
    assert "ms after TRIGGER-ACK; the part is surely in place for 100 ms" in plant.reason(1)
    assert plant.sorter.may_leave == []


def test_a_frame_that_takes_long_to_arrive_was_exposed_in_time(plant: Plant) -> None:
    plant.camera.pace_s = 0.15
    plant.run(1, in_place_s=0.1)
    assert plant.outcomes() == {1: Outcome.ACCEPT}


def test_where_nobody_knows_when_a_frame_was_exposed_its_arrival_counts_against_the_part(
    plant: Plant,
) -> None:
    plant.camera.wired = True
    plant.camera.pace_s = 0.15
    plant.camera.script = [lambda: plant.camera.good(frame_id=0)]
    plant.run(1, in_place_s=0.1)
    assert plant.outcomes() == {1: Outcome.FAULT}


@pytest.mark.parametrize("wired", [False, True], ids=["software", "by wire"])
def test_a_next_trigger_before_the_frame_of_this_part_faults_it(plant: Plant, wired: bool) -> None:
    plant.camera.wired, plant.sorter.patient = wired, False
    plant.camera.script = [lambda: plant.camera.good(frame_id=0)] * 2 if wired else []
    plant.run(1, 2)
    second = Outcome.ACCEPT if wired else Outcome.FAULT  # by wire the cell itself exposes each part
    assert plant.outcomes() == {1: Outcome.FAULT, 2: second}
    assert "triggered the next part before this one's frame was there" in plant.reason(1)
    assert ("while the part before had to lie before the camera" in plant.reason(2)) == (not wired)


def test_triggers_that_come_all_at_once_bring_only_the_first_part_before_the_camera(plant: Plant) -> None:
    plant.sorter.patient = False
    plant.run(1, 2, 3, 4)
    assert set(plant.outcomes().values()) == {Outcome.FAULT}
    assert all("while the part before had to lie" in plant.reason(part_id) for part_id in (2, 3, 4))


def test_a_trigger_after_the_time_that_a_part_surely_lies_there_is_the_next_parts(plant: Plant) -> None:
    asked = threading.Event()

    def after_the_next_trigger() -> Frame:
        assert asked.wait(PATIENCE_S)
        return plant.camera.good()

    plant.sorter.patient = False
    plant.camera.script = [after_the_next_trigger]
    line = plant.line(in_place_s=0.05)
    line.start(2)
    plant.sorter.ask(1)
    wait_for(lambda: plant.sorter.acknowledged)
    time.sleep(0.07)
    plant.sorter.ask(2)
    asked.set()
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes()[1] is Outcome.FAULT
    assert "while the part before had to lie" not in plant.reason(2)


def test_a_frame_that_is_delivered_twice_is_no_other_parts(plant: Plant) -> None:
    plant.camera.script = [
        plant.camera.good(),
        plant.camera.good(frame_id=0),  # again that of part 1; from then on every frame would be one too late
    ]
    plant.run(1, 2, 3)
    assert plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.FAULT, 3: Outcome.ACCEPT}
    assert "frame 0 is not the one of the part's trigger" in plant.reason(2)
    assert plant.camera.rearmed == 2, "what else waits in the camera is discarded"


def test_a_part_may_leave_the_camera_before_its_verdict_and_only_when_its_frame_is_whole(
    plant: Plant,
) -> None:
    left: list[tuple[int, int]] = []
    plant.sorter.on_tell = lambda result: left.append((result.part_id, len(plant.sorter.may_leave)))
    plant.camera.script = [plant.camera.good(complete=False, problem="3 lines missing")]
    plant.run(1, 2)
    assert plant.sorter.may_leave == [2]
    assert left == [(1, 0), (2, 1)]


def test_the_camera_is_ready_before_the_trigger_is_acknowledged(plant: Plant) -> None:
    plant.camera.not_ready = 1
    plant.run(1, 2)
    assert plant.outcomes() == {1: Outcome.FAULT, 2: Outcome.ACCEPT}
    assert plant.sorter.acknowledged == [2]


class SlowDisk:
    """Lets nobody write to the journal's file for a while, as a disk that stalls."""

    def __init__(self, plant: Plant, seconds: float) -> None:
        self._file, self._seconds = plant.journal.segment_path, seconds

    def stall(self) -> None:
        held = threading.Event()
        threading.Thread(target=self._hold, args=(held,)).start()
        assert held.wait(PATIENCE_S)

    def _hold(self, held: threading.Event) -> None:
        with closing(sqlite3.connect(self._file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            time.sleep(self._seconds)
            other.execute("ROLLBACK")


@pytest.mark.parametrize("scores", [np.tile(np.float32([0.9, 0.1]), (2, 1)), DEFECT], ids=["good", "defect"])
def test_a_verdict_that_the_disk_made_late_is_withdrawn_and_only_the_fault_is_sent(
    plant: Plant, scores: NDArray[np.float32]
) -> None:
    disk = SlowDisk(plant, 0.9)
    plant.engine.script = [lambda: (disk.stall(), scores)[1]]
    line = plant.line(deadline_s=0.8)  # enough for a part on a busy machine
    plant.sorter.ask(1)
    line.start(parts=2)
    wait_for(lambda: plant.sorter.told)
    plant.sorter.ask(2)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert [result.outcome for result in plant.sorter.told if result.part_id == 1] == [Outcome.FAULT]
    assert "deadline of 800 ms" in plant.reason(1)
    assert plant.outcomes()[2] is Outcome.ACCEPT
    record = plant.records()[1]
    assert (record.outcome, record.bin, record.acknowledged) == ("fault", 9, True)
    counts = plant.journal.counts()
    assert (counts.accepted, counts.rejected, counts.faulted, counts.open) == (1, 0, 1, 0)
    assert balanced(line)
    with JournalReader(plant.journal.path) as reader:
        kinds = [event.kind for event in reader.events(0) if event.record_id == 1]
    assert kinds == ["opened", "verdict", "withdrawn", "receipt"]
    report = audit(plant.journal.path)
    assert report.findings == ()
    assert any(note.startswith("1 verdicts were withdrawn and sent as faults") for note in report.notes)


def test_a_journal_whose_files_are_touched_withdraws_ready_though_no_part_comes(plant: Plant) -> None:
    line = plant.line()
    line.start()
    segment = plant.journal.segment_path
    segment.with_name(segment.name + "-wal").unlink()
    assert line.wait(PATIENCE_S), "the line wants to end"
    assert plant.sorter.ready[-1][0] is False
    assert "was removed or replaced while the station ran" in line.status().failure
    line.stop()
