"""A lost camera comes back by itself; one that is told what it cannot do halts the line and says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras import FAMILIES
from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.cameras.interface import CameraConfigError, CameraHealth, CameraHeldError, CameraLostError, Frame
from drivers.cameras.picture_files import NO_PIXELS
from drivers.cameras.pylon import PylonCamera, PylonSettings
from simulation.camera import SimulatedCamera, SimulatedSettings
from simulation.camera_faults import CameraFaults
from station.acquisition import Acquisition, NoFrameError
from station.supervision import Readiness

WAITS = (0.2, 0.5, 1.0)


class Clock:
    """Time that passes only when somebody waits; ``stop_after`` waits the station stops."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self._stop_after = stop_after

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, seconds: float) -> bool:
        """As ``threading.Event.wait``: True when the station stops."""
        self.waits.append(seconds)
        self.now += seconds
        return len(self.waits) > self._stop_after


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.tif"), np.full((32, 16), number, np.uint8))
    return folder


def lost_camera(pool: Path, clock: Clock, lost_for_s: float) -> SimulatedCamera:
    faults = CameraFaults(lose_at=1, lost_for_s=lost_for_s)
    camera = SimulatedCamera(SimulatedSettings(pool=pool), faults, clock=clock, sleep=clock.sleep)
    camera.open()
    camera.arm()
    with pytest.raises(CameraLostError):
        camera.trigger(1.0)
    return camera


def acquisition(camera: object) -> tuple[Acquisition, list[tuple[bool, str]]]:
    said: list[tuple[bool, str]] = []
    readiness = Readiness(lambda ready, reason: said.append((ready, reason)))
    readiness.clear(Readiness.STARTING)
    return Acquisition(camera, readiness, 1.0, WAITS), said  # type: ignore[arg-type]


def test_a_lost_camera_is_reopened_with_growing_waits(pool: Path) -> None:
    clock = Clock()
    camera = lost_camera(pool, clock, lost_for_s=3.0)
    looked, said = acquisition(camera)
    assert looked.is_there(clock)  # type: ignore[arg-type]
    assert clock.waits == [0.2, 0.5, 1.0, 1.0, 1.0]
    assert [ready for ready, _ in said] == [True, False, False, False, False, False, True]
    assert looked.expose().complete
    assert camera.health().reopened == 1


class Broken(FolderCamera):
    """A real camera whose frames lose their lines on the way, one after the other."""

    def health(self) -> CameraHealth:
        return replace(super().health(), simulated=False)

    def grab(self, timeout_s: float) -> Frame:
        return replace(super().grab(timeout_s), complete=False, pixels=NO_PIXELS, problem="lines are missing")


def test_incomplete_frames_without_pixels_are_not_said_to_be_frozen(pool: Path) -> None:
    looked, _ = acquisition(Broken(FolderSettings(path=pool)))
    looked.open()
    assert [looked.expose().problem for _ in range(2)] == ["lines are missing"] * 2


class Held(SimulatedCamera):
    """Held by a program that crashed, until it was asked for so often."""

    asked_until_free = 0

    def open(self) -> None:
        self.asked_until_free -= 1
        if self.asked_until_free >= 0:
            raise CameraHeldError("is controlled by another program")
        super().open()


def test_a_camera_that_a_crash_left_held_is_tried_every_half_a_second(pool: Path) -> None:
    camera = Held(SimulatedSettings(pool=pool))
    looked, _ = acquisition(camera)
    camera.asked_until_free, clock = 8, Clock()
    assert looked.is_there(clock)  # type: ignore[arg-type]
    assert clock.waits == [0.2, *[0.5] * 8]
    camera.close()
    camera.asked_until_free, clock = 14, Clock()
    assert looked.is_there(clock)  # type: ignore[arg-type]
    assert clock.waits[-1] == WAITS[-1]  # another program has it: no reason to ask so often


def test_a_station_that_starts_again_after_a_crash_waits_for_its_camera(pool: Path) -> None:
    camera = Held(SimulatedSettings(pool=pool))
    looked, _ = acquisition(camera)
    camera.asked_until_free = 1
    looked.begin()
    assert looked.expose().complete


