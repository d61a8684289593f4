"""INT8 networks keep their answers, hold the form that every back end reads, and are refused when bad."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from deploy.quantise import QuantiseError, quantise


def _scores(path: Path, patches: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"patches": patches})[0]


def _zero_types(path: Path, operator: str) -> set[np.dtype]:
    model = onnx.load(str(path))
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    return {constants[node.input[2]].dtype for node in model.graph.node if node.op_type == operator}


@pytest.fixture
def quantised(tiny_onnx: Path, tiny_patches: np.ndarray, tmp_path: Path) -> Path:
    quantise(tiny_onnx, tmp_path / "int8.onnx", tiny_patches, signed_target=tmp_path / "int8-signed.onnx")
    return tmp_path


def test_probabilities_stay_near_those_of_fp32(
    tiny_onnx: Path, tiny_patches: np.ndarray, quantised: Path
) -> None:
    expected = _scores(tiny_onnx, tiny_patches)
    for name in ("int8.onnx", "int8-signed.onnx"):
        found = _scores(quantised / name, tiny_patches)
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
        assert np.abs(found - expected).max() < 0.1


def test_the_report_says_how_far_the_network_moved(
    tiny_onnx: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    report = quantise(tiny_onnx, tmp_path / "int8.onnx", tiny_patches)
    difference = np.abs(_scores(tmp_path / "int8.onnx", tiny_patches) - _scores(tiny_onnx, tiny_patches))
    assert report.convolutions == 4
    assert report.calibration_patches == len(tiny_patches)
    assert report.top1_agreement == 1
    assert report.largest_difference == pytest.approx(difference.max(), abs=1e-5)


def test_a_channel_without_weights_keeps_its_bias(
    tiny_onnx: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    model = onnx.load(str(tiny_onnx))
    stored = {item.name: item for item in model.graph.initializer}
    convolution = [node for node in model.graph.node if node.op_type == "Conv"][1]
    for name, value in zip(convolution.input[1:3], (0.0, 0.7), strict=True):
        changed = numpy_helper.to_array(stored[name]).copy()
        changed[0] = value
        stored[name].CopyFrom(numpy_helper.from_array(changed, name))
    dead = tmp_path / "dead.onnx"
    onnx.save(model, str(dead))
    report = quantise(dead, tmp_path / "int8.onnx", tiny_patches, min_agreement=0.0)
    assert report.largest_difference < 0.1


def test_activations_are_unsigned_weights_signed_and_biases_32_bit(quantised: Path) -> None:
    path = quantised / "int8.onnx"
    assert _zero_types(path, "QuantizeLinear") == {np.dtype(np.uint8)}
    assert _zero_types(path, "DequantizeLinear") == {np.dtype(t) for t in (np.uint8, np.int8, np.int32)}


def test_the_signed_variant_is_symmetric_and_casts_its_input_first_as_tensorrt_wants(quantised: Path) -> None:
    path = quantised / "int8-signed.onnx"
    model = onnx.load(str(path))
    assert _zero_types(path, "QuantizeLinear") == {np.dtype(np.int8)}
    assert _zero_types(path, "DequantizeLinear") == {np.dtype(np.int8)}
    zeros = [i for i in model.graph.initializer if i.name.endswith("_zero")]
    assert all(not numpy_helper.to_array(item).any() for item in zeros)
    readers = [node.op_type for node in model.graph.node if "patches" in node.input]
    assert readers == ["Cast"]


def test_onnx_runtime_fuses_every_convolution_to_integers(quantised: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(quantised / "int8.onnx"), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(str(tmp_path / "optimised.onnx")).graph.node]
    assert operators.count("QLinearConv") == 4
    assert "Conv" not in operators
    assert "FusedConv" not in operators


def test_openvino_runs_every_convolution_on_integers(quantised: Path) -> None:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(quantised / "int8.onnx")), "CPU", {"PERF_COUNT": True})
    request = compiled.create_infer_request()
    request.infer({0: np.zeros((2, 16, 16, 1), np.uint8)})
    kinds = [item.exec_type for item in request.profiling_info if item.node_type == "Convolution"]
    assert len(kinds) == 4
    assert all(kind.endswith("I8") for kind in kinds)


def test_the_picture_is_quantised_without_any_loss(quantised: Path) -> None:
    model = onnx.load(str(quantised / "int8.onnx"))
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    (first,) = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "scaled"]
    assert constants[first.input[1]] == np.float32(1 / 255)
    assert constants[first.input[2]] == 0


def test_calibration_may_come_one_patch_at_a_time(
    tiny_onnx: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    quantise(tiny_onnx, tmp_path / "a.onnx", tiny_patches)
    quantise(tiny_onnx, tmp_path / "b.onnx", (patch for patch in tiny_patches))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_network_that_loses_its_answers_is_not_written(
    tiny_onnx: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(QuantiseError, match="keep their class"):
        quantise(tiny_onnx, tmp_path / "int8.onnx", tiny_patches, min_agreement=1.01)
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize(
    "calibration",
    [
        np.zeros((0, 16, 16, 1), np.uint8),
        [],
        np.zeros((3, 16, 16, 1), np.float32),
        np.zeros((16, 16), np.uint8),
    ],
)
def test_calibration_that_is_no_patches_is_refused(tiny_onnx: Path, tmp_path: Path, calibration) -> None:
    with pytest.raises(QuantiseError, match="calibration patches"):
        quantise(tiny_onnx, tmp_path / "int8.onnx", calibration)


def test_a_file_that_is_no_network_a_missing_one_and_a_quantised_one_are_refused(
    quantised: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    for source, message in [
        (tmp_path / "absent.onnx", "does not exist"),
        (junk, "ONNX Runtime cannot read"),
        (quantised / "int8.onnx", "quantised already"),
    ]:
        with pytest.raises(QuantiseError, match=message):
            quantise(source, tmp_path / "target.onnx", tiny_patches)


def test_quantising_needs_no_torch(tiny_onnx: Path, tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np; from pathlib import Path; from deploy.quantise import quantise\n"
        f"rng = np.random.default_rng(0); patches = rng.integers(0, 256, (8, 16, 16, 1), np.uint8)\n"
        f"quantise(Path({str(tiny_onnx)!r}), Path({str(tmp_path / 'x.onnx')!r}), patches)\n"
        "print(sorted({'torch', 'nncf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_single_glaring_pixel_does_not_take_the_steps_of_all_others(
    tiny_onnx: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    def steps(patches: np.ndarray) -> dict[str, float]:
        quantise(tiny_onnx, tmp_path / "int8.onnx", patches, min_agreement=0.0)
        model = onnx.load(str(tmp_path / "int8.onnx"))
        constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        return {
            node.input[0]: float(constants[node.input[1]])
            for node in model.graph.node
            if node.op_type == "QuantizeLinear"
        }

    dim = np.random.default_rng(1).integers(0, 26, (60, *tiny_patches.shape[1:]), np.uint8)
    rare, common = dim.copy(), dim.copy()
    rare[0, 8, 8] = 255
    common[:, 8, 8] = 255
    few, many = steps(rare), steps(common)
    assert any(few[name] < 0.9 * many[name] for name in many), (few, many)
