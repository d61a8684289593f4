"""A configuration's values reach the devices they are meant for."""

from __future__ import annotations

import importlib.util
import logging
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from drivers.cameras.pylon import PylonSettings
from drivers.cameras.settings import Mode
from drivers.registry import RegistryError
from simulation.camera import SimulatedCamera
from station.assembly import line_settings, load, make_camera, make_sorter
from station.config import load_config
from station.simulated_plant import cell_settings

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config" / "demo.yaml"


def test_the_simulated_cell_gets_the_recipes_bins_and_the_stations_port() -> None:
    config, recipe = load(DEMO)
    cell = cell_settings(config, recipe, 25)
    assert (cell.good_bin, cell.reject_bin) == (recipe.classes[0].bin, recipe.fault_bin)
    assert cell.link == config.sorter.port
    assert cell.parts == 25
    assert cell.verdict_ms > config.limits.part_deadline_ms


def test_the_simulated_cell_waits_for_a_station_whose_first_start_takes_minutes() -> None:
    config, recipe = load(ROOT / "config" / "demo.yaml")
    assert cell_settings(config, recipe, None).give_up_s == 0.0  # never; it ends with its parent


def test_the_sorter_knows_whether_the_parts_are_simulated() -> None:
    config = load_config(DEMO)
    assert make_sorter(config).is_simulated
    real = config.model_copy(update={"simulation": None, "camera": PylonSettings()})
    assert not make_sorter(real).is_simulated


def test_the_limits_reach_the_line_in_seconds() -> None:
    settings = line_settings(load_config(DEMO))
    assert settings.mode is Mode.CELL
    assert settings.deadline_s == 2.0
    assert settings.grab_timeout_s == 1.0


def test_without_pypylon_the_demo_falls_back_to_the_simulated_camera_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec

    def absent(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "pypylon" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with caplog.at_level(logging.WARNING):
        camera = make_camera(load_config(DEMO))
    assert isinstance(camera, SimulatedCamera)
    assert "pypylon is not installed" in caplog.text


def test_a_real_basler_camera_is_never_replaced_by_a_simulated_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = DEMO.read_text().replace("  emulation: ../var/pool", "  #")
    text = text[: text.index("simulation:")]
    (tmp_path / "station.yaml").write_text(text)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    with pytest.raises(RegistryError, match=r"'pylon': pypylon is not installed; pip install .*\[pylon\]"):
        make_camera(load_config(tmp_path / "station.yaml"))
