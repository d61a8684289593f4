"""A stereo rig at work: the station as a process, lamps on a wire, a camera that sees which one is lit."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.cameras.picture_files import write_image
from simulation.cell.process import CellProcess
from simulation.lights import SimulatedLights
from simulation.place import LitLamps
from station.journal.reading import JournalReader
from tests.conftest import TINY_CLASSES, TINY_PATCH, tiny_figures, tiny_network, tiny_surface
from tests.plant.conftest import CONFIG, RECIPE, SmallPlant
from tests.waiting import wait_for

OUTPUTS = (2, 1, 3)
PARTS = 6
STEREO = """
stereo:
  solver: lambert
  curvature_white: 0.5
  slope_white: 1.0
  texture_white: 255
  settle_ms: 0
  lamps:
    - {slant_deg: 30, azimuth_deg: 0, output: 2}
    - {slant_deg: 30, azimuth_deg: 120, output: 1}
    - {slant_deg: 30, azimuth_deg: 240, output: 3}
"""
LIT = RECIPE.replace("width: 32}", "width: 32, channels: 3}") + STEREO


@pytest.fixture(scope="module")
def lit_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny classifier, made by hand, on the mean of the texture; curvature and range do not matter."""
    import onnx
    from onnx import numpy_helper

    from deploy.engine_folder import EngineDescription, write_engine_folder
    from station.engines.manifest import EngineRules, PartFigures
    from station.recipe import PatchGrid, SurfaceSize

    folder = tmp_path_factory.mktemp("engines") / "tiny"
    folder.mkdir()
    model = tiny_network()
    (first,) = [one for one in model.graph.initializer if one.name == "first.w"]
    weights = numpy_helper.to_array(first)
    of_texture = np.concatenate([weights, np.zeros_like(weights), np.zeros_like(weights)], axis=1)
    first.CopyFrom(numpy_helper.from_array(of_texture, "first.w"))
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 3
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(folder / "model.onnx"))
    description = EngineDescription(
        name="tiny",
        network="tiny",
        description="Grey levels of the texture.",
        classes=TINY_CLASSES,
        surface=SurfaceSize(height=64, width=32, channels=3),
        patch=PatchGrid(size=TINY_PATCH),
        rules=EngineRules(),
        figures={"fp32": PartFigures(**tiny_figures())},
    )
    truths = [TINY_CLASSES[number % 3] for number in range(6)]
    golden = [(truth, _channels(tiny_surface(truth, number))) for number, truth in enumerate(truths)]
    write_engine_folder(folder, description, golden)
    return folder


def _channels(texture: np.ndarray) -> np.ndarray:
    """A flat surface (H, W, 3): texture, no slope, no curvature."""
    return np.stack([texture, np.zeros_like(texture), np.full_like(texture, 128)], axis=-1)


class Rig(SmallPlant):
    """A small plant with lamps; every third part is good, bright or dark."""

    lights: SimulatedLights

    def start_cell(self, **settings: Any) -> CellProcess:
        return super().start_cell(place=str(self.folder / "place"), verdict_ms=10_000.0, **settings)

    def exposures(self) -> list[dict[str, object]]:
        """The events of the journal that say which frames each part had."""
        with JournalReader(self.journal) as reader:
            return [dict(one.values) for one in reader.station_events(["frames"])]


@pytest.fixture
def rig(tmp_path: Path, lit_engine: Path) -> Iterator[Rig]:
    for name in ("recipes", "frames", "var"):
        (tmp_path / name).mkdir()
    shutil.copytree(lit_engine, tmp_path / "engines" / "tiny")
    (tmp_path / "recipes" / "tiny.yaml").write_text(LIT)
    for part in range(PARTS):
        lit = tiny_surface(TINY_CLASSES[part % 3], 50 + part) * np.cos(np.radians(30))
        for output in OUTPUTS:
            name = f"frame-{part:05d}-output-{output:02d}.png"
            write_image(tmp_path / "frames" / name, np.rint(lit).astype(np.uint8))
    with SimulatedLights("gardasoft", shown=LitLamps(tmp_path / "lit")) as lights:
        camera = "camera: {kind: simulated, pool: frames, place: place, lamps: lit}\n"
        old = "camera: {kind: folder, path: frames, repeat: true}\n"
        own = f"lights: {{kind: gardasoft, address: '{lights.address}', timeout_ms: 2000}}\n"
        # Generous, as a process may not run for a while on a busy machine: what is late is a fault.
        limits = "part_deadline_ms: 8000, grab_timeout_ms: 3000, in_place_ms: 1000, "
        config = CONFIG.replace(old, camera + own)
        config = config.replace("part_deadline_ms: 800, grab_timeout_ms: 300, ", limits)
        assert limits in config
        config = config.replace("save: none", "save: faults-and-rejects")
        config = config.replace("cache: var/cache}", "cache: var/cache, rare: var/rare}")
        (tmp_path / "station.yaml").write_text(config)
        rig = Rig(tmp_path)
        rig.lights = lights
        yield rig
        rig.close()


