"""An engine folder is written whole and read back as a station reads it."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from deploy.engine_folder import EngineDescription, write_engine_folder
from deploy.scoring import onnx_scorer
from station.engines.folder import load_manifest
from station.engines.interface import EngineError
from station.engines.manifest import EngineRules, Spread, UsualParts
from station.recipe import PatchGrid, SurfaceSize


@pytest.fixture
def description() -> EngineDescription:
    surface, patch = SurfaceSize(height=32, width=32), PatchGrid(size=16)
    return EngineDescription(
        "tiny", "tiny", "", ("good", "bright", "dark"), surface, patch, EngineRules(), {}
    )


@pytest.fixture
def folder(tiny_onnx: Path, tmp_path: Path) -> Path:
    place = tmp_path / "tiny"
    place.mkdir()
    shutil.copy(tiny_onnx, place / "model.onnx")
    return place


def _surface(level: int, other: int | None = None) -> np.ndarray:
    surface = np.full((32, 32), level, np.uint8)
    if other is not None:
        surface[:16, :16] = other
    return surface


GOLDEN = [("good", _surface(115)), ("bright", _surface(115, 240)), ("dark", _surface(115, 20))]


def test_a_written_folder_is_what_a_station_loads(folder: Path, description: EngineDescription) -> None:
    manifest = write_engine_folder(folder, description, GOLDEN)
    assert [part.name for part in manifest.golden] == ["01-good.png", "02-bright.png", "03-dark.png"]
    assert manifest.golden[1].scores["fp32"].shape == (4, 3)
    assert load_manifest(folder).digest == manifest.digest
    assert manifest.int8_refusal() == "the engine has no int8 file"


def test_writing_twice_leaves_the_same_folder(folder: Path, description: EngineDescription) -> None:
    first = write_engine_folder(folder, description, GOLDEN)
    second = write_engine_folder(folder, description, GOLDEN)
    assert first.digest == second.digest
    third = write_engine_folder(folder, description, GOLDEN[::-1])
    assert sorted(path.name for path in (folder / "golden").iterdir()) == [
        "01-dark.png",
        "02-bright.png",
        "03-good.png",
        "features.json",
        "scores.json",
    ]
    assert len(third.golden) == 3


def test_a_folder_without_a_golden_part_of_every_class_is_not_written(
    folder: Path, description: EngineDescription
) -> None:
    with pytest.raises(EngineError, match="no golden part of bright; give one of every class"):
        write_engine_folder(folder, description, [GOLDEN[0], GOLDEN[2]])
    assert not (folder / "engine.yaml").exists()


def test_a_golden_part_that_the_network_misjudges_is_refused(
    folder: Path, description: EngineDescription
) -> None:
    with pytest.raises(EngineError, match=r"01-dark\.png: the fp32 network takes it for bright"):
        write_engine_folder(folder, description, [("dark", _surface(115, 240)), *GOLDEN])


def test_a_golden_part_on_the_edge_between_two_classes_is_refused(
    folder: Path, description: EngineDescription
) -> None:
    with pytest.raises(EngineError, match="between two classes"):
        write_engine_folder(
            folder, replace(description, tolerance=0.05), [("good", _surface(115, 153)), *GOLDEN]
        )


def test_a_refused_golden_part_leaves_the_folder_as_it_was(
    folder: Path, description: EngineDescription
) -> None:
    before = write_engine_folder(folder, description, GOLDEN)
    with pytest.raises(EngineError, match="choose another golden part"):
        write_engine_folder(folder, description, [*GOLDEN, ("dark", _surface(115, 240))])
    assert load_manifest(folder).digest == before.digest


def test_a_refused_golden_part_leaves_networks_without_features_as_they_were(
    folder: Path, description: EngineDescription
) -> None:
    before = (folder / "model.onnx").read_bytes()
    with pytest.raises(EngineError, match="choose another golden part"):
        write_engine_folder(folder, description, [*GOLDEN, ("dark", _surface(115, 240))])
    assert (folder / "model.onnx").read_bytes() == before
    assert write_engine_folder(folder, description, GOLDEN).features == 8


def test_a_folder_written_from_its_own_manifest_is_the_same(tiny_engine: Path) -> None:
    before = load_manifest(tiny_engine)
    spread = Spread(mean=0.5, spread=0.1)
    usual = UsualParts(parts=9, brightness=spread, focus=spread, confidence=spread)
    golden = [(part.truth, cv2.imread(str(part.file), cv2.IMREAD_GRAYSCALE)) for part in before.golden]
    assert write_engine_folder(tiny_engine, EngineDescription.of(before), golden).digest == before.digest
    known = write_engine_folder(tiny_engine, replace(EngineDescription.of(before), usual=usual), golden)
    again = write_engine_folder(tiny_engine, EngineDescription.of(known), golden)
    assert (again.digest, again.usual) == (known.digest, usual)


def test_a_folder_without_a_network_is_refused(tmp_path: Path, description: EngineDescription) -> None:
    with pytest.raises(EngineError, match=r"has no model\.onnx"):
        write_engine_folder(tmp_path, description, [])


def test_the_network_is_left_readable_for_tensorrt(folder: Path, description: EngineDescription) -> None:
    write_engine_folder(folder, description, GOLDEN)
    model = onnx.load(str(folder / "model.onnx"))
    assert [node.op_type for node in model.graph.node if "patches" in node.input] == ["Cast"]


def test_a_network_whose_weights_lie_elsewhere_is_refused_before_it_is_loaded(
    folder: Path, description: EngineDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    monkeypatch.chdir(folder)
    onnx.save(model, "model.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(EngineError, match=r"model\.onnx: tensor 'full': lies in another file"):
        write_engine_folder(folder, description, GOLDEN)
    with pytest.raises(EngineError, match="lies in another file"):
        onnx_scorer(folder / "model.onnx")
    with pytest.raises(EngineError, match=r"none\.onnx cannot be read"):
        onnx_scorer(folder / "none.onnx")