def test_reopening_ends_when_the_station_stops(pool: Path) -> None:
    clock = Clock(stop_after=0)
    camera = lost_camera(pool, clock, lost_for_s=60.0)
    assert not acquisition(camera)[0].is_there(clock)  # type: ignore[arg-type]
    assert not camera.health().connected


def test_reopening_does_not_wait_for_what_only_a_person_can_mend(tmp_path: Path) -> None:
    clock = Clock()
    looked, said = acquisition(FolderCamera(FolderSettings(path=tmp_path / "nowhere")))
    with pytest.raises(CameraConfigError, match="does not exist"):
        looked.is_there(clock)  # type: ignore[arg-type]
    assert len(clock.waits) == 1
    assert "does not exist; set it to a folder of pictures" in said[-1][1]


@pytest.fixture
def emulator(pool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PylonCamera]:
    if FAMILIES.entry("pylon").missing:
        pytest.skip("pypylon is not installed")
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    camera = PylonCamera(PylonSettings(emulation=pool, exposure_us=100.0))
    camera.open()
    camera.arm()
    yield camera
    camera.close()


def lose(camera: PylonCamera) -> None:
    camera.device.GetStreamGrabberNodeMap().GetNode("ImposedError").FromString("the cable was pulled")
    camera.trigger(1.0)
    with pytest.raises(CameraLostError):
        camera.grab(1.0)


def test_a_camera_that_the_sdk_loses_comes_back_by_itself(emulator: PylonCamera) -> None:
    lose(emulator)
    looked, said = acquisition(emulator)
    clock = Clock()
    assert looked.is_there(clock)  # type: ignore[arg-type]
    assert said[-1] == (True, "")
    assert looked.expose().complete


def test_a_camera_that_refuses_its_settings_after_a_loss_is_not_tried_again(
    emulator: PylonCamera, pool: Path
) -> None:
    """On a real line, another model at the same cable; here, the emulator's pictures are gone."""
    lose(emulator)
    for picture in pool.iterdir():
        picture.unlink()
    clock = Clock()
    looked, said = acquisition(emulator)
    with pytest.raises(CameraConfigError, match="no pictures"):
        looked.is_there(clock)  # type: ignore[arg-type]
    assert len(clock.waits) == 1
    assert not said[-1][0]
    assert "no pictures" in said[-1][1]
    assert not emulator.health().connected


class LineScan(SimulatedCamera):
    """A camera with a line rate."""

    def __init__(self, pool: Path) -> None:
        super().__init__(SimulatedSettings(pool=pool, rate_hz=0))
        self.told: list[float] = []
        self.stray = 0

    def set_line_rate(self, lines_per_s: float) -> float:
        assert not self._armed
        self.told.append(lines_per_s)
        return lines_per_s

    def waiting(self) -> int:
        return self.stray

    def disarm(self) -> None:
        self.stray = 0
        super().disarm()


def test_the_line_rate_of_the_recipe_is_told_once_and_again_after_a_change_or_a_loss(pool: Path) -> None:
    camera = LineScan(pool)
    looked, _ = acquisition(camera)
    looked.run_at(20_000.0)
    looked.open()
    for rate in (20_000.0, 20_000.0, 15_000.0):
        looked.run_at(rate)
        looked.prepare()
        assert looked.expose().complete
    assert camera.told == [20_000.0, 15_000.0]
    looked.open()
    assert camera.told == [20_000.0, 15_000.0, 15_000.0]
    looked.close()


def test_a_recipe_with_a_surface_speed_is_refused_by_a_camera_without_a_line_rate(pool: Path) -> None:
    looked, _ = acquisition(FolderCamera(FolderSettings(path=pool)))
    looked.run_at(20_000.0)
    with pytest.raises(CameraConfigError, match=r"remove `product.surface_speed_mm_s`"):
        looked.open()


def test_a_second_frame_for_one_trigger_is_a_fault_and_one_before_a_trigger_is_discarded(pool: Path) -> None:
    camera = LineScan(pool)
    looked, _ = acquisition(camera)
    looked.open()
    camera.stray = 1
    looked.prepare()
    assert camera.stray == 0
    camera.stray = 1
    with pytest.raises(NoFrameError, match="two frames for one trigger"):
        looked.expose()
    looked.prepare()
    assert looked.expose().complete
    looked.close()
