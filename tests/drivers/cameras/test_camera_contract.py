"""What every camera promises, whatever it is made of."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras import FAMILIES
from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.cameras.interface import Camera, CameraError, CameraTimeoutError, EndOfFramesError
from drivers.cameras.settings import Mode
from simulation.camera import SimulatedCamera, SimulatedSettings
from tests.drivers.cameras.gige_camera import ADDRESS, gige_camera

FILES, HEIGHT, WIDTH = 5, 48, 64
Make = Callable[[Path], Camera]


def folder(path: Path) -> Camera:
    return FolderCamera(FolderSettings(path=path, repeat=True))


def simulated(path: Path) -> Camera:
    return SimulatedCamera(SimulatedSettings(pool=path, rate_hz=500))


def simulated_free(path: Path) -> Camera:
    return SimulatedCamera(SimulatedSettings(pool=path, rate_hz=200, mode=Mode.FREE_RUNNING, buffer_count=50))


def pylon(path: Path) -> Camera:
    from drivers.cameras.pylon import PylonCamera, PylonSettings

    return PylonCamera(PylonSettings(emulation=path, exposure_us=100.0))


def pylon_free(path: Path) -> Camera:
    from drivers.cameras.genicam.settings import TriggerKind
    from drivers.cameras.pylon import PylonCamera, PylonSettings

    free = {"mode": Mode.FREE_RUNNING, "trigger": TriggerKind.OFF}
    return PylonCamera(PylonSettings(emulation=path, exposure_us=100.0, frame_rate_hz=100.0, **free))


def harvesters_free(path: Path) -> Camera:
    from drivers.cameras.genicam.settings import TriggerKind
    from drivers.cameras.harvesters import HarvestersSettings, harvesters_camera

    producer = Path(importlib.util.find_spec("genicam").origin).parent / "viky.cti"
    free = {"mode": Mode.FREE_RUNNING, "trigger": TriggerKind.OFF, "frame_rate_hz": 40.0, "buffer_count": 32}
    return harvesters_camera(
        HarvestersSettings(producer=producer, serial="2", width=100, height=100, isolated=False, **free)
    )


def aravis(path: Path) -> Camera:
    from drivers.cameras.aravis import AravisSettings, aravis_camera

    return aravis_camera(AravisSettings(address=ADDRESS, width=WIDTH, height=HEIGHT, isolated=False))


def aravis_free(path: Path) -> Camera:
    from drivers.cameras.aravis import AravisSettings, aravis_camera
    from drivers.cameras.genicam.settings import TriggerKind

    free = {"mode": Mode.FREE_RUNNING, "trigger": TriggerKind.OFF, "buffer_count": 64, "isolated": False}
    return aravis_camera(AravisSettings(address=ADDRESS, width=WIDTH, height=HEIGHT, **free))


needs_pylon = pytest.mark.skipif(
    importlib.util.find_spec("pypylon") is None, reason="pypylon is not installed"
)
needs_harvesters = pytest.mark.skipif(
    importlib.util.find_spec("genicam") is None, reason="harvesters is not installed"
)
needs_aravis = pytest.mark.skipif(bool(FAMILIES.entry("aravis").missing), reason="Aravis is not installed")
SHOWING = [pytest.param(simulated, id="simulated"), pytest.param(pylon, id="pylon", marks=needs_pylon)]
TRIGGERED = [*SHOWING, pytest.param(aravis, id="aravis", marks=needs_aravis)]
SHOWING_FILES = [
    pytest.param(folder, id="folder"),
    pytest.param(simulated_free, id="simulated-free"),
    pytest.param(pylon_free, id="pylon-free", marks=needs_pylon),
    *SHOWING,
]
EVERY = [
    *SHOWING_FILES,
    pytest.param(harvesters_free, id="harvesters-free", marks=needs_harvesters),
    pytest.param(aravis, id="aravis", marks=needs_aravis),
    pytest.param(aravis_free, id="aravis-free", marks=needs_aravis),
]


def picture(number: int) -> np.ndarray:
    """A picture that is like no other of the folder."""
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    for number in range(FILES):
        cv2.imwrite(str(path / f"{number}.tif"), picture(number))
    (path / "truth.jsonl").write_text("{}\n")
    return path


@pytest.fixture(scope="module")
def gige() -> Iterator[None]:
    with gige_camera(WIDTH, HEIGHT):
        yield


@pytest.fixture
def camera(
    request: pytest.FixtureRequest, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Camera]:
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    if request.param in (aravis, aravis_free):
        request.getfixturevalue("gige")
    made = request.param(pictures)
    yield made
    made.close()


def take(camera: Camera, count: int) -> list:
    frames = []
    for _ in range(count):
        camera.trigger(1.0)
        frames.append(camera.grab(1.0))
    return frames


showing_files = pytest.mark.parametrize("camera", SHOWING_FILES, indirect=True)
every = pytest.mark.parametrize("camera", EVERY, indirect=True)
showing = pytest.mark.parametrize("camera", SHOWING, indirect=True)
triggered = pytest.mark.parametrize("camera", TRIGGERED, indirect=True)


@showing_files
def test_frames_are_the_pictures_bit_for_bit_in_the_order_of_their_names(camera: Camera) -> None:
    camera.open()
    camera.arm()
    for number, frame in enumerate(take(camera, FILES + 2)):
        assert frame.complete
        assert not frame.problem
        assert frame.pixels.dtype == np.uint8
        np.testing.assert_array_equal(frame.pixels, picture(number % FILES))
        assert Path(frame.source).name == f"{number % FILES}.tif"


@every
def test_frame_ids_increase_from_zero_without_a_gap(camera: Camera) -> None:
    camera.open()
    camera.arm()
    frames = take(camera, 8)
    assert [frame.frame_id for frame in frames] == list(range(8))
    assert [frame.lost_before for frame in frames] == [0] * 8
    times = [frame.arrived_ns for frame in frames]
    assert times == sorted(times)


@every
def test_a_frame_owns_its_pixels(camera: Camera) -> None:
    camera.open()
    camera.arm()
    first = take(camera, 1)[0]
    first.pixels[0, 0] ^= 255
    kept = first.pixels.copy()
    take(camera, 3 * FILES)
    np.testing.assert_array_equal(first.pixels, kept)
    camera.close()
    np.testing.assert_array_equal(first.pixels, kept)


@showing_files
def test_a_frame_comes_unharmed_after_its_owner_wrote_into_the_one_before(camera: Camera) -> None:
    camera.open()
    camera.arm()
    for frame in take(camera, FILES):
        frame.pixels[:] = 7
    by_name = {Path(frame.source).name: frame.pixels for frame in take(camera, FILES)}
    for number in range(FILES):
        np.testing.assert_array_equal(by_name[f"{number}.tif"], picture(number))


@every
def test_a_camera_opens_again_after_close(camera: Camera) -> None:
    for _ in range(3):
        camera.open()
        camera.arm()
        assert take(camera, 1)[0].frame_id == 0
        camera.close()
        assert not camera.health().connected
    assert camera.health().delivered == 3
    assert camera.health().reopened == 2


@every
def test_a_camera_may_be_opened_while_it_is_open(camera: Camera) -> None:
    camera.open()
    camera.arm()
    take(camera, 1)
    camera.open()
    camera.arm()
    assert take(camera, 1)[0].complete


@every
def test_closing_twice_or_before_opening_is_no_error(camera: Camera) -> None:
    camera.close()
    camera.open()
    camera.close()
    camera.close()


@every
def test_arming_again_counts_frame_ids_from_zero(camera: Camera) -> None:
    camera.open()
    camera.arm()
    take(camera, 3)
    camera.disarm()
    camera.arm()
    assert [frame.frame_id for frame in take(camera, 2)] == [0, 1]


@every
def test_disarming_twice_is_no_error(camera: Camera) -> None:
    camera.open()
    camera.disarm()
    camera.arm()
    camera.disarm()
    camera.disarm()


@every
def test_a_camera_that_is_not_open_says_so(camera: Camera) -> None:
    for call in (camera.arm, lambda: camera.grab(0.1), lambda: camera.trigger(0.1)):
        with pytest.raises(CameraError, match="open"):
            call()


@every
def test_a_camera_that_is_not_armed_says_so(camera: Camera) -> None:
    camera.open()
    for call in (lambda: camera.grab(0.1), lambda: camera.trigger(0.1)):
        with pytest.raises(CameraError, match=r"arm\(\)"):
            call()


@every
def test_health_counts_what_was_delivered(camera: Camera) -> None:
    before = camera.health()
    assert not before.connected
    assert before.delivered == 0
    camera.open()
    camera.arm()
    take(camera, 4)
    health = camera.health()
    assert health.connected
    assert (health.delivered, health.lost, health.incomplete, health.reopened) == (4, 0, 0, 0)
    assert health.description


@showing_files
def test_a_camera_that_shows_files_says_that_no_part_stands_before_it(camera: Camera) -> None:
    camera.open()
    assert camera.health().simulated


@every
def test_a_camera_that_is_there_answers_the_probe(camera: Camera) -> None:
    camera.open()
    camera.probe()
    camera.arm()
    camera.probe()
    take(camera, 1)
    camera.probe()


@triggered
def test_without_a_trigger_there_is_a_timeout_and_the_camera_stays_usable(camera: Camera) -> None:
    camera.open()
    camera.arm()
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.05)
    assert camera.health().connected
    assert take(camera, 1)[0].frame_id == 0


@showing
def test_disarming_discards_the_frame_under_way(camera: Camera) -> None:
    camera.open()
    camera.arm()
    take(camera, 1)
    camera.trigger(1.0)
    camera.disarm()
    camera.arm()
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.1)
    frame = take(camera, 1)[0]
    assert frame.complete
    assert frame.frame_id == 0


@pytest.mark.parametrize("camera", [pytest.param(aravis, marks=needs_aravis)], indirect=True)
def test_the_frame_of_a_camera_that_remembers_a_trigger_past_its_stop_is_nobodys(camera: Camera) -> None:
    camera.open()
    camera.arm()
    take(camera, 1)
    camera.trigger(1.0)
    camera.disarm()
    camera.arm()
    left = []
    with suppress(CameraTimeoutError):
        while len(left) < 2:
            left.append(camera.grab(0.3))
    assert len(left) < 2, "none where the camera had exposed before it was stopped"
    for frame in left:
        assert not frame.complete
        assert "came without a trigger" in frame.problem


@triggered
def test_triggers_in_a_hurry_are_each_answered_by_a_frame(camera: Camera) -> None:
    camera.open()
    camera.arm()
    for _ in range(3):
        camera.trigger(1.0)
    assert [camera.grab(1.0).frame_id for _ in range(3)] == [0, 1, 2]


def test_a_finite_source_ends_with_an_error_of_its_own(pictures: Path) -> None:
    for camera in (
        FolderCamera(FolderSettings(path=pictures)),
        SimulatedCamera(SimulatedSettings(pool=pictures, rate_hz=0, repeat=False)),
        SimulatedCamera(SimulatedSettings(pool=pictures, repeat=False, mode=Mode.FREE_RUNNING)),
    ):
        camera.open()
        camera.arm()
        assert len(take(camera, FILES)) == FILES
        with pytest.raises(EndOfFramesError, match="5"):
            take(camera, 1)


@triggered
def test_the_moment_by_which_a_triggered_frame_was_exposed_lies_between_its_trigger_and_its_arrival(
    camera: Camera,
) -> None:
    camera.open()
    camera.arm()
    for _ in range(3):
        before = time.monotonic_ns()
        camera.wait_ready(1.0)
        camera.trigger(1.0)
        after = time.monotonic_ns()
        frame = camera.grab(1.0)
        assert frame.exposed_by_ns is not None
        assert before <= frame.exposed_by_ns <= after <= frame.arrived_ns


@every
def test_nobody_says_that_a_frame_was_exposed_after_it_arrived(camera: Camera) -> None:
    camera.open()
    camera.arm()
    for frame in take(camera, 3):
        assert frame.begun_by_ns <= frame.arrived_ns
