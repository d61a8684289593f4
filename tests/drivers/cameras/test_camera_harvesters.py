"""Cameras behind a GenTL producer: a real producer of software cameras, and faults in the calls of GenTL."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from drivers.cameras import FAMILIES
from drivers.cameras.genicam.settings import TriggerKind
from drivers.cameras.harvesters import HarvestersCamera, HarvestersSettings, harvesters_camera
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraLostError,
    CameraTimeoutError,
)
from drivers.cameras.isolated import IsolatedCamera
from drivers.cameras.settings import Mode

if FAMILIES.entry("harvesters").missing:
    pytest.skip("harvesters is not installed", allow_module_level=True)

WIDTH, HEIGHT = 320, 200
Make = Callable[..., Camera]
Fault = Callable[[str], None]


@pytest.fixture
def made(producer: Path) -> Iterator[Make]:
    cameras: list[Camera] = []

    def make(**settings: object) -> Camera:
        settings = {
            "producer": producer, "serial": "1", "mode": Mode.FREE_RUNNING, "trigger": TriggerKind.OFF,
            "width": WIDTH, "height": HEIGHT, "frame_rate_hz": 100.0, "isolated": False,
        } | settings  # fmt: skip
        cameras.append(harvesters_camera(HarvestersSettings(**settings)))  # type: ignore[arg-type]
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()


@pytest.fixture
def opened(made: Make) -> Make:
    def make(**settings: object) -> Camera:
        camera = made(**settings)
        camera.open()
        camera.arm()
        return camera

    return make


both = pytest.mark.parametrize("isolated", [False, True], ids=["same process", "own process"])


@both
def test_frames_come_whole_numbered_and_each_with_pixels_of_its_own(opened: Make, isolated: bool) -> None:
    camera = opened(isolated=isolated, frame_rate_hz=50.0)
    frames = [camera.grab(2.0) for _ in range(6)]
    assert all(frame.complete and frame.pixels.shape == (HEIGHT, WIDTH) for frame in frames)
    assert all(frame.pixels.dtype == np.uint8 and frame.pixels.flags.writeable for frame in frames)
    assert [frame.frame_id for frame in frames] == list(range(6))
    kept = frames[0].pixels.copy()
    frames[0].pixels[:] = 7
    assert not np.array_equal(camera.grab(2.0).pixels, frames[0].pixels)
    assert any(not np.array_equal(kept, frame.pixels) for frame in frames[1:])  # the ball moves


@both
def test_frames_that_nobody_fetched_are_counted_as_lost_and_not_hidden(opened: Make, isolated: bool) -> None:
    camera = opened(isolated=isolated, buffer_count=2, frame_rate_hz=200.0)
    camera.grab(2.0)
    time.sleep(0.3)
    frames = [camera.grab(2.0) for _ in range(12)]
    lost = sum(frame.lost_before for frame in frames)
    assert lost > 5
    assert frames[-1].frame_id == 12 + lost
    assert camera.health().lost == lost


@both
def test_emptying_starts_the_numbers_anew_and_counts_what_waited(opened: Make, isolated: bool) -> None:
    camera = opened(isolated=isolated)
    camera.grab(2.0)
    while camera.waiting() < 2:
        time.sleep(0.01)
    camera.disarm()
    assert camera.health().discarded >= 2
    camera.arm()
    assert camera.grab(2.0).frame_id == 0


@both
@pytest.mark.parametrize(
    ("word", "problem"),
    [("short", "lines or packets are missing"), ("padded", "4 bytes of padding per line")],
)
def test_a_damaged_buffer_is_an_incomplete_frame_without_pixels(
    opened: Make, fault: Fault, isolated: bool, word: str, problem: str
) -> None:
    camera = opened(isolated=isolated)
    fault(word)
    frame = camera.grab(2.0)
    assert not frame.complete
    assert problem in frame.problem
    assert frame.pixels.size == 0
    fault("")
    assert any(camera.grab(2.0).complete for _ in range(9))
    assert camera.health().incomplete >= 1


@both
def test_a_camera_that_answers_and_sends_nothing_is_a_timeout_and_not_a_loss(
    opened: Make, fault: Fault, isolated: bool
) -> None:
    camera = opened(isolated=isolated)
    fault("silent")
    with pytest.raises(CameraTimeoutError, match=r"no frame within 0\.1 s"):
        camera.grab(0.1)
    camera.probe()
    fault("")
    assert camera.grab(2.0).complete


@both
@pytest.mark.parametrize("word", ["gone", "absent"])
def test_a_camera_that_is_gone_is_noticed_by_a_grab_and_by_a_probe_and_comes_back(
    opened: Make, fault: Fault, isolated: bool, word: str
) -> None:
    camera = opened(isolated=isolated)
    fault(word)
    with pytest.raises(CameraLostError, match="does not answer; check power, cable and network"):
        camera.grab(0.1)
    camera.close()
    with pytest.raises(CameraLostError):
        camera.open()
    fault("")
    camera.open()
    camera.arm()
    camera.grab(2.0)
    fault(word)
    with pytest.raises(CameraLostError, match="does not answer"):
        camera.probe()
    assert not camera.health().connected
    camera.close()
    fault("")
    camera.open()
    camera.arm()
    assert camera.grab(2.0).frame_id == 0
    assert camera.health().reopened == 2


def test_a_camera_of_another_program_is_named_with_what_to_do(made: Make, fault: Fault) -> None:
    fault("busy")
    with pytest.raises(CameraLostError, match="close the other program that uses it"):
        made().open()


@pytest.mark.parametrize(
    ("word", "said"), [("hang", r"`grab` did not return for 1\.1 s"), ("crash", "was ended by SIGABRT")]
)
def test_a_producer_that_hangs_or_crashes_costs_its_process_and_not_this_one(
    opened: Make, fault: Fault, word: str, said: str
) -> None:
    camera = opened(isolated=True)
    camera.grab(2.0)
    fault(word)
    with pytest.raises(CameraLostError, match=said):
        camera.grab(0.1)
    health = camera.health()
    assert not health.connected
    assert health.delivered == 1
    camera.close()
    fault("")
    camera.open()
    camera.arm()
    assert camera.grab(2.0).complete
    assert (camera.health().delivered, camera.health().reopened) == (2, 1)


def test_the_process_of_a_camera_ends_with_its_parent_even_while_the_producer_hangs(
    producer: Path, fault: Fault, tmp_path: Path
) -> None:
    program = f"""
        from pathlib import Path
        from drivers.cameras.harvesters import HarvestersSettings, harvesters_camera
        camera = harvesters_camera(HarvestersSettings(
            producer=Path({str(producer)!r}), serial="1", mode="free-running", trigger="off"))
        camera.open()
        camera.arm()
        camera.grab(2.0)
        print(camera.process_id, flush=True)
        Path({str(tmp_path / "fault")!r}).write_text("hang")
        camera.grab(60.0)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.3)
        parent.kill()
    child.wait(5.0)


