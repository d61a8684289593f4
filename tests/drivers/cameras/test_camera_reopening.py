"""Getting a lost camera back, the families, and the loss account."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import drivers.cameras
from drivers.cameras.backoff import Backoff, reopen
from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.cameras.genicam.block_ids import INVALID_ID, BlockIds, BlockOrderError
from drivers.cameras.interface import CameraConfigError
from simulation.camera import SimulatedCamera, SimulatedCameraSettings
from simulation.camera_faults import CameraFaults


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8), number, np.uint8))
    return tmp_path


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_waiting_time_doubles_up_to_its_limit() -> None:
    backoff = Backoff(first_s=0.2, factor=2, longest_s=5)
    assert [backoff.wait_s(attempt) for attempt in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.wait_s(10**6) == 5.0


@pytest.mark.parametrize("wrong", [{"first_s": 0}, {"factor": 0.5}, {"first_s": 9, "longest_s": 5}])
def test_a_backoff_that_would_spin_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="needs 0 < first"):
        Backoff(**wrong)


def lost_camera(pool: Path, clock: Clock, lost_for_s: float) -> SimulatedCamera:
    faults = CameraFaults(lose_at=1, lost_for_s=lost_for_s)
    camera = SimulatedCamera(SimulatedCameraSettings(pool), faults, clock=clock, sleep=clock.sleep)
    camera.open()
    camera.arm()
    with pytest.raises(drivers.cameras.interface.CameraLostError):
        camera.trigger(1.0)
    return camera


def test_a_lost_camera_is_reopened_with_growing_waits(pool: Path) -> None:
    clock, waits, failures = Clock(), [], []
    camera = lost_camera(pool, clock, lost_for_s=2.0)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        clock.sleep(seconds)
        return False

    assert reopen(camera, Backoff(0.2, 2, 5), wait, lambda attempt, error: failures.append(attempt))
    assert waits == [0.2, 0.4, 0.8, 1.6]
    assert failures == [0, 1, 2, 3]
    camera.trigger(1.0)
    assert camera.grab(1.0).complete
    assert camera.health().reopened == 1


def test_reopening_ends_when_the_station_stops(pool: Path) -> None:
    camera = lost_camera(pool, Clock(), lost_for_s=60.0)
    assert not reopen(camera, Backoff(), lambda seconds: True)
    assert not camera.health().connected


def test_reopening_does_not_wait_for_what_only_a_person_can_mend(tmp_path: Path) -> None:
    camera = FolderCamera(FolderSettings(tmp_path / "nowhere"))
    with pytest.raises(CameraConfigError, match="does not exist"):
        reopen(camera, Backoff(), lambda seconds: pytest.fail("waited"))


def places(gige: bool, ids: list[int]) -> list[tuple[int, int]]:
    account = BlockIds(gige)
    return [account.place(block_id) for block_id in ids]


def test_a_gap_in_the_block_ids_is_counted_before_the_next_frame() -> None:
    assert places(False, [0, 1, 4, 5]) == [(0, 0), (1, 0), (4, 2), (5, 0)]
    assert places(True, [1, 2, 5, 6]) == [(0, 0), (1, 0), (4, 2), (5, 0)]


def test_exposures_lost_before_the_first_frame_are_counted() -> None:
    assert places(False, [2]) == [(2, 2)]
    assert places(True, [3]) == [(2, 2)]


def test_sixteen_bit_ids_wrap_past_zero() -> None:
    account = BlockIds(gige=True)
    account.place(65533)
    assert [account.place(block_id)[1] for block_id in (65534, 65535, 1, 2)] == [0, 0, 0, 0]
    account = BlockIds(gige=True)
    account.place(65534)
    assert account.place(2)[1] == 2  # 65535 and 1


def test_extended_ids_go_on_past_sixteen_bits() -> None:
    account = BlockIds(gige=True)
    account.place(65535)
    assert account.place(65536)[1] == 0
    assert account.place(70000)[1] == 70000 - 65537


@pytest.mark.parametrize(
    ("gige", "ids"), [(False, [5, 5]), (False, [9, 3]), (True, [5, 5]), (True, [40000, 20000])]
)
def test_ids_that_go_back_show_a_restarted_camera(gige: bool, ids: list[int]) -> None:
    with pytest.raises(BlockOrderError, match=f"from {ids[0]} to {ids[1]}"):
        places(gige, ids)


def test_a_failed_frame_without_an_id_takes_the_place_that_was_due() -> None:
    assert places(False, [0, INVALID_ID, 2]) == [(0, 0), (1, 0), (2, 0)]
    assert places(True, [1, 0, 3]) == [(0, 0), (1, 0), (2, 0)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.booleans(), st.integers(0, 65000))
def test_delivered_and_lost_frames_add_up_to_the_exposures(steps: list[int], gige: bool, start: int) -> None:
    account = BlockIds(gige)
    exposures = start
    account.place(start + 1 if gige else start)
    for step in steps:
        exposures += step
        block_id = exposures % 65535 + 1 if gige else exposures
        frame_id, lost = account.place(block_id)
        assert lost == step - 1
        assert frame_id == exposures


def test_every_family_says_whether_it_can_be_used_here() -> None:
    present = drivers.cameras.present()
    assert [name for name, _, _ in present] == list(drivers.cameras.FAMILIES)
    assert present[0][:2] == ("folder", True)
    assert all(reason for _, _, reason in present)


def test_an_absent_sdk_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    families = {name: (there, reason) for name, there, reason in drivers.cameras.present()}
    assert families["pylon"] == (False, "pypylon is not installed; pip install 'inspection-station[pylon]'")


def test_a_family_is_found_by_its_name() -> None:
    assert drivers.cameras.family("folder") is FolderCamera
    with pytest.raises(CameraConfigError, match="no camera family 'webcam'; known: folder, pylon"):
        drivers.cameras.family("webcam")


def test_nothing_heavy_is_imported_with_the_package() -> None:
    code = "import sys, drivers.cameras; print([m for m in ('cv2', 'numpy', 'pypylon') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
