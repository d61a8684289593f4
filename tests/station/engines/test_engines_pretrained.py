"""The second network of an engine folder: its files, its recorded novelty, and its proof."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray

from deploy.engine_folder import SECOND, EngineDescription, record_again, write_engine_folder
from station.engines.folder import ManifestError, load_manifest, read_surface
from station.engines.interface import EngineError
from station.engines.pretrained import open_pretrained
from station.recipe import Recipe


def test_the_second_network_is_opened_proven_and_says_what_is_far(
    tiny_engine_with_second_network: Path, tiny_patches: NDArray[np.uint8]
) -> None:
    engine = open_pretrained(load_manifest(tiny_engine_with_second_network))
    far = engine.scores(tiny_patches[:5]).novelty
    assert far is not None
    expected = np.abs(tiny_patches[:5].mean(axis=(1, 2, 3)) / 255 - 0.45) / 0.25
    np.testing.assert_allclose(far, expected, atol=0.01)
    assert engine.info.digest == load_manifest(tiny_engine_with_second_network).pretrained.digest  # type: ignore[union-attr]
    engine.close()


def test_onnx_runtime_opens_it_where_openvino_is_absent(
    tiny_engine_with_second_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    engine = open_pretrained(load_manifest(tiny_engine_with_second_network))
    assert engine.info.backend == "onnxruntime-cpu"
    engine.close()


def test_an_engine_without_it_says_how_to_add_it(tiny_engine: Path) -> None:
    with pytest.raises(EngineError, match=r"has no network of pretrained .* --pretrained"):
        open_pretrained(load_manifest(tiny_engine))


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "engine.yaml"
    document = yaml.safe_load(path.read_text())
    change(document["pretrained_novelty"])
    path.write_text(yaml.safe_dump(document))
    return folder


def recorded(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The folder with other recorded novelty, its digest in engine.yaml right."""
    path = folder / "golden" / "pretrained.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return rewritten(folder, lambda section: section["golden"].update(sha256=digest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("golden"), r"pretrained_novelty\.golden"),
        (lambda s: s.pop("file"), r"pretrained_novelty\.file"),
        (
            lambda s: s["file"].update(path="gone.onnx"),
            r"\.file\.path: gone\.onnx is missing",
        ),
        (
            lambda s: s["file"].update(path="model.onnx"),
            r"\.file\.path: is .* the classifier",
        ),
        (lambda s: s["golden"].update(path="golden/gone.json"), "gone.json is missing"),
        (lambda s: s["file"].update(sha256="0" * 64), r"pretrained_novelty\.file\.sha256"),
        (lambda s: s.update(features="own"), r"pretrained_novelty\.features: is `own`"),
        (lambda s: s.update(tolerance=0.0), r"pretrained_novelty\.tolerance"),
        (lambda s: s.update(good_above=float("nan")), r"pretrained_novelty\.good_above"),
        (lambda s: s.update(threshold=1), r"pretrained_novelty\.threshold"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused_with_its_key(
    tiny_engine_with_second_network: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        load_manifest(rewritten(tiny_engine_with_second_network, change))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0] * 7, "has shape"),
        ([float("nan")] * 8, "not all numbers"),
        ([-1.0] * 8, "not all numbers"),
        (None, "has shape"),
    ],
)
def test_recorded_novelty_that_is_none_is_refused(
    tiny_engine_with_second_network: Path, values: object, message: str
) -> None:
    folder = recorded(tiny_engine_with_second_network, lambda table: table.update({"01-good.png": values}))
    with pytest.raises(ManifestError, match=rf"pretrained\.json.*{message}.*--pretrained"):
        load_manifest(folder)


def test_a_golden_part_without_recorded_novelty_is_named(tiny_engine_with_second_network: Path) -> None:
    folder = recorded(tiny_engine_with_second_network, lambda table: table.pop("02-bright.png"))
    with pytest.raises(ManifestError, match=r"lacks '02-bright\.png'"):
        load_manifest(folder)


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_network_that_does_not_say_what_was_recorded_of_any_golden_part_is_refused(
    tiny_engine_with_second_network: Path, at: str
) -> None:
    def change(table: dict[str, list[float]]) -> None:
        name = sorted(table)[0 if at == "first" else -1]
        table[name][3] += 0.2

    manifest = load_manifest(recorded(tiny_engine_with_second_network, change))
    with pytest.raises(EngineError, match=r"novelty\.onnx does not reproduce .* patch 3"):
        open_pretrained(manifest)


def test_a_network_of_another_shape_is_refused(tiny_engine_with_second_network: Path) -> None:
    folder = tiny_engine_with_second_network
    (folder / SECOND).write_bytes((folder / "model.onnx").read_bytes())
    digest = hashlib.sha256((folder / SECOND).read_bytes()).hexdigest()
    rewritten(folder, lambda section: section["file"].update(sha256=digest))
    with pytest.raises(EngineError, match="novelty"):
        open_pretrained(load_manifest(folder))


def test_a_network_that_gives_no_number_is_refused(tiny_engine_with_second_network: Path) -> None:
    folder = tiny_engine_with_second_network
    model = onnx.load(str(folder / SECOND))
    for tensor in model.graph.initializer:
        if tensor.name == "full":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(np.nan, np.float32), "full"))
    onnx.save(model, str(folder / SECOND))
    digest = hashlib.sha256((folder / SECOND).read_bytes()).hexdigest()
    rewritten(folder, lambda section: section["file"].update(sha256=digest))
    with pytest.raises(EngineError, match="gave"):
        open_pretrained(load_manifest(folder))


def test_golden_parts_that_are_recorded_again_keep_the_second_network_and_a_new_classifier_drops_it(
    tiny_engine_with_second_network: Path, tiny_recipe: Recipe
) -> None:
    folder = tiny_engine_with_second_network
    before = load_manifest(folder).pretrained
    after = record_again(folder, tiny_recipe).pretrained
    assert before is not None
    assert after is not None
    assert (after.described, after.digest, after.tolerance) == (
        before.described,
        before.digest,
        before.tolerance,
    )
    assert {name: values.tolist() for name, values in after.golden.items()} == {
        name: values.tolist() for name, values in before.golden.items()
    }
    manifest = load_manifest(folder)
    golden = [(part.truth, read_surface(manifest, part)) for part in manifest.golden]
    trained = replace(EngineDescription.of(manifest), pretrained=None)
    assert write_engine_folder(folder, trained, golden).pretrained is None
    assert not (folder / SECOND).exists()
