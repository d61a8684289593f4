"""An engine is proven on the patches that its recipe cuts and by the rules that its recipe decides with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from deploy.engine_folder import record_again
from drivers.cameras.picture_files import read_image
from drivers.sorters.interface import Outcome
from station.decision import decide
from station.engines import open_engine
from station.engines.choose import open_chosen
from station.engines.folder import load_manifest, read_golden
from station.engines.interface import EngineError, EngineOptions
from station.engines.prove import prove
from station.patching import cut
from station.recipe import PatchGrid, Recipe


def _with(recipe: Recipe, **rules: dict[str, float]) -> Recipe:
    classes = tuple(entry.model_copy(update=rules.get(entry.name, {})) for entry in recipe.classes)
    return recipe.model_copy(update={"classes": classes})


def _says_good(monkeypatch: pytest.MonkeyPatch, index: int = 0) -> None:
    """From now on ONNX Runtime is sure that every patch is of one class; its features stay right."""
    run = onnxruntime.InferenceSession.run

    def broken(self, outputs, inputs, options=None):
        values = run(self, outputs, inputs, options)
        values[0] = np.eye(3, dtype=np.float32)[np.full(len(values[0]), index)]
        return values

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", broken)


def test_an_engine_opens_for_the_recipe_that_it_was_proven_with(
    tiny_engine_master: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    engine = open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path, recipe=tiny_recipe)
    dark = read_image(load_manifest(tiny_engine_master).golden[2].file)
    patches = cut(dark, tiny_recipe)
    verdict = decide(engine.scores(patches.pixels).probabilities, tiny_recipe)
    assert (verdict.outcome, verdict.class_name) == (Outcome.REJECT, "dark")


@pytest.mark.parametrize("overlap", [0, 8])
def test_golden_parts_are_cut_as_the_line_cuts_them_overlap_included(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path, overlap: int
) -> None:
    """A recipe with an overlap was proven on other patches than the line cuts."""
    other = tiny_recipe.model_copy(update={"patch": PatchGrid(size=16, overlap_px=overlap)})
    before = load_manifest(tiny_engine)
    manifest = record_again(tiny_engine, other)
    assert [part.name for part in manifest.golden] == [part.name for part in before.golden]
    assert manifest.digests == before.digests
    for part in manifest.golden:
        patches = cut(read_image(part.file), other).pixels
        assert len(patches) == other.patch_count == len(part.scores["fp32"])
        assert np.array_equal(read_golden(manifest, part), patches)
    open_engine(tiny_engine, "onnxruntime-cpu", "fp32", cache=tmp_path / "c", recipe=other).close()


def test_a_recipe_that_cuts_other_patches_is_refused_with_both_grids_and_a_remedy(
    tiny_engine_master: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    other = tiny_recipe.model_copy(update={"patch": PatchGrid(size=16, overlap_px=8)})
    grids = r"proven on 8 patches of 16 px on .*cuts 21 patches of 16 px with 8 px overlap .*`retrain golden"
    with pytest.raises(EngineError, match=grids):
        open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path, recipe=other)


def test_golden_parts_are_not_recorded_for_another_size_of_surface(
    tiny_engine: Path, tiny_recipe: Recipe
) -> None:
    taller = tiny_recipe.surface.model_copy(update={"height": 80})
    with pytest.raises(EngineError, match="surfaces of 64 x 32 px, recipe tiny makes 80 x 32; choose"):
        record_again(tiny_engine, tiny_recipe.model_copy(update={"surface": taller}))


def test_a_recipe_of_other_classes_is_refused(
    tiny_engine_master: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    other = tiny_recipe.model_copy(update={"classes": tiny_recipe.classes[::-1]})
    with pytest.raises(EngineError, match="names and order must be the same"):
        open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path, recipe=other)


@pytest.mark.parametrize("always", [0, 1])
def test_an_engine_that_says_one_class_to_everything_fails_at_a_remembered_start_too(
    tiny_engine_master: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    always: int,
) -> None:
    options = EngineOptions(cache=tmp_path)
    engine, _ = open_chosen(tiny_engine_master, "onnxruntime-cpu", "fp32", options, tiny_recipe)
    engine.close()
    _says_good(monkeypatch, always)
    with pytest.raises(EngineError, match="does not reproduce the golden parts"):
        open_chosen(tiny_engine_master, "onnxruntime-cpu", "fp32", options, tiny_recipe)


def test_a_network_that_was_recorded_saying_good_to_everything_fails(
    tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores are those that were recorded; only the truth of its golden parts speaks against it."""
    manifest = load_manifest(tiny_engine)
    engine = open_engine(tiny_engine, "onnxruntime-cpu", "fp32", cache=tmp_path / "c")
    _says_good(monkeypatch)
    sure = np.tile(np.array([1, 0, 0], np.float32), (8, 1))
    recorded = tuple(replace(part, scores={"fp32": sure}) for part in manifest.golden)
    report = prove(engine, replace(manifest, golden=recorded))
    assert not report.passed
    assert report.right == 4
    assert "02-bright.png: taken for good, it is bright" in report.failures


def test_a_recipe_whose_threshold_splits_fp32_from_this_back_end_does_not_start(
    tiny_engine_master: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """Within the tolerance of every probability, and yet another verdict by the recipe's rules."""
    int8 = open_engine(tiny_engine_master, "onnxruntime-cpu", "int8", cache=tmp_path)
    manifest = load_manifest(tiny_engine_master)
    part = manifest.golden[0]
    found, fp32 = int8.probabilities(read_golden(manifest, part))[:, 1], part.scores["fp32"][:, 1]
    assert found.max() != fp32.max()
    between = float(found.max() + fp32.max()) / 2
    split = _with(tiny_recipe, bright={"threshold": between})
    assert prove(int8, manifest).passed
    assert not prove(int8, manifest, split).passed
    with pytest.raises(EngineError, match=r"taken for \w+, fp32 takes it for \w+"):
        open_engine(tiny_engine_master, "onnxruntime-cpu", "int8", cache=tmp_path, recipe=split)


def test_a_recipe_that_accepts_a_defective_golden_part_does_not_start(
    tiny_engine_master: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    soft = tiny_recipe.decision.model_copy(update={"temperature": 20.0})
    lenient = _with(tiny_recipe, dark={"release_below": 0.95}).model_copy(update={"decision": soft})
    accepted = r"03-dark\.png: accepted by the recipe although it is dark; lower `release_below` of dark"
    with pytest.raises(EngineError, match=accepted):
        open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path, recipe=lenient)


def test_other_decision_rules_are_proven_with_all_golden_parts_again(
    tiny_engine_master: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    def measured(prepared: Recipe) -> bool:
        options = EngineOptions(cache=tmp_path)
        engine, choice = open_chosen(tiny_engine_master, "onnxruntime-cpu", "fp32", options, prepared)
        engine.close()
        return choice.measured_now

    assert measured(tiny_recipe)
    assert not measured(tiny_recipe)
    assert measured(_with(tiny_recipe, dark={"threshold": 0.4}))


def test_features_that_a_device_computes_otherwise_fail_the_proof(
    tiny_engine_master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = onnxruntime.InferenceSession.run

    def shifted(self, outputs, inputs, options=None):
        values = run(self, outputs, inputs, options)
        values[1] = np.roll(values[1], 1, axis=1)
        return values

    engine = open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path)
    assert prove(engine, load_manifest(tiny_engine_master)).passed
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", shifted)
    report = prove(engine, load_manifest(tiny_engine_master))
    assert "the features of patch" in report.failures[0]
