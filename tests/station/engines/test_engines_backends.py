"""Every back end gives the same answers, takes any number of patches, keeps deadlines and fails closed."""

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from station.cli import app
from station.engines import available, open_engine, runnable
from station.engines.backends.checked import CheckedEngine
from station.engines.folder import load_manifest
from station.engines.interface import Engine, EngineDeadlineError, EngineError, EngineOptions, Scores
from station.engines.prove import prove

HERE = [
    ("openvino", "int8"),
    ("openvino", "bf16"),
    ("openvino", "fp32"),
    ("onnxruntime-cpu", "int8"),
    ("onnxruntime-cpu", "fp32"),
]


@pytest.fixture(params=HERE, ids=lambda pair: "-".join(pair))
def engine(request: pytest.FixtureRequest, tiny_engine_master: Path, tmp_path: Path):
    backend, precision = request.param
    opened = open_engine(tiny_engine_master, backend, precision, cache=tmp_path)
    yield opened
    opened.close()


def test_golden_parts_are_reproduced_within_tolerance(engine: Engine, tiny_engine_master: Path) -> None:
    report = prove(engine, load_manifest(tiny_engine_master))
    assert report.passed, report.failures
    assert report.parts == report.right == 12
    assert report.largest_difference <= 0.02


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 13, 17, 37, 83])
def test_any_number_of_patches_gives_the_scores_of_each(
    engine: Engine, tiny_patches: np.ndarray, count: int
) -> None:
    scores = engine.probabilities(tiny_patches[:count])
    assert scores.shape == (count, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    one = engine.probabilities(tiny_patches[count - 1 : count])
    np.testing.assert_allclose(scores[-1:], one, atol=5e-3)


def test_features_come_with_the_scores_for_any_number_of_patches(
    engine: Engine, tiny_patches: np.ndarray, tmp_path: Path, tiny_engine_master: Path
) -> None:
    reference = open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path)
    expected = reference.scores(tiny_patches).features
    assert expected is not None
    assert (expected.std(axis=0) > 0).all()
    for count in (1, 3, 17, len(tiny_patches)):
        found = engine.scores(tiny_patches[:count])
        assert found.features is not None
        assert found.features.shape == (count, engine.info.features) == (count, 8)
        assert found.features.dtype == np.float32
        np.testing.assert_allclose(found.features, expected[:count], atol=0.02 * expected.max())
        np.testing.assert_array_equal(found.probabilities, engine.probabilities(tiny_patches[:count]))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime-cpu"])
def test_an_engine_without_features_works_as_before(
    tiny_engine: Path, tiny_patches: np.ndarray, tmp_path: Path, backend: str
) -> None:
    _say(tiny_engine, features=0)
    engine = open_engine(tiny_engine, backend, "fp32", cache=tmp_path / "cache")
    scores = engine.scores(tiny_patches)
    assert (engine.info.features, scores.features) == (0, None)
    assert scores.probabilities.shape == (len(tiny_patches), 3)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime-cpu"])
def test_features_that_the_network_does_not_give_are_an_engine_error(
    tiny_engine: Path, tiny_onnx: Path, tmp_path: Path, backend: str
) -> None:
    shutil.copy(tiny_onnx, tiny_engine / "model.onnx")
    digest = hashlib.sha256(tiny_onnx.read_bytes()).hexdigest()
    _say(tiny_engine, files={"fp32": {"path": "model.onnx", "sha256": digest}})
    with pytest.raises(EngineError, match=r"features|cannot load"):
        open_engine(tiny_engine, backend, "fp32", cache=tmp_path / "cache")
    _say(tiny_engine, features=9)
    with pytest.raises(EngineError, match=r"features|cannot load"):
        open_engine(tiny_engine, backend, "fp32", cache=tmp_path / "cache")


def _say(folder: Path, **changes: object) -> None:
    path = folder / "engine.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))


def test_patches_need_not_lie_in_one_piece_of_memory(engine: Engine, tiny_patches: np.ndarray) -> None:
    np.testing.assert_allclose(
        engine.probabilities(tiny_patches[::3]), engine.probabilities(tiny_patches[::3].copy()), atol=1e-6
    )


@pytest.mark.parametrize(
    "patches",
    [
        np.zeros((0, 16, 16, 1), np.uint8),
        np.zeros((2, 16, 16, 1), np.float32),
        np.zeros((2, 16, 17, 1), np.uint8),
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((16, 16, 1), np.uint8),
        None,
    ],
    ids=["none", "float", "size", "colour", "single", "missing"],
)
def test_what_is_no_stack_of_patches_is_an_engine_error(engine: Engine, patches: object) -> None:
    with pytest.raises(EngineError, match="takes uint8"):
        engine.probabilities(patches)  # type: ignore[arg-type]


