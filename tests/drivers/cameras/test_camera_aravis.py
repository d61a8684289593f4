"""GigE cameras through Aravis: a camera in software, over real UDP of this machine."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from drivers.cameras import FAMILIES
from drivers.cameras.aravis import AravisSettings, aravis_camera
from drivers.cameras.aravis.camera import STREAMS
from drivers.cameras.aravis.discovery import who_answers
from drivers.cameras.aravis.library import DebianPackages
from drivers.cameras.genicam.settings import TriggerKind
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraLostError,
    CameraTimeoutError,
    Frame,
)
from drivers.cameras.settings import Mode
from tests.drivers.cameras.gige_camera import ADDRESS, PICTURES, GigeCamera, gige_camera

if FAMILIES.entry("aravis").missing:
    pytest.skip("Aravis is not installed", allow_module_level=True)

WIDTH, HEIGHT = 160, 100
FREE = {"mode": Mode.FREE_RUNNING, "trigger": TriggerKind.OFF}
Open = Callable[..., Camera]
HEARTBEAT_S = 3.0
"""The time after which the camera lets go of a program that is silent."""


@pytest.fixture(scope="module")
def plant() -> Iterator[GigeCamera]:
    with gige_camera(WIDTH, HEIGHT) as camera:
        yield camera


@pytest.fixture
def gige(plant: GigeCamera) -> GigeCamera:
    """The camera, switched on."""
    if plant.process.poll() is not None:
        plant.start()
    return plant


@pytest.fixture
def made(gige: GigeCamera) -> Iterator[Open]:
    cameras: list[Camera] = []

    def make(**settings: object) -> Camera:
        settings = {"address": ADDRESS, "isolated": False} | settings
        cameras.append(aravis_camera(AravisSettings(**settings)))  # type: ignore[arg-type]
        return cameras[-1]

    yield make
    if gige.process.poll() is not None:
        gige.start()  # giving a camera back that is gone takes long
    for camera in cameras:
        camera.close()


@pytest.fixture
def opened(made: Open) -> Open:
    def make(**settings: object) -> Camera:
        camera = made(**settings)
        camera.open()
        camera.arm()
        return camera

    return make


def shoot(camera: Camera) -> Frame:
    camera.trigger(5.0)
    return camera.grab(5.0)


both = pytest.mark.parametrize("isolated", [False, True], ids=["same process", "own process"])


@both
def test_frames_come_bit_for_bit_and_each_with_pixels_of_its_own(
    opened: Open, gige: GigeCamera, isolated: bool
) -> None:
    camera = opened(isolated=isolated)
    frames = [shoot(camera) for _ in range(PICTURES + 2)]
    assert all(frame.complete and frame.pixels.flags.writeable for frame in frames)
    shown = [gige.number_of(frame.pixels) for frame in frames]
    assert shown[0] is not None
    assert shown == [(shown[0] + number) % PICTURES for number in range(len(frames))]
    frames[0].pixels[:] = 7
    assert gige.number_of(frames[PICTURES].pixels) == shown[0]


@pytest.mark.parametrize("tries", [STREAMS, 0])
def test_others_that_send_without_a_pause_spoil_no_frame(
    opened: Open,
    gige: GigeCamera,
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("drivers.cameras.aravis.camera.STREAMS", tries)  # how often it has luck, chance says
    flood = """
        import socket
        stranger = socket.socket(type=socket.SOCK_DGRAM)
        print("ready", flush=True)
        while True:
            stranger.sendto(bytes(100), ("127.0.0.1", 9))
    """
    command = [sys.executable, "-c", textwrap.dedent(flood)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as others:
        try:
            assert others.stdout is not None
            assert others.stdout.readline() == "ready\n"
            camera = opened()
            shown = [gige.number_of(shoot(camera).pixels) for _ in range(3)]
        finally:
            others.kill()
    assert None not in shown
    assert camera.health().lost == 0
    assert tries or "give it its own network" in caplog.text


def test_the_numbers_of_the_frames_wrap_past_65535_without_a_loss(gige: GigeCamera, opened: Open) -> None:
    gige.kill()
    gige.start()  # its first number is 65,401
    camera = opened(buffer_count=64, frame_rate_hz=500.0, width=16, height=16, **FREE)
    frames = [camera.grab(5.0) for _ in range(200)]
    assert [frame.frame_id for frame in frames] == list(range(200))
    assert camera.health().lost == 0
    assert camera.health().transport["completed_buffers"] == 0  # told at the next probe
    camera.probe()
    assert camera.health().transport["completed_buffers"] >= 200


def test_an_output_line_of_a_camera_in_its_own_process_does_not_wait_for_a_frame(opened: Open) -> None:
    camera = opened(isolated=True)

    def awaits_a_frame() -> None:
        with pytest.raises(CameraTimeoutError):
            camera.grab(5.0)

    waiting = threading.Thread(target=awaits_a_frame)
    waiting.start()
    time.sleep(0.1)
    with pytest.raises(CameraConfigError, match="does not have line Line1"):  # this camera has no lines
        camera.set_output("Line1", True)
    assert waiting.is_alive()
    waiting.join()


def test_numbers_that_go_on_from_the_start_before_are_no_loss(opened: Open) -> None:
    camera = opened()
    for _ in range(3):
        assert [shoot(camera).frame_id for _ in range(3)] == [0, 1, 2]
        camera.disarm()
        camera.arm()
    assert camera.health().lost == 0


def test_a_frame_that_lost_packets_is_incomplete_and_every_complete_one_is_whole(
    opened: Open, gige: GigeCamera
) -> None:
    gige.kill()
    bad = GigeCamera(640, 480, lost_per_mille=3.0, rate_hz=200.0)
    try:
        camera = opened(buffer_count=32, **FREE)
        frames = [camera.grab(5.0) for _ in range(60)]
        camera.probe()
        health = camera.health()
        camera.close()
    finally:
        bad.kill()
    damaged = [frame for frame in frames if not frame.complete]
    assert 10 < len(damaged) < 50
    assert all("packets are missing" in frame.problem and not frame.pixels.size for frame in damaged)
    assert all(bad.number_of(frame.pixels) is not None for frame in frames if frame.complete)
    assert health.incomplete == len(damaged)
    assert health.transport["missing_packets"] >= len(damaged)


def test_frames_that_nobody_fetched_are_counted_as_lost_and_as_underruns(opened: Open) -> None:
    camera = opened(buffer_count=2, frame_rate_hz=200.0, **FREE)
    camera.grab(5.0)
    time.sleep(0.3)
    frames = [camera.grab(5.0) for _ in range(8)]
    lost = sum(frame.lost_before for frame in frames)
    assert lost > 5
    assert frames[-1].frame_id == 8 + lost
    camera.probe()
    assert camera.health().lost == lost
    assert camera.health().transport["underruns"] >= lost


@both
def test_a_camera_that_is_switched_off_is_noticed_by_a_grab_and_by_a_probe_and_comes_back(
    opened: Open, gige: GigeCamera, isolated: bool
) -> None:
    camera = opened(isolated=isolated)
    shoot(camera)
    camera.probe()
    gige.kill()
    began = time.monotonic()
    with pytest.raises(CameraLostError, match="GV07 does not answer; check power, cable and network"):
        camera.grab(0.1) if isolated else camera.probe()
    assert time.monotonic() - began < 1.0
    assert not camera.health().connected
    gige.start()
    camera.close()
    camera.open()
    camera.arm()
    assert shoot(camera).frame_id == 0
    health = camera.health()
    assert (health.delivered, health.reopened) == (2, 1)
    camera.probe()
    assert camera.health().transport["completed_buffers"] == 2


def test_a_camera_that_is_away_is_named_and_a_call_to_it_ends_soon(made: Open, gige: GigeCamera) -> None:
    gige.kill()
    began = time.monotonic()
    with pytest.raises(CameraLostError, match=r"GigE camera at 127\.0\.0\.1 was not found; check power"):
        made().open()
    assert time.monotonic() - began < 1.0


def test_a_camera_of_another_program_is_named_with_what_to_do(made: Open, opened: Open) -> None:
    mine = opened()
    with pytest.raises(
        CameraLostError, match=r"controlled by another program: close it; .*lets go by itself"
    ):
        made().open()
    assert shoot(mine).complete


def test_a_camera_that_a_crashed_program_held_is_free_again_after_its_heartbeat_time(
    made: Open, opened: Open
) -> None:
    crashed = opened(isolated=True)
    shoot(crashed)
    os.kill(crashed.process_id, signal.SIGKILL)  # type: ignore[attr-defined]
    camera, refusals = made(), []
    while not camera.health().connected:
        assert len(refusals) < 50
        try:
            camera.open()
        except CameraLostError as error:
            refusals.append(str(error))
            time.sleep(0.2)
    assert all("controlled by another program" in refusal for refusal in refusals)
    camera.arm()
    assert shoot(camera).complete


def test_a_camera_that_a_crash_left_running_sends_its_next_frame_to_the_program_that_has_it_now(
    opened: Open,
) -> None:
    crashed = opened(isolated=True)
    shoot(crashed)
    os.kill(crashed.process_id, signal.SIGKILL)  # type: ignore[attr-defined]
    time.sleep(HEARTBEAT_S + 1.0)
    assert shoot(opened()).complete


def test_a_camera_that_nobody_asks_for_longer_than_its_heartbeat_time_is_not_lost(opened: Open) -> None:
    camera = opened()
    shoot(camera)
    time.sleep(HEARTBEAT_S + 1.0)
    assert shoot(camera).frame_id == 1
    assert camera.health().reopened == 0


@pytest.mark.slow
def test_after_more_questions_than_the_protocol_has_numbers_the_camera_is_still_ours(opened: Open) -> None:
    # One question per second: an idle night passes the 65,535 numbers of the control protocol.
    camera = opened()
    for _ in range(70_000):
        camera._device.read_register(0x100)  # type: ignore[attr-defined]
    camera.probe()
    assert shoot(camera).complete


def test_another_camera_at_the_address_is_not_taken_for_the_one_that_was_there(
    opened: Open, gige: GigeCamera
) -> None:
    camera = opened()
    gige.kill()
    other = GigeCamera(WIDTH, HEIGHT, serial="GV08")
    try:
        with pytest.raises(CameraLostError):
            camera.probe()
    finally:
        other.kill()


def test_a_refused_setting_names_itself_the_camera_and_the_range(made: Open) -> None:
    with pytest.raises(CameraConfigError, match=r"GV07 does not accept width = 5000; it takes \d+ to \d+"):
        made(width=5000).open()
    with pytest.raises(CameraConfigError, match=r"pixel_format = BGR8; it takes BayerBG8, .*, Mono8"):
        made(pixel_format="BGR8").open()
    with pytest.raises(CameraConfigError, match=r"does not have gain_db \(Gain\)"):
        made(gain_db=1.0).open()
    with pytest.raises(CameraConfigError, match="does not allow node SensorWidth"):
        made(nodes=({"SensorWidth": 3},)).open()


def test_settings_are_read_back_and_shown(opened: Open) -> None:
    details = opened(width=64, height=32, offset_x=8, exposure_us=500.0, packet_size=1000).health().details
    assert details["area"] == "64 x 32 px at 8, 0"
    assert (details["model"], details["serial"], details["exposure_us"]) == ("Fake", "GV07", "500")
    assert (details["packet_size"], details["pixel_format"]) == ("1000", "Mono8")


def test_colour_is_blue_first_in_a_frame(opened: Open, gige: GigeCamera) -> None:
    frame = shoot(opened(pixel_format="RGB8", width=20, height=10))
    assert frame.pixels.shape == (10, 20, 3)


def test_a_camera_is_found_by_its_serial_number_and_others_are_named(made: Open) -> None:
    camera = made(address="", serial="GV07")
    camera.open()
    assert camera.health().connected
    with pytest.raises(CameraLostError, match=r"GigE camera 77 .*Cameras found: .*GV07 at 127\.0\.0\.1"):
        made(serial="77").open()


def test_who_answers_at_an_address_says_what_it_is(gige: GigeCamera) -> None:
    found = who_answers(ADDRESS)
    assert found is not None
    assert str(found) == "Aravis Fake GV07"
    assert who_answers("127.0.0.77") is None


def test_without_a_trigger_there_is_no_frame_and_the_camera_stays(opened: Open) -> None:
    camera = opened()
    with pytest.raises(CameraTimeoutError, match="was it triggered"):
        camera.grab(0.1)
    assert shoot(camera).complete


def test_a_machine_without_the_library_is_told_the_packages_of_debian(tmp_path: Path) -> None:
    program = f"""
        from pathlib import Path
        from drivers.cameras.aravis.library import import_aravis
        from drivers.cameras.interface import CameraConfigError
        try:
            import_aravis(Path({str(tmp_path)!r}))
        except CameraConfigError as error:
            print(error)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert "need the Debian packages gir1.2-aravis-0.8 python3-gi" in said.stdout
    assert "sudo apt-get install" in said.stdout
    assert DebianPackages().missing == ""


