"""The simulated camera keeps a real one's pace and makes a real one's mistakes, on request."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from drivers.cameras.interface import (
    CameraConfigError,
    CameraLostError,
    CameraTimeoutError,
    EndOfFramesError,
    Frame,
)
from drivers.cameras.settings import Mode
from simulation.camera import SimulatedCamera, SimulatedSettings, load_picture, pool_files
from simulation.camera_faults import CameraFaults
from simulation.place import EMPTY, Place

PICTURES = 4


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(PICTURES):
        cv2.imwrite(str(folder / f"frame-{number}.tiff"), np.full((20, 30), 100 + number, np.uint8))
    (folder / "truth.jsonl").write_text("{}\n")
    return folder


def opened(
    pool: Path, clock: Clock, faults: CameraFaults | None = None, *, wired: bool = False, **settings: object
) -> SimulatedCamera:
    camera = SimulatedCamera(
        SimulatedSettings(pool=pool, **settings),  # type: ignore[arg-type]
        faults,
        wired=wired,
        clock=clock,
        sleep=clock.sleep,
    )
    camera.open()
    camera.arm()
    return camera


def shoot(camera: SimulatedCamera) -> Frame:
    camera.trigger(1.0)
    return camera.grab(1.0)


def names(frames: list[Frame]) -> list[str]:
    return [Path(frame.source).stem for frame in frames]


def test_triggered_frames_come_no_faster_than_the_line_rate_allows(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, rate_hz=10)
    start = clock()
    for _ in range(11):
        shoot(camera)
    assert clock() - start == pytest.approx(1.0)


def test_the_real_clock_is_kept_too(pool: Path) -> None:
    camera = SimulatedCamera(SimulatedSettings(pool=pool, rate_hz=50))
    camera.open()
    camera.arm()
    start = time.monotonic()
    for _ in range(6):
        shoot(camera)
    assert 0.095 < time.monotonic() - start < 0.4


def test_a_trigger_during_the_turn_before_times_out(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, rate_hz=5)
    shoot(camera)
    with pytest.raises(
        CameraTimeoutError, match=r"not ready for a trigger within 0\.05 s; it makes 5 frames"
    ):
        camera.trigger(0.05)


def test_the_frame_comes_when_its_exposure_has_ended(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, rate_hz=5, exposure_ms=150)
    camera.trigger(1.0)
    before = clock()
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.1)
    camera.grab(0.1)
    assert clock() - before == pytest.approx(0.15)


def test_free_running_frames_come_at_the_rate(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, rate_hz=5.8, mode=Mode.FREE_RUNNING)
    start = clock()
    frames = [camera.grab(1.0) for _ in range(58)]
    assert clock() - start == pytest.approx(10.0)
    assert not any(frame.lost_before for frame in frames)


def test_free_running_without_a_rate_never_makes_anybody_wait(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, rate_hz=0, mode=Mode.FREE_RUNNING)
    start = clock()
    assert [camera.grab(1.0).frame_id for _ in range(50)] == list(range(50))
    assert clock() == start


def test_a_slow_reader_loses_frames_and_is_told_how_many(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, rate_hz=10, mode=Mode.FREE_RUNNING, buffer_count=3)
    clock.sleep(1.05)  # ten exposures, three buffers
    frames = [camera.grab(1.0) for _ in range(4)]
    assert [frame.frame_id for frame in frames] == [0, 1, 2, 10]
    assert [frame.lost_before for frame in frames] == [0, 0, 0, 7]
    assert camera.health().lost == 7
    assert names(frames)[-1] == f"frame-{10 % PICTURES}"


def test_a_dropped_frame_is_a_timeout_and_then_a_gap(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(drop_every=3))
    shoot(camera)
    shoot(camera)
    with pytest.raises(CameraTimeoutError):
        shoot(camera)
    frame = shoot(camera)
    assert (frame.frame_id, frame.lost_before) == (3, 1)
    assert names([frame]) == ["frame-3"]


def test_an_incomplete_frame_says_so_and_lacks_its_lower_half(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(incomplete_every=2))
    good, bad = shoot(camera), shoot(camera)
    assert good.complete
    assert not bad.complete
    assert "10 of 20 lines" in bad.problem
    assert bad.pixels[:10].all()
    assert not bad.pixels[10:].any()
    assert camera.health().incomplete == 1


def test_a_late_frame_comes_after_its_timeout_and_is_discarded_by_disarming(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(late_every=2, late_s=0.8))
    shoot(camera)
    camera.trigger(1.0)
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.5)
    assert camera.grab(0.5).frame_id == 1  # had nobody disarmed, it would have met the next part
    shoot(camera)
    camera.trigger(1.0)
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.5)
    camera.disarm()
    camera.arm()
    clock.sleep(1.0)
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.1)


def test_a_wired_camera_is_exposed_by_its_wire_alone(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, wired=True, exposure_ms=100)
    camera.trigger(1.0)
    with pytest.raises(CameraTimeoutError, match="no edge came on its wire"):
        camera.grab(0.5)
    assert camera.wire() == 1
    assert camera.waiting() == 0, "the exposure is under way"
    before = clock()
    frame = camera.grab(1.0)
    assert names([frame]) == ["frame-0"]
    assert clock() - before == pytest.approx(0.1, abs=0.002)


def test_an_edge_that_a_real_camera_would_ignore_uses_up_no_picture(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, wired=True, rate_hz=10)
    assert [camera.wire(), camera.wire()] == [1, 0]
    clock.sleep(0.1)
    assert camera.wire() == 2
    camera.disarm()
    assert camera.wire() == 0


def test_frames_that_are_thrown_away_are_counted(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, wired=True, rate_hz=0, exposure_ms=100)
    camera.wire()
    clock.sleep(0.2)
    camera.wire()
    assert camera.waiting() == 1
    camera.disarm()
    camera.arm()
    assert (camera.waiting(), camera.health().discarded) == (0, 1)
    clock.sleep(0.2)
    assert camera.waiting() == 0, "the exposure under way is gone too"


def test_a_grab_is_ended_by_an_edge_from_another_thread(pool: Path) -> None:
    camera = SimulatedCamera(SimulatedSettings(pool=pool), wired=True)
    camera.open()
    camera.arm()
    pulse = threading.Timer(0.05, camera.wire)
    pulse.start()
    assert camera.grab(2.0).frame_id == 0
    pulse.join()


def test_a_wired_camera_that_is_unplugged_says_so_to_whoever_grabs(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(lose_at=1), wired=True)
    camera.wire()
    with pytest.raises(CameraLostError, match="unplugged"):
        camera.grab(1.0)


def test_a_lost_camera_stays_away_for_its_time_and_comes_back(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(lose_at=2, lost_for_s=3.0))
    shoot(camera)
    with pytest.raises(CameraLostError, match="unplugged"):
        shoot(camera)
    assert not camera.health().connected
    for call in (camera.arm, camera.probe, lambda: camera.grab(0.1), lambda: camera.trigger(0.1)):
        with pytest.raises(CameraLostError):
            call()
    with pytest.raises(CameraLostError, match=r"another 3\.0 s"):
        camera.open()
    clock.sleep(3.1)
    camera.open()
    camera.arm()
    frame = shoot(camera)
    assert frame.frame_id == 0
    assert names([frame]) == ["frame-2"]
    assert camera.health().reopened == 1


def test_a_free_running_camera_is_lost_too(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(lose_at=3), mode=Mode.FREE_RUNNING)
    camera.grab(1.0)
    camera.grab(1.0)
    with pytest.raises(CameraLostError):
        camera.grab(1.0)


def test_a_hung_grab_does_not_come_back_in_time(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(hang_at=2, hang_for_s=30.0))
    shoot(camera)
    camera.trigger(1.0)
    before = clock()
    camera.grab(0.5)
    assert clock() - before >= 30.0


def test_faults_by_share_are_reproducible_and_as_many_as_asked_for(pool: Path, clock: Clock) -> None:
    def incomplete(seed: int) -> list[bool]:
        faults = CameraFaults(incomplete_share=0.25, seed=seed)
        camera = opened(pool, clock, faults, rate_hz=0)
        return [shoot(camera).complete for _ in range(200)]

    assert incomplete(1) == incomplete(1)
    assert incomplete(1) != incomplete(2)
    assert 30 <= incomplete(1).count(False) <= 70


def test_when_every_frame_is_lost_a_grab_still_ends(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(drop_share=1.0), rate_hz=0, mode=Mode.FREE_RUNNING)
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.2)


def test_the_pool_goes_on_after_disarming(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock)
    first = shoot(camera)
    camera.disarm()
    camera.arm()
    assert names([first, shoot(camera)]) == ["frame-0", "frame-1"]


def test_a_finite_pool_ends_even_if_its_last_frame_is_lost(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, CameraFaults(drop_every=PICTURES), repeat=False, mode=Mode.FREE_RUNNING)
    for _ in range(PICTURES - 1):
        camera.grab(1.0)
    with pytest.raises(EndOfFramesError):
        camera.grab(1.0)


def test_an_array_file_is_used_in_place_of_the_slower_picture(pool: Path, clock: Clock) -> None:
    np.save(pool / "frame-1.npy", np.full((20, 30), 7, np.uint8))
    assert [path.name for path in pool_files(pool)][1] == "frame-1.npy"
    camera = opened(pool, clock)
    pixels = [shoot(camera).pixels for _ in range(2)]
    assert pixels[1][0, 0] == 7
    pixels[1][:] = 9  # the frame is the owner's, the file stays as it is
    assert load_picture(pool / "frame-1.npy")[0, 0] == 7


def test_a_broken_picture_of_the_pool_is_an_incomplete_frame(pool: Path, clock: Clock) -> None:
    (pool / "frame-0.tiff").write_bytes(b"II*\0 broken")
    (pool / "frame-1.npy").write_bytes(b"no array")
    np.save(pool / "frame-2.npy", np.zeros((4, 4), np.float32))
    camera = opened(pool, clock, preload_mb=10)
    frames = [shoot(camera) for _ in range(4)]
    assert [frame.complete for frame in frames] == [False, False, False, True]
    assert "frame-0.tiff" in frames[0].problem
    assert "frame-1.npy" in frames[1].problem
    assert "float32" in frames[2].problem


def test_preloading_keeps_to_its_limit(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, preload_mb=2.5 * 20 * 30 / 1e6)
    assert camera.health().details == {"pictures": "4", "preloaded": "2"}
    for path in pool_files(pool)[:2]:
        path.unlink()
    assert [shoot(camera).complete for _ in range(4)] == [True] * 4
    camera.close()


def test_an_empty_or_missing_pool_says_how_to_fill_it(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CameraConfigError, match="station simulate"):
            SimulatedCamera(SimulatedSettings(pool=folder)).open()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_hz": -1},
        {"exposure_ms": -1},
        {"buffer_count": 0},
        {"preload_mb": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SimulatedSettings(pool=tmp_path, **wrong)


def test_a_camera_cannot_be_wired_and_run_free(tmp_path: Path) -> None:
    with pytest.raises(CameraConfigError, match="exclude each other"):
        SimulatedCamera(SimulatedSettings(pool=tmp_path, mode=Mode.FREE_RUNNING), wired=True)


@pytest.mark.parametrize("wrong", [{"drop_every": -1}, {"late_share": 1.5}, {"lose_at": -2}])
def test_faults_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(CameraConfigError):
        CameraFaults(**wrong)


def test_with_a_place_a_frame_shows_the_part_that_lies_there_when_it_is_exposed(
    pool: Path, clock: Clock, tmp_path: Path
) -> None:
    place = Place(tmp_path / "place")
    camera = opened(pool, clock, place=tmp_path / "place")
    seen = []
    for part_id in (1, 4, 4, 6):
        place.put(part_id)
        camera.trigger(1.0)
        place.put(part_id + 1)  # too late for this exposure
        seen.append(int(camera.grab(1.0).pixels[0, 0]))
    assert seen == [100, 103, 103, 101]


def test_an_empty_place_is_black_and_so_is_one_where_nothing_was_ever_laid(
    pool: Path, clock: Clock, tmp_path: Path
) -> None:
    camera = opened(pool, clock, place=tmp_path / "place")
    for _ in range(2):
        camera.trigger(1.0)
        frame = camera.grab(1.0)
        assert frame.complete
        assert not frame.pixels.any()
        Place(tmp_path / "place").put(EMPTY)


def test_nobody_knows_when_an_edge_on_the_wire_came(pool: Path, clock: Clock) -> None:
    camera = opened(pool, clock, wired=True)
    camera.wire()
    frame = camera.grab(1.0)
    assert frame.exposed_by_ns is None
    assert frame.begun_by_ns == frame.arrived_ns