def test_a_missed_deadline_is_its_own_error_and_the_engine_goes_on(
    engine: Engine, tiny_patches: np.ndarray
) -> None:
    many = np.concatenate([tiny_patches] * 200)
    before = engine.probabilities(tiny_patches)
    started = time.perf_counter()
    with pytest.raises(EngineDeadlineError, match="did not score"):
        engine.probabilities(many, timeout_s=0.0)
    assert time.perf_counter() - started < 2
    np.testing.assert_array_equal(engine.probabilities(tiny_patches, timeout_s=30), before)


def test_a_closed_engine_says_so_and_may_be_closed_again(engine: Engine, tiny_patches: np.ndarray) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.probabilities(tiny_patches)


def test_back_ends_agree_with_each_other(
    tiny_engine_master: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    reference = None
    for backend, precision in HERE:
        engine = open_engine(tiny_engine_master, backend, precision, cache=tmp_path)
        scores = engine.probabilities(tiny_patches)
        engine.close()
        reference = scores if reference is None else reference
        assert np.abs(scores - reference).max() <= 0.02
        assert (scores.argmax(axis=1) == reference.argmax(axis=1)).all()


@pytest.mark.parametrize("chunk", [1, 3, 4, 16])
def test_the_chunk_changes_no_score(
    tiny_engine_master: Path, tiny_patches: np.ndarray, tmp_path: Path, chunk: int
) -> None:
    expected = open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path).probabilities(
        tiny_patches
    )
    for backend in ("openvino", "onnxruntime-cpu"):
        engine = open_engine(tiny_engine_master, backend, "fp32", chunk=chunk, cache=tmp_path)
        np.testing.assert_allclose(engine.probabilities(tiny_patches), expected, atol=1e-4)


def test_an_engine_names_what_is_loaded(engine: Engine, tiny_engine_master: Path) -> None:
    manifest = load_manifest(tiny_engine_master)
    variant = "int8" if engine.info.precision == "int8" else "fp32"
    assert engine.info.digest == manifest.digests[variant]
    assert engine.info.classes == ("good", "bright", "dark")
    assert engine.info.device
    assert engine.info.load_ms > 0


def test_importing_the_engines_imports_no_sdk() -> None:
    script = (
        "import sys, station.engines, station.engines.choose, station.engines.prove\n"
        "print(sorted({'openvino', 'onnxruntime', 'tensorrt', 'torch', 'onnx', 'nncf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "backend", "extra"),
    [
        ("openvino", "openvino", r"pip install 'inspection-station\[openvino\]'"),
        ("onnxruntime", "onnxruntime-cpu", "pip install onnxruntime"),
        ("tensorrt", "tensorrt", r"pip install 'inspection-station\[tensorrt\]'"),
    ],
)
def test_an_absent_sdk_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tiny_engine_master: Path, module: str, backend: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = {status.name: status for status in available()}
    assert not found[backend].present
    with pytest.raises(EngineError, match=rf"{backend} is not present.*{extra}"):
        open_engine(tiny_engine_master, backend)
    assert backend not in {name for name, _ in runnable(tiny_engine_master)}


def test_a_provider_that_this_onnxruntime_lacks_is_named_with_its_remedy(tiny_engine_master: Path) -> None:
    absent = [
        status for status in available() if status.name.startswith("onnxruntime-") and not status.present
    ]
    for status in absent:
        assert "pip uninstall onnxruntime" in status.reason
        with pytest.raises(EngineError, match="is not present"):
            open_engine(tiny_engine_master, status.name)


def test_an_unknown_back_end_or_precision_is_told_what_there_is(tiny_engine_master: Path) -> None:
    with pytest.raises(EngineError, match=r"no back end is called 'openvin'.*openvino"):
        open_engine(tiny_engine_master, "openvin")
    with pytest.raises(EngineError, match=r"no precision is called 'int4'.*int8"):
        open_engine(tiny_engine_master, precision="int4")


def test_a_precision_that_a_back_end_lacks_is_an_error_not_another_precision(
    tiny_engine_master: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="onnxruntime-cpu computes int8, fp32, not bf16"):
        open_engine(tiny_engine_master, "onnxruntime-cpu", "bf16", cache=tmp_path)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime-cpu"])
