"""An engine that says how far a patch is from what it was trained on, and one that knows good parts only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray

from deploy.engine_folder import EngineDescription, write_engine_folder
from drivers.sorters.interface import Outcome
from station.decision import decide
from station.engines import open_engine
from station.engines.canary import Canary
from station.engines.folder import ManifestError, load_manifest
from station.engines.interface import Engine, EngineError, Scores
from station.engines.manifest import EngineRules, Novelty
from station.engines.prove import prove
from station.patching import cut_surface
from station.recipe import PatchGrid, Recipe, SurfaceSize, load_recipe
from tests.conftest import (
    TINY_CLASSES,
    TINY_PATCH,
    TINY_RECIPE,
    tiny_network_of_one_class,
    tiny_network_with_novelty,
    tiny_surface,
)

BACKENDS = ["onnxruntime-cpu", "openvino"]
NOVELTY = Novelty(method="mean-level", features="own", good_parts=50, good_above=0.02)
STRICT = EngineRules(unknown="reject")


def described(classes: tuple[str, ...], rules: EngineRules) -> EngineDescription:
    return EngineDescription(
        name="tiny",
        network="tiny",
        description="Grey levels.",
        classes=classes,
        surface=SurfaceSize(height=64, width=32),
        patch=PatchGrid(size=TINY_PATCH),
        rules=rules,
        figures={},
        novelty=NOVELTY,
    )


def golden(*truths: str) -> list[tuple[str, NDArray[np.uint8]]]:
    """Golden parts of these truths; one that is unknown is bright."""
    seen = [(truth, "bright" if truth == "unknown" else truth) for truth in truths]
    return [(truth, tiny_surface(kind, number)) for number, (truth, kind) in enumerate(seen)]


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """An engine of three classes with novelty."""
    folder = tmp_path / "engines" / "tiny"
    folder.mkdir(parents=True)
    onnx.save(tiny_network_with_novelty(), str(folder / "model.onnx"))
    write_engine_folder(folder, described(TINY_CLASSES, EngineRules()), golden(*TINY_CLASSES * 2))
    return folder


@pytest.fixture
def good_only(tmp_path: Path) -> Path:
    """An engine of one class."""
    folder = tmp_path / "engines" / "tiny"
    folder.mkdir(parents=True)
    onnx.save(tiny_network_of_one_class(), str(folder / "model.onnx"))
    write_engine_folder(folder, described(("good",), STRICT), golden("good", "unknown", "good"))
    return folder


def recipe_of(
    tmp_path: Path, classes: tuple[str, ...], decision: str = "{unknown: reject, unknown_bin: 4}"
) -> Recipe:
    lines = [f"  - {{name: {name}, bin: {number + 1}}}" for number, name in enumerate(classes)]
    head, _, foot = TINY_RECIPE.partition("  - {name: good, bin: 1}")
    text = head + "\n".join(lines) + "\ndecision: " + decision + foot[foot.index("\nfault_bin") :]
    (tmp_path / "tiny.yaml").write_text(text)
    return load_recipe(tmp_path / "tiny.yaml")


class Changed(Engine):
    """A real engine whose scores a test changes."""

    def __init__(self, inner: Engine, change: Callable[[Scores], Scores]) -> None:
        self.inner, self.info, self.change = inner, inner.info, change

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        return self.change(self.inner.scores(patches, timeout_s))

    def close(self) -> None:
        self.inner.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_back_end_gives_the_novelty_of_every_patch(
    far: Path, tiny_patches: NDArray[np.uint8], backend: str, tmp_path: Path
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    engine = open_engine(far, backend, "fp32", chunk=4, cache=tmp_path / "cache")
    assert engine.info.novelty
    expected = np.abs(tiny_patches.mean(axis=(1, 2, 3)) / 255 - 0.45) / 0.25
    for count in (1, 5, len(tiny_patches)):
        found = engine.scores(tiny_patches[:count]).novelty
        assert found is not None
        assert (found.shape, found.dtype) == ((count,), np.float32)
        np.testing.assert_allclose(found, expected[:count], atol=0.01)
    engine.close()


def test_an_engine_without_it_gives_none(
    tiny_engine_master: Path, tiny_patches: NDArray[np.uint8], tmp_path: Path
) -> None:
    engine = open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path)
    assert (engine.info.novelty, engine.scores(tiny_patches).novelty) == (False, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda scores: replace(scores, novelty=None),
        lambda scores: replace(scores, novelty=scores.novelty + np.float32(0.5)),
        lambda scores: replace(scores, novelty=scores.novelty * 0),
        lambda scores: replace(scores, novelty=scores.novelty * np.float32("nan")),
        lambda scores: replace(scores, novelty=scores.novelty[1:]),
    ],
    ids=["none", "shifted", "nothing", "not a number", "too few"],
)
def test_proof_and_canary_find_another_novelty(
    far: Path, tmp_path: Path, change: Callable[[Scores], Scores]
) -> None:
    manifest = load_manifest(far)
    opened = open_engine(far, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache")
    assert prove(opened, manifest).passed
    wrong = Changed(opened, change)
    assert not prove(wrong, manifest).passed
    now = [0.0]
    recipe = recipe_of(tmp_path, TINY_CLASSES, "{temperature: 1.0}")
    canary = Canary(wrong, manifest, recipe, 60.0, lambda: now[0])
    for _ in range(600):
        now[0] += 0.5
        canary.step(part_waits=False)
    assert canary.problem


def test_a_recipe_may_reject_what_the_engine_does_not_know(far: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, TINY_CLASSES)
    engine = open_engine(far, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache", recipe=recipe)
    surface = tiny_surface("good", 5)
    surface[:16, :16] = 145  # 0.57: not bright yet, and far from the usual 0.45 only by a closer look
    found = engine.scores(cut_surface(surface[..., None], recipe.patch))
    assert decide(found.probabilities, recipe, found.novelty).outcome is Outcome.ACCEPT
    far_off = np.array([3.0, *[0.0] * 7], np.float32)
    assert decide(found.probabilities, recipe, far_off).class_name == "unknown"


def test_a_recipe_that_rejects_what_is_unknown_is_refused_for_an_engine_without_novelty(
    tiny_engine: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path, TINY_CLASSES)
    with pytest.raises(EngineError, match=r"line 12: decision\.unknown: is `reject`.*retrain novelty"):
        open_engine(tiny_engine, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache", recipe=recipe)


def test_an_engine_that_knows_good_parts_only_is_proven_and_rejects_the_rest(
    good_only: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path, ("good",))
    engine = open_engine(good_only, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache", recipe=recipe)
    manifest = load_manifest(good_only)
    assert {part.truth for part in manifest.one_of_each_class()} == {"good", "unknown"}
    for kind, outcome in (("good", Outcome.ACCEPT), ("dark", Outcome.REJECT), ("bright", Outcome.REJECT)):
        found = engine.scores(cut_surface(tiny_surface(kind, 77)[..., None], recipe.patch))
        assert decide(found.probabilities, recipe, found.novelty).outcome is outcome
    nothing_is_far = Changed(engine, lambda scores: replace(scores, novelty=scores.novelty * 0))
    report = prove(nothing_is_far, manifest, recipe)
    assert any("taken for good" in failure for failure in report.failures)


def rewritten(folder: Path, change: Callable[[dict], object]) -> Path:
    path = folder / "engine.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["rules"].update(unknown="report"), "nothing would ever be rejected|unknown truth"),
        (lambda d: d.pop("novelty"), "novelty: is missing"),
        (lambda d: d["golden"].pop("novelty"), r"golden\.novelty: is missing"),
        (lambda d: d["golden"]["parts"].pop(1), "no part of class 'unknown'"),
        (lambda d: d.update(classes=["unknown"]), "another name"),
        (lambda d: d["golden"].update(novelty_tolerance=0.9), "novelty_tolerance"),
        (lambda d: d["novelty"].update(good_parts=0), "good_parts"),
    ],
)
def test_an_engine_of_one_class_that_could_not_be_proven_is_refused(
    good_only: Path, change: Callable[[dict], object], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        load_manifest(rewritten(good_only, change))


@pytest.mark.parametrize("values", [[0.0] * 7, [0.0] * 7 + ["x"], [-1.0] * 8, [float("nan")] * 8, None])
def test_recorded_novelty_that_is_none_is_refused(good_only: Path, values: object) -> None:
    path = good_only / "golden" / "novelty.json"
    tables = json.loads(path.read_text())
    tables["fp32"]["02-unknown.png"] = values
    path.write_text(json.dumps(tables))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ManifestError, match="record the golden parts again"):
        load_manifest(rewritten(good_only, lambda d: d["golden"]["novelty"].update(sha256=digest)))


def test_a_golden_part_at_the_threshold_is_refused(good_only: Path) -> None:
    nearly = tiny_surface("good", 3)
    nearly[:16, :16] = round(255 * (0.45 + 0.25 * 1.03))
    with pytest.raises(EngineError, match="lies at the threshold"):
        write_engine_folder(
            good_only, described(("good",), STRICT), [*golden("good", "unknown"), ("unknown", nearly)]
        )


def test_novelty_that_nobody_explains_is_refused(far: Path) -> None:
    manifest = load_manifest(far)
    with pytest.raises(EngineError, match="does not explain"):
        write_engine_folder(far, replace(EngineDescription.of(manifest), novelty=None), golden(*TINY_CLASSES))
