"""The engine that ships: whole, proven by every back end of this machine, and INT8 within its gate."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from deploy.novelty import remove_novelty
from deploy.scoring import onnx_scorer
from station.decision import decide_by
from station.engines import open_engine, runnable
from station.engines.first_stage import vnni
from station.engines.folder import load_manifest, read_golden
from station.engines.interface import Engine
from station.engines.prove import prove

needs_vnni = pytest.mark.skipif(not vnni.lanes(), reason="the kernel is for processors with VNNI")
FOLDER = Path(__file__).parents[3] / "engines" / "servo-motor-housing"


def test_the_folder_is_whole_and_has_twelve_golden_parts_of_every_class() -> None:
    manifest = load_manifest(FOLDER)
    assert len(manifest.golden) == 12
    assert {part.truth for part in manifest.golden} == set(manifest.classes)
    assert manifest.patch_px == 256
    assert (FOLDER / "card.md").is_file()
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 60e6


def test_the_recorded_scores_name_what_is_on_every_golden_part() -> None:
    manifest = load_manifest(FOLDER)
    for part in manifest.golden:
        for scores in part.scores.values():
            assert manifest.classes[decide_by(scores, manifest.own_rules).class_index] == part.truth


def test_its_novelty_is_in_every_network_and_changed_no_probability() -> None:
    import onnx

    manifest = load_manifest(FOLDER)
    assert manifest.novelty is not None
    assert manifest.novelty.good_above <= 0.02
    part = manifest.golden[0]
    patches = read_golden(manifest, part)[:4]
    for variant, path in manifest.files.items():
        bare = onnx.load(str(path))
        remove_novelty(bare)
        before = onnx_scorer(bare.SerializeToString())(patches)
        np.testing.assert_array_equal(onnx_scorer(path)(patches), before)
        assert part.novelty[variant].max() < 1 < manifest.golden[1].novelty[variant].max()
        assert path.stat().st_size < 20e6


def test_int8_passes_the_gate_of_its_own_figures() -> None:
    assert load_manifest(FOLDER).int8_refusal() == ""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Engine]]:
    """The engine on one back end, loaded once: that takes longer than what is asked of it."""
    cache = tmp_path_factory.mktemp("cache")
    engines: dict[tuple[str, str], Engine] = {}

    def find(backend: str, precision: str) -> Engine:
        if (backend, precision) not in engines:
            engines[backend, precision] = open_engine(FOLDER, backend, precision, cache=cache)
        return engines[backend, precision]

    yield find
    for engine in engines.values():
        engine.close()


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("openvino", "int8"),
        pytest.param("openvino-fused", "int8", marks=needs_vnni),
        ("onnxruntime-cpu", "int8"),
        # The next test has a fast part on each of these.
        pytest.param("openvino", "bf16", marks=pytest.mark.slow),
        pytest.param("openvino", "fp32", marks=pytest.mark.slow),
        pytest.param("onnxruntime-cpu", "fp32", marks=pytest.mark.slow),
    ],
)
def test_every_back_end_reproduces_all_golden_parts(
    backend: str, precision: str, opened: Callable[[str, str], Engine]
) -> None:
    report = prove(opened(backend, precision), load_manifest(FOLDER))
    assert report.passed, report.failures
    assert report.parts == 12


def test_all_back_ends_of_one_network_agree_on_golden_patches(opened: Callable[[str, str], Engine]) -> None:
    manifest = load_manifest(FOLDER)
    patches = np.concatenate([read_golden(manifest, part)[::8] for part in manifest.golden[::2]])
    found: dict[str, np.ndarray] = {}
    for backend, precision in runnable(FOLDER):
        scores = opened(backend, precision).probabilities(patches)
        network = "int8" if precision == "int8" else "fp32"  # bf16 and fp16 are fp32's, computed coarsely
        expected = found.setdefault(network, scores)
        assert (scores.argmax(axis=1) == expected.argmax(axis=1)).all()
        tolerance = manifest.int8_tolerance if network == "int8" else manifest.tolerance
        assert np.abs(scores - expected).max() <= tolerance