def test_the_process_of_a_camera_does_not_hear_ctrl_c(opened: Make) -> None:
    camera = opened(isolated=True)
    assert isinstance(camera, IsolatedCamera)
    assert camera.process_id is not None
    assert os.getpgid(camera.process_id) != os.getpgid(0)


def test_ctrl_c_stays_with_the_station_after_a_camera_was_opened(opened: Make) -> None:
    before = signal.getsignal(signal.SIGINT)
    opened()
    assert signal.getsignal(signal.SIGINT) is before


def test_one_acquirer_is_used_for_many_starts_and_memory_stays_flat(opened: Make) -> None:
    camera = opened()
    assert isinstance(camera, HarvestersCamera)

    def start_again(times: int) -> int:
        for _ in range(times):
            camera.disarm()
            camera.arm()
            camera.grab(2.0)
        return psutil.Process().memory_info().rss

    before = start_again(10)
    assert start_again(30) - before < 8e6
    assert camera.health().reopened == 0


def test_a_refused_setting_names_itself_the_camera_and_the_range(made: Make) -> None:
    with pytest.raises(CameraConfigError, match=r"Viky 1 does not accept width = 3; it takes 100 to 800"):
        made(width=3).open()
    with pytest.raises(CameraConfigError, match=r"pixel_format = BGR8; it takes RGBa8, Mono8"):
        made(pixel_format="BGR8").open()
    with pytest.raises(CameraConfigError, match="does not have exposure_us"):
        made(exposure_us=100.0).open()


def test_settings_are_read_back_and_shown(opened: Make) -> None:
    details = opened(width=333).health().details
    assert details["area"] == "333 x 200 px at 0, 0"
    assert (details["model"], details["serial"], details["pixel_format"]) == ("Viky", "1", "Mono8")


def test_a_camera_without_a_software_trigger_is_refused_and_not_left_running(made: Make) -> None:
    camera = made(mode=Mode.CELL, trigger=TriggerKind.SOFTWARE)
    with pytest.raises(CameraConfigError, match="does not have trigger"):
        camera.open()
    assert not camera.health().connected


def test_several_cameras_that_fit_are_all_named(made: Make) -> None:
    with pytest.raises(CameraConfigError, match=r"3 cameras match: .*Viky 0, .*Viky 2; set `serial`"):
        made(serial="").open()
    with pytest.raises(CameraLostError, match=r"GenICam camera 77 was not found.*Cameras found: .*Viky 0"):
        made(serial="77").open()


def test_producers_are_found_by_the_variable_of_their_installers(
    made: Make, producer: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENICAM_GENTL64_PATH", f"{tmp_path}/nothing:{producer.parent}")
    camera = made(producer=None)
    camera.open()
    camera.arm()
    assert camera.grab(2.0).complete
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(tmp_path))
    with pytest.raises(CameraConfigError, match=r"no GenTL producer was found \(GENICAM_GENTL64_PATH names"):
        made(producer=None).open()
    monkeypatch.delenv("GENICAM_GENTL64_PATH")
    with pytest.raises(CameraConfigError, match="is not set"):
        made(producer=None).open()


def test_a_path_that_is_no_producer_is_refused_with_what_it_is(
    made: Make, viky: Path, tmp_path: Path
) -> None:
    for path, said in (
        (tmp_path / "missing.cti", "is not a file"),
        (tmp_path, "is not a file"),
        (Path(__file__), "cannot be loaded"),
        (viky.with_name("libLog_gcc8_v3_5.so"), "is a library, but no GenTL producer"),
    ):
        with pytest.raises(CameraConfigError, match=said):
            made(producer=path).open()


def test_the_settings_follow_the_rules_of_every_genicam_camera() -> None:
    with pytest.raises(ValidationError, match="in cell mode each frame must answer a trigger"):
        HarvestersSettings(trigger=TriggerKind.OFF)
    assert harvesters_camera(HarvestersSettings(trigger=TriggerKind.HARDWARE)).triggered_by_wire


def test_a_camera_that_was_never_opened_says_so(made: Make) -> None:
    for isolated in (False, True):
        camera = made(isolated=isolated)
        for call in (camera.arm, camera.probe, lambda camera=camera: camera.grab(0.1)):
            with pytest.raises(CameraError, match="is not open"):
                call()
        camera.close()
        camera.disarm()