def test_a_network_that_gives_no_probabilities_is_not_trusted(
    tiny_engine: Path, tmp_path: Path, backend: str
) -> None:
    import onnx

    model = onnx.load(str(tiny_engine / "model.onnx"))
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Relu"
            del node.attribute[:]
    onnx.save(model, str(tiny_engine / "model.onnx"))
    path = tiny_engine / "engine.yaml"
    document = yaml.safe_load(path.read_text())
    document["files"]["fp32"]["sha256"] = hashlib.sha256(
        (tiny_engine / "model.onnx").read_bytes()
    ).hexdigest()
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(EngineError, match="not probabilities"):
        open_engine(tiny_engine, backend, "fp32", cache=tmp_path / "cache")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime-cpu"])
def test_a_file_that_is_no_network_is_an_engine_error(
    tiny_engine: Path, tmp_path: Path, backend: str
) -> None:
    (tiny_engine / "model.onnx").write_bytes(b"no network")
    path = tiny_engine / "engine.yaml"
    document = yaml.safe_load(path.read_text())
    document["files"]["fp32"]["sha256"] = hashlib.sha256(b"no network").hexdigest()
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(EngineError, match="is not an ONNX file"):
        open_engine(tiny_engine, backend, "fp32", cache=tmp_path / "cache")


def test_options_have_defaults_for_two_cores() -> None:
    assert EngineOptions() == EngineOptions(threads=2, chunk=0, cache=None)


def test_an_engine_that_hangs_after_a_missed_deadline_is_broken_for_good(
    tiny_engine_master: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    info = open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path).info

    class Hanging(CheckedEngine):
        def _infer(self, patches, deadline):
            raise self._late(len(patches), stopped=False)

        def close(self) -> None: ...

    engine = Hanging(info)
    with pytest.raises(EngineDeadlineError):
        engine.probabilities(tiny_patches, timeout_s=0.01)
    with pytest.raises(EngineError, match="hangs since a missed deadline; restart the station"):
        engine.probabilities(tiny_patches)


@pytest.mark.parametrize(
    "scores",
    [
        np.full((2, 3), np.nan, np.float32),
        np.array([[1.2, -0.2, 0.0]] * 2, np.float32),
        np.array([[0.5, 0.1, 0.1]] * 2, np.float32),
        np.array([[np.inf, 0.0, 0.0]] * 2, np.float32),
        np.full((1, 3), 1 / 3, np.float32),
        np.full((2, 4), 0.25, np.float32),
    ],
    ids=["nan", "negative", "sum", "infinite", "too few", "other classes"],
)
def test_scores_that_are_no_probabilities_never_leave_an_engine(
    tiny_engine_master: Path, tiny_patches: np.ndarray, tmp_path: Path, scores: np.ndarray
) -> None:
    info = open_engine(tiny_engine_master, "onnxruntime-cpu", "fp32", cache=tmp_path).info

    class Wrong(CheckedEngine):
        def _infer(self, patches, deadline):
            return Scores(scores, np.zeros((len(patches), self.info.features), np.float32))

        def close(self) -> None: ...

    with pytest.raises(EngineError, match=r"not probabilities|of shape"):
        Wrong(info).scores(tiny_patches[:2])


def test_a_signal_still_reaches_python_after_two_engines_came_and_went(tiny_engine_master: Path) -> None:
    """On a processor with AMX, two OpenVINO cores in a process leave it a signal stack that is no memory."""
    program = """
import gc, os, signal, sys
from pathlib import Path
from station.engines import open_engine

one = open_engine(Path(sys.argv[1]), "openvino", "int8", cache=Path(sys.argv[2]))
two = open_engine(Path(sys.argv[1]), "openvino", "fp32", cache=Path(sys.argv[2]))
for engine in (one, two):
    engine.close()
del one, engine
gc.collect()
del two
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("asked to stop", flush=True))
os.kill(os.getpid(), signal.SIGTERM)
"""
    command = [sys.executable, "-c", program, str(tiny_engine_master), str(tiny_engine_master.parent)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "asked to stop\n"), ended.stderr


def test_brackets_of_an_extra_reach_the_reader_of_station_engines(
    tiny_engine_master: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STATION_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = CliRunner().invoke(app, ["engines", "backends", str(tiny_engine_master), "--seconds", "0"])
    assert done.exit_code == 0, done.output
    assert "pip install 'inspection-station[tensorrt]'" in done.output
    assert "proven on 8 patches of 16 px on surfaces of 64 x 32 px" in done.output
