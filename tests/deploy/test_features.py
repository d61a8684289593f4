"""A network is given its second output without a change of its first."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deploy.features import name_features
from deploy.quantise import quantise


def _run(model: onnx.ModelProto, patches: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"patches": patches}), strict=True))


def test_the_input_of_the_head_becomes_the_second_output(tiny_onnx: Path, tiny_patches: np.ndarray) -> None:
    model = onnx.load(str(tiny_onnx))
    before = _run(model, tiny_patches)
    assert name_features(model) == 8
    onnx.checker.check_model(model, full_check=True)
    after = _run(model, tiny_patches)
    assert list(after) == ["probabilities", "features"]
    np.testing.assert_array_equal(after["probabilities"], before["probabilities"])
    head = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    logits = after["features"] @ head["head.w"] + head["head.b"]
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        weights / weights.sum(axis=1, keepdims=True), after["probabilities"], atol=1e-5
    )


def test_naming_them_twice_changes_nothing(tiny_onnx: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    name_features(model)
    once = model.SerializeToString()
    assert name_features(model) == 8
    assert model.SerializeToString() == once


@pytest.mark.parametrize("cut_at", ["flat", "last"])
def test_a_network_without_a_head_on_a_vector_stays_as_it_is(tiny_onnx: Path, cut_at: str) -> None:
    """Softmax straight on the pooled channels, and fully connected layers on a map."""
    model = onnx.load(str(tiny_onnx))
    nodes = {node.output[0]: node for node in model.graph.node}
    if cut_at == "flat":
        nodes["probabilities"].input[0] = "flat"
        model.graph.node.remove(nodes["logits"])
    else:
        nodes["logits"].op_type = "MatMul"
        del nodes["logits"].input[2]
        nodes["logits"].input[0] = "last"
    before = model.SerializeToString()
    assert name_features(model) == 0
    assert model.SerializeToString() == before


def test_int8_keeps_the_second_output(tiny_onnx: Path, tiny_patches: np.ndarray, tmp_path: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    name_features(model)
    onnx.save(model, str(tmp_path / "model.onnx"))
    quantise(
        tmp_path / "model.onnx",
        tmp_path / "int8.onnx",
        tiny_patches,
        signed_target=tmp_path / "int8-signed.onnx",
    )
    expected = _run(model, tiny_patches)["features"]
    for name in ("int8.onnx", "int8-signed.onnx"):
        found = _run(onnx.load(str(tmp_path / name)), tiny_patches)
        assert list(found) == ["probabilities", "features"]
        np.testing.assert_allclose(found["features"], expected, atol=0.02 * expected.max())
