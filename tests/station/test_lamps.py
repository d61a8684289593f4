"""Lamps in the configuration: what a recipe needs of them, and what of them can be simulated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.cameras.interface import CameraConfigError
from drivers.lights import CONTROLLERS
from drivers.lights.ccs import CcsSettings
from drivers.lights.gardasoft import GardasoftSettings
from simulation.camera import SimulatedCamera, SimulatedSettings
from simulation.lights import SimulatedLights
from simulation.place import LitLamps, Place
from station.assembly import load
from station.config import ConfigError, load_config
from station.lighting import Lighting
from station.recipe import load_recipe
from station.running import lamps_missing
from tests.station.test_recipe import LIT

ROOT = Path(__file__).parents[2]
DEMO = (ROOT / "config" / "demo.yaml").read_text().replace("../recipes", str(ROOT / "recipes"))
SIMULATED = DEMO.replace("kind: pylon", "kind: simulated").replace("  trigger: software\n", "")
SIMULATED = "".join(line for line in SIMULATED.splitlines(keepends=True) if "emulation:" not in line)
LIGHTS = "lights: {kind: gardasoft, address: 'tcp://127.0.0.1:30313'}\n"


@pytest.fixture
def lit_recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "servo-motor-housing.yaml").write_text(LIT)
    return folder


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "station.yaml"
    path.write_text(text)
    return path


def test_a_light_controller_is_a_section_by_its_kind(tmp_path: Path) -> None:
    config = load_config(file(tmp_path, DEMO + LIGHTS))
    assert isinstance(config.lights, GardasoftSettings)
    ccs = load_config(
        file(tmp_path, DEMO + "lights: {kind: ccs, address: /dev/ttyUSB0, channels: 8}\n")
    ).lights
    assert isinstance(ccs, CcsSettings)
    assert ccs.channels == 8
    assert load_config(file(tmp_path, DEMO)).lights is None
    with pytest.raises(ConfigError, match=r"lights\.kind: 'gardasof' is not known: did you mean `gardasoft`"):
        load_config(file(tmp_path, DEMO + LIGHTS.replace("gardasoft", "gardasof")))


def test_all_that_keeps_a_recipes_lamps_dark_is_said_at_once(tmp_path: Path, lit_recipes: Path) -> None:
    recipe = load_recipe(lit_recipes / "servo-motor-housing.yaml")
    config = load_config(file(tmp_path, DEMO))
    assert [one.key for one in lamps_missing(config, recipe)] == ["lights"]
    few = load_config(file(tmp_path, DEMO + LIGHTS.replace("}", ", channels: 2, max_percent: 50}")))
    assert [one.key for one in lamps_missing(few, recipe)] == [
        "lights.max_percent", "lights.max_percent",
        "lights.channels", "lights.max_percent", "lights.channels", "lights.max_percent",
    ]  # fmt: skip
    assert lamps_missing(load_config(file(tmp_path, DEMO + LIGHTS)), recipe) == []
    assert lamps_missing(config, load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")) == []


def test_a_camera_that_exposes_by_itself_cannot_be_lit_lamp_by_lamp(
    tmp_path: Path, lit_recipes: Path
) -> None:
    recipe = load_recipe(lit_recipes / "servo-motor-housing.yaml")
    wired = DEMO.replace("trigger: software", "trigger: hardware")
    wired = "".join(line for line in wired.splitlines(keepends=True) if "emulation:" not in line)
    found = lamps_missing(load_config(file(tmp_path, wired + LIGHTS)), recipe)
    assert [(one.key, one.remedy) for one in found] == [("camera.trigger", "write `trigger: software`")]


def test_a_station_without_lights_does_not_start_with_such_a_recipe(
    tmp_path: Path, lit_recipes: Path
) -> None:
    text = DEMO.replace(str(ROOT / "recipes"), str(lit_recipes))
    with pytest.raises(ConfigError, match="lights: is missing, and the recipe servo-motor-housing lights"):
        load(file(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SIMULATED.replace("simulation:", "simulation:\n  lights: true"), "simulation.lights: is true, and"),
        (
            SIMULATED.replace("simulation:", "simulation:\n  lights: true")
            + LIGHTS.replace("127.0.0.1", "10.0.0.7"),
            "lights.address: is tcp://10.0.0.7:30313, where no simulated controller can be",
        ),
        (
            DEMO.replace("simulation:", "simulation:\n  lights: true") + LIGHTS,
            "simulation.lights: is true, and only a simulated camera",
        ),
    ],
)
def test_lights_that_nobody_would_see_are_not_simulated(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file(tmp_path, text))
    assert says in str(caught.value)


class Plant:
    """A simulated controller, a simulated camera that sees its lamps, and two parts of three pictures."""

    def __init__(self, folder: Path, lights: SimulatedLights) -> None:
        self.lights = lights
        self.place = Place(folder / "place")
        pool = folder / "pool"
        pool.mkdir()
        for part in range(2):
            for output in (1, 2, 4):
                level = np.full((40, 30), 40 * part + 10 * output, np.uint8)
                np.save(pool / f"frame-{part:05d}-output-{output:02d}.npy", level)
        self.camera = SimulatedCamera(
            SimulatedSettings(pool=pool, place=folder / "place", lamps=folder / "lamps")
        )
        self.camera.open()
        self.camera.arm()

    def seen(self) -> set[int]:
        """The grey levels of the next picture."""
        self.camera.trigger(1)
        return set(np.unique(self.camera.grab(1).pixels).tolist())


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with SimulatedLights("gardasoft", shown=LitLamps(tmp_path / "lamps")) as lights:
        yield Plant(tmp_path, lights)


def test_a_simulated_camera_sees_the_part_under_the_lamps_that_are_lit(
    plant: Plant, lit_recipes: Path
) -> None:
    controller = CONTROLLERS.make(GardasoftSettings(address=plant.lights.address, timeout_ms=500))
    lighting = Lighting(controller)
    lighting.open()
    plant.place.put(2)
    assert plant.seen() == {0}, "all lamps are off"
    stereo = load_recipe(lit_recipes / "servo-motor-housing.yaml").stereo
    assert stereo is not None
    levels = []
    for lamp in (stereo.lamps[number] for number in (0, 1, 3)):
        lighting.only(lamp, stereo)
        levels.append(plant.seen())
    assert levels == [{50}, {60}, {80}]
    plant.lights.lamps[1].percent = 100
    plant.lights.lamps[2].percent = 100
    controller.read(1)  # the camera looks at what the controller does next
    assert plant.seen() == {190}, "three lamps together"
    plant.place.put(0)
    assert plant.seen() == {0}, "no part lies there"
    lighting.close()


def test_a_pool_without_lamps_is_no_pool_for_a_camera_that_sees_them(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    np.save(tmp_path / "pool" / "frame-00000.npy", np.zeros((40, 30), np.uint8))
    given = {"pool": tmp_path / "pool", "place": tmp_path / "place", "lamps": tmp_path / "lamps"}
    with pytest.raises(CameraConfigError, match="do not say which lamp lit them"):
        SimulatedCamera(SimulatedSettings(**given)).open()
    with pytest.raises(CameraConfigError, match="name the part's `place`, too"):
        SimulatedCamera(SimulatedSettings(pool=tmp_path / "pool", lamps=tmp_path / "lamps"))