def test_the_settings_follow_the_rules_of_every_genicam_camera() -> None:
    with pytest.raises(ValidationError, match="in cell mode each frame must answer a trigger"):
        AravisSettings(trigger=TriggerKind.OFF)
    assert aravis_camera(AravisSettings(trigger=TriggerKind.HARDWARE)).triggered_by_wire


def test_a_camera_that_was_never_opened_says_so(made: Open) -> None:
    for isolated in (False, True):
        camera = made(isolated=isolated)
        for call in (camera.arm, camera.probe, lambda camera=camera: camera.grab(0.1)):
            with pytest.raises(CameraError, match="is not open"):
                call()
        camera.close()
        camera.disarm()


def test_blocks_of_lines_are_one_frame_and_a_rest_of_one_is_incomplete(
    opened: Open, gige: GigeCamera
) -> None:
    whole = opened(blocks=4, height=HEIGHT, **FREE)
    frames = [whole.grab(5.0) for _ in range(5)]
    assert [frame.frame_id for frame in frames] == list(range(5))
    assert all(frame.complete and frame.pixels.shape == (HEIGHT, WIDTH) for frame in frames)


def test_another_reader_of_the_same_wire_sees_the_same_pictures(opened: Open, gige: GigeCamera) -> None:
    reader = pytest.importorskip("pyGigEVision")
    camera = opened(frame_rate_hz=50.0, **FREE)
    ours = [gige.number_of(camera.grab(5.0).pixels) for _ in range(PICTURES)]
    camera.close()
    control = reader.GVCPClient(ADDRESS, local_ip=ADDRESS)
    control.connect()
    stream = reader.GVSPReceiver(local_ip=ADDRESS, packet_size=1400, camera_ip=ADDRESS)
    stream.start()
    try:
        for register, value in ((0xD04, 1400), (0xD18, 0x7F000001), (0xD00, stream.port), (0x124, 1)):
            control.write_reg(register, value)
        theirs = [gige.number_of(stream.get_frame(timeout=5.0)) for _ in range(PICTURES)]
        control.write_reg(0x124, 0)
    finally:
        stream.stop()
        stream.close()
        control.disconnect()
    assert sorted(ours) == sorted(theirs) == list(range(PICTURES))  # type: ignore[type-var]
