"""A GenTL producer with a camera of the plant behind it, as the station's own driver finds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.cameras import FAMILIES
from drivers.cameras.harvesters import HarvestersSettings, harvesters_camera
from drivers.cameras.interface import Camera, CameraLostError, CameraTimeoutError, Frame
from simulation.campaign.cameras import GentlCamera
from simulation.place import EMPTY, Place
from simulation.switchboard import Switchboard

if FAMILIES.entry("harvesters").missing:
    pytest.skip("harvesters is not installed", allow_module_level=True)

SHAPE = (64, 80)


class Plant:
    """A camera and what it sees: three pictures that are alike all over."""

    def __init__(self, folder: Path) -> None:
        (folder / "pool").mkdir()
        for number in range(3):
            np.save(folder / "pool" / f"{number}.npy", np.full(SHAPE, 50 * (number + 1), np.uint8))
        self.place, self.switches = Place(folder / "cell.place"), Switchboard(folder / "switches")
        self.switches.set({})
        self.log = folder / "camera.jsonl"
        self.made = GentlCamera(folder)

    def logged(self) -> list[tuple[int, int, str]]:
        """What it has written down, and forgets."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return [(line["part_id"], line["frame_id"], line["spoilt"]) for line in lines]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("plant")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plant = Plant(folder)
        for name, value in plant.made.environment.items():
            patch.setenv(name, value)
        plant.made.camera.start()
        yield plant
        plant.made.close()


@pytest.fixture
def camera(plant: Plant) -> Iterator[Camera]:
    plant.switches.set({})
    plant.place.put(EMPTY)
    settings = HarvestersSettings(producer=Path("plant.cti").absolute(), serial="1", isolated=False)
    camera = harvesters_camera(settings)
    camera.open()
    camera.arm()
    yield camera
    camera.close()


def shoot(camera: Camera) -> Frame:
    camera.trigger(2.0)
    return camera.grab(2.0)


def test_a_frame_answers_its_software_trigger_and_shows_the_part_that_lies_there(
    plant: Plant, camera: Camera
) -> None:
    seen = []
    for part in (1, 2, 6):
        plant.place.put(part)
        frame = shoot(camera)
        assert frame.complete
        assert frame.pixels.shape == SHAPE
        seen.append((frame.frame_id, int(frame.pixels[5, 5])))
    assert seen == [(0, 50), (1, 100), (2, 150)]
    assert not np.array_equal(shoot(camera).pixels, frame.pixels)  # a sensor never sees the same twice
    camera.disarm()
    camera.arm()
    assert shoot(camera).frame_id == 0
    assert plant.logged() == [(1, 0, ""), (2, 1, ""), (6, 2, ""), (6, 3, ""), (6, 0, "")]


def test_a_short_frame_is_incomplete_and_the_cameras_log_says_so(plant: Plant, camera: Camera) -> None:
    plant.logged()
    plant.switches.set({"gentl-short": 1})
    assert not shoot(camera).complete
    assert plant.logged() == [(0, 0, "gentl-short")]


def test_a_trigger_that_reaches_no_sensor_is_a_timeout_and_the_camera_stays(
    plant: Plant, camera: Camera
) -> None:
    plant.switches.set({"gentl-silent": 1})
    camera.trigger(2.0)
    with pytest.raises(CameraTimeoutError):
        camera.grab(0.1)
    plant.switches.set({})
    camera.disarm()
    camera.arm()
    assert shoot(camera).complete


def test_a_camera_without_power_is_lost_and_comes_back(plant: Plant, camera: Camera) -> None:
    shoot(camera)
    plant.made.camera.kill()
    with pytest.raises(CameraLostError):
        camera.probe()
    camera.close()
    with pytest.raises(CameraLostError):
        camera.open()
    plant.made.camera.start()
    camera.open()
    camera.arm()
    assert shoot(camera).frame_id == 0