def test_parts_are_judged_under_all_their_lamps(rig: Rig) -> None:
    cell = rig.start_cell(parts=PARTS)
    code, out = rig.station_to_its_end("--parts", str(PARTS))
    assert code == 0, out
    cell.wait(10)
    records = rig.records()
    assert [records[part]["class_name"] for part in range(1, 7)] == ["good", "bright", "dark"] * 2
    assert {part["part_id"]: part["bin"] for part in cell.parts()} == {
        part: record["bin"] for part, record in records.items()
    }
    whole = {"lost_before": [0, 0, 0], "complete": [True, True, True]}
    assert [{**one, "frame_ids": len(one["frame_ids"])} for one in rig.exposures()] == [  # type: ignore[arg-type]
        whole | {"frame_ids": 3}
    ] * PARTS
    shown = rig.station_command("journal", "show", "1", "--journal", str(rig.journal))
    said = " ".join(shown.stdout.split())
    assert "frames complete [True, True, True], frame_ids [0, 1, 2], lost_before [0, 0, 0]" in said
    pictures = sorted(path.stem.rpartition("-part-")[2] for path in (rig.folder / "var/images").glob("*.jpg"))
    assert pictures == ["2-bright", "3-dark", "5-bright", "6-dark"]
    audited = rig.station_command("journal", "audit", "--journal", str(rig.journal))
    assert audited.returncode == 0, audited.stdout
    assert all(lamp.percent == 0 for lamp in rig.lights.lamps.values())


def test_no_part_is_accepted_while_a_lamp_is_not_confirmed(rig: Rig) -> None:
    cell = rig.start_cell(parts=0, rate_hz=10)
    station = rig.start_station()
    wait_for(lambda: len(cell.parts()) >= 4)
    rig.lights.faults.stuck = True
    until = len(cell.parts()) + 3  # what was in hand by then
    wait_for(lambda: len(cell.parts()) >= until + 6)
    dark = {part["part_id"] for part in cell.parts()[until:]}
    rig.lights.faults.stuck = False
    healed = len(cell.parts()) + 3
    wait_for(lambda: any(part["bin"] == 1 for part in cell.parts()[healed:]))
    code, out = rig.stop_station(station)
    assert code == 0, out
    records = rig.records()
    reasons = {records[part]["reason"] for part in dark}
    assert all(reason.startswith("F110 frame 1 of 3 (the lamp at output 2): ") for reason in reasons), reasons
    assert all(records[part["part_id"]]["outcome"] == "accept" for part in cell.parts() if part["bin"] == 1)


def test_check_lights_each_lamp_and_takes_a_picture_under_it(rig: Rig) -> None:
    rig.start_cell()
    config = str(rig.folder / "station.yaml")
    done = rig.station_command("check", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "light controllers found: ccs, gardasoft" in done.stdout
    assert "passed  lights: " in done.stdout
    assert "3 lamps lit one by one" in done.stdout
    switched = [line for line in rig.lights.heard if line.startswith("RS")]
    assert all(f"RS{output},100.0" in switched for output in OUTPUTS)
    rig.lights.faults.refuses = "1"
    done = rig.station_command("check", "--config", config)
    assert done.returncode == 1
    assert "FAILED  lights" in done.stdout
    assert "a parameter value is invalid" in done.stdout


def test_an_engine_of_grey_patches_is_refused_by_name(rig: Rig, tiny_engine_master: Path) -> None:
    shutil.rmtree(rig.folder / "engines" / "tiny")
    shutil.copytree(tiny_engine_master, rig.folder / "engines" / "tiny")
    rig.start_cell()
    code, out = rig.station_to_its_end("--parts", "1")
    assert code == 2
    assert "3 channel(s)" in out
    assert "1 channel(s)" in out


def test_inspect_takes_the_pictures_of_a_part_together_and_misses_none(rig: Rig) -> None:
    folder = rig.folder
    (folder / "frames" / "frame-00003-output-02.png").unlink()
    done = rig.station_command(
        "inspect",
        str(folder / "frames"),
        *("--recipe", "tiny", "--recipes", str(folder / "recipes"), "--engines", str(folder / "engines")),
        *("--backend", "onnxruntime-cpu", "--csv", str(folder / "out.csv")),
        *("--overlays", str(folder / "over")),
    )
    assert done.returncode == 3, done.stdout + done.stderr
    with (folder / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == ["good", "bright", "dark", "fault", "bright", "dark"]
    assert "2 frame(s), and the recipe needs 3: one for each lamp" in rows[3]["reason"]
    assert len(list((folder / "over").iterdir())) == 4
