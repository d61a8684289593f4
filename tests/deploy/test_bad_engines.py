"""Bad engines on their way home: each is stopped at a gate with a name, and none of them judges a part."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from deploy.bundle import open_bundle, write_bundle
from drivers.errors import InspectionError
from station.engines.interface import EngineOptions
from station.engines.proof import Limits, Proof, begun_proof, prove_engine, read_proof, write_proof
from station.engines.states import EngineState, Provenance, StoreError
from station.engines.store import Store, install
from station.recipe import Recipe
from station.signing import own_key
from tests.conftest import tiny_surface
from tests.station.engines.engine_store import engine, network

LIMITS = Limits(deadline_ms=5000.0, memory_mb=2000.0)


@pytest.fixture
def station(tiny_engine: Path, tmp_path: Path) -> Store:
    """A station whose factory engine is a good one."""
    return Store(tiny_engine.parent, "tiny")


def slow_network():
    """The same verdicts after 150 million more multiplications per part."""
    from onnx import helper, numpy_helper

    model = network()
    graph, before = model.graph, "scaled"
    softmax = graph.node.pop()
    for number in range(3):
        channels = 1 if number == 0 else 64
        weights = np.zeros((64, channels, 3, 3), np.float32)
        graph.initializer.append(numpy_helper.from_array(weights, f"slow{number}.w"))
        graph.node.append(
            helper.make_node("Conv", [before, f"slow{number}.w"], [f"slow{number}"], pads=[1] * 4)
        )
        before = f"slow{number}"
    graph.initializer.append(numpy_helper.from_array(np.zeros((64, 3), np.float32), "nothing.w"))
    graph.node.append(helper.make_node("GlobalAveragePool", [before], ["slow.means"]))
    graph.node.append(helper.make_node("Flatten", ["slow.means"], ["slow.flat"]))
    graph.node.append(helper.make_node("MatMul", ["slow.flat", "nothing.w"], ["nothing"]))
    graph.node.append(helper.make_node("Add", ["logits", "nothing"], ["sum"]))
    softmax.input[0] = "sum"
    graph.node.append(softmax)
    return model


def brought_home(store: Store, folder: Path, scratch: Path, version: int = 1) -> str:
    """Through a bundle, as it comes; what is wrong with it is found on the way."""
    (folder / "card.md").write_text("A test's.")
    bundle = write_bundle(
        folder, scratch / "out", version=version, data=["d" * 64], licences=["Apache-2.0"],
        minimum_station="0.0.1",
    )  # fmt: skip
    opened = open_bundle(bundle, scratch / f"opened-{version}")
    return install(store.factory.parent, "tiny", opened, Provenance(bundle.name))


def proven(store: Store, digest: str, recipe: Recipe, limits: Limits = LIMITS) -> Proof:
    """What ``station engines prove`` does."""
    found = store.find(digest)
    return prove_engine(
        found, store.in_order(), recipe, EngineOptions(threads=1), limits,
        begun_proof("test", found, recipe, "1.0.0"), backend="onnxruntime-cpu", precision="fp32",
    )  # fmt: skip


def edited(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "engine.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def with_file(folder: Path, model) -> None:
    """Put another network into a folder whose golden parts were recorded before."""
    import onnx

    onnx.save(model, str(folder / "model.onnx"))
    sha256 = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    edited(folder, lambda document: document["files"]["fp32"].update(sha256=sha256))


def test_a_good_engine_passes_every_gate_and_its_proof_is_signed(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    digest = brought_home(station, engine(tmp_path / "new", network()), tmp_path)
    proof = proven(station, digest, tiny_recipe)
    assert proof.failed == ""
    assert (proof.golden_parts, proof.known_bad_parts) == (6, 8)
    assert 0 < proof.p50_ms <= proof.p99_ms <= proof.limit_ms == 2500
    key = own_key(tmp_path / "station.pem")
    file = write_proof(station.folder, proof, key)
    assert read_proof(file, key.public) == proof
    with pytest.raises(InspectionError, match="is not signed by this station"):
        read_proof(file, own_key(tmp_path / "other.pem").public)
    write_proof(station.folder, replace(proof, p99_ms=1.0), key)
    text = file.read_text().replace('"p99_ms": 1.0', '"p99_ms": 0.5')
    file.write_text(text)
    with pytest.raises(InspectionError, match="is not signed by this station"):
        read_proof(file, key.public)


def test_swapped_classes_are_stopped_by_the_golden_parts(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    folder = engine(tmp_path / "new", network())

    def swap(weights: dict[str, np.ndarray]) -> None:
        for name in ("head.w", "head.b"):
            weights[name] = weights[name][..., [0, 2, 1]]

    with_file(folder, network(swap))
    proof = proven(station, brought_home(station, folder, tmp_path), tiny_recipe)
    assert proof.failed.startswith("gate `golden parts`")


def test_a_network_that_gives_no_numbers_is_stopped_by_the_golden_parts(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    folder = engine(tmp_path / "new", network())
    with_file(folder, network(lambda weights: weights["head.b"].fill(np.nan)))
    proof = proven(station, brought_home(station, folder, tmp_path), tiny_recipe)
    assert proof.failed.startswith("gate `golden parts`")


def test_a_slow_engine_is_stopped_by_the_latency_and_a_large_one_by_the_memory(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    digest = brought_home(station, engine(tmp_path / "new", slow_network()), tmp_path)
    slow = proven(station, digest, tiny_recipe, replace(LIMITS, deadline_ms=2.0))
    assert slow.failed.startswith("gate `latency`: 99 of 100 parts take up to")
    assert "more than 1 ms" in slow.failed
    large = proven(station, digest, tiny_recipe, replace(LIMITS, deadline_ms=100_000.0, memory_mb=1.0))
    assert large.failed.startswith("gate `memory`: it takes")


def test_an_engine_for_surfaces_of_another_size_is_stopped_by_the_recipe(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    def taller(truth: str, seed: int) -> np.ndarray:
        return np.concatenate([tiny_surface(truth, seed), tiny_surface("good", seed + 100)])

    digest = brought_home(station, engine(tmp_path / "new", network(), taller, height=128), tmp_path)
    proof = proven(station, digest, tiny_recipe)
    assert proof.failed.startswith("gate `recipe`")
    assert "was proven on 16 patches of 16 px on surfaces of 128 x 32 px" in proof.failed


def test_an_engine_that_is_blind_to_one_class_though_its_golden_parts_are_right_is_stopped(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """It finds dark patches only where they are far darker than those of this plant."""

    def blind(weights: dict[str, np.ndarray]) -> None:
        weights["head.b"][2] = 1.5

    def very_dark(truth: str, seed: int) -> np.ndarray:
        surface = tiny_surface(truth, seed)
        return np.where(surface < 60, 0, surface).astype(np.uint8) if truth == "dark" else surface

    digest = brought_home(station, engine(tmp_path / "new", network(blind), very_dark), tmp_path)
    proof = proven(station, digest, tiny_recipe)
    assert proof.golden_parts == 6, "its own golden parts are right"
    assert proof.failed.startswith("gate `known-bad parts`: it accepts")
    assert "of engine factory (dark)" in proof.failed


def test_an_engine_that_does_not_know_a_class_of_the_recipe_is_stopped_by_the_recipe(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    folder = engine(tmp_path / "new", network())

    def rename(document: dict) -> None:
        document["classes"][2] = "shade"
        for part in document["golden"]["parts"]:
            part["truth"] = part["truth"].replace("dark", "shade")

    edited(folder, rename)
    proof = proven(station, brought_home(station, folder, tmp_path), tiny_recipe)
    assert proof.failed.startswith("gate `recipe`: ")
    assert "does not know the class 'dark'" in proof.failed


def test_an_older_engine_is_not_installed(station: Store, tmp_path: Path) -> None:
    folder = engine(tmp_path / "new", network())
    digest = brought_home(station, folder, tmp_path, version=5)
    station.change(lambda known: known.proven(digest, "a test", by="station"))
    station.change(lambda known: known.activated(digest, "a test", by="station", after_record=0, before=""))
    with pytest.raises(StoreError, match="has the version 4, the active one has 5"):
        brought_home(station, folder, tmp_path, version=4)


def test_what_is_no_bundle_of_an_engine_is_not_opened(station: Store, tmp_path: Path) -> None:
    """Oversized, cut, or changed on the way: the store never sees it."""
    folder = engine(tmp_path / "new", network())
    (folder / "card.md").write_text("A test's.")
    made = write_bundle(
        folder, tmp_path / "out", version=1, data=["d" * 64], licences=["x"], minimum_station="0.0.1"
    )
    content = made.read_bytes()
    larger = made.with_name("larger.bundle")
    larger.write_bytes(content)
    with larger.open("r+b") as file:
        file.truncate(10_000_000_000)  # of zeros, behind what is listed
    changed = made.with_name("changed.bundle")
    changed.write_bytes(content[:-2000] + bytes([content[-2000] ^ 1]) + content[-1999:])
    cut = made.with_name("cut.bundle")
    cut.write_bytes(content[: len(content) // 2])
    for bad in (larger, changed, cut):
        with pytest.raises(InspectionError):
            open_bundle(bad, tmp_path / "opened")
        assert not (tmp_path / "opened").exists()
    assert not station.is_there


def test_an_engine_whose_files_changed_after_it_was_proven_is_never_used_again(
    station: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    digest = brought_home(station, engine(tmp_path / "new", network()), tmp_path)
    station.change(lambda known: known.proven(digest, "a test", by="station"))
    shutil.copy(station.folder_of(digest) / "card.md", station.folder_of(digest) / "model.onnx")
    assert proven(station, digest, tiny_recipe).failed.startswith("gate `recipe`")
    assert station.engines().entry(digest).state is EngineState.PROVEN, "a proof alone changes nothing"
