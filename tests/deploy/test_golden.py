"""A golden part is refused when a back end may score it otherwise without being wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.golden import DoubtfulPartError, GoldenRule, rounded_to_bf16
from deploy.scoring import onnx_scorer
from station.decision import Rules

CLASSES = ("good", "bright", "dark")


def _patches(level: int) -> np.ndarray:
    return np.full((1, 16, 16, 1), level, np.uint8)


def _rule(files: dict[str, Path], tolerance: float = 0.02) -> GoldenRule:
    rules = Rules(1, CLASSES, 1.0, (0.0,) * 3, (0.0,) * 3)
    networks = {variant: path.read_bytes() for variant, path in files.items()}
    return GoldenRule(networks, rules, tolerance, 0.1)


def _bf16(values: np.ndarray) -> np.ndarray:
    """Round to nearest even on the upper 16 bits of a float32."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_a_product_is_rounded_before_and_after_and_summed_exactly() -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 0.1, (16, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["patches"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "full"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["N", 4, 4, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.float32(255), "full")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    patches = rng.integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    plain = patches.reshape(5, 16).astype(np.float32) / 255
    found = onnx_scorer(rounded_to_bf16(model).SerializeToString(), optimised=False)(patches)
    np.testing.assert_array_equal(found, _bf16(found))
    np.testing.assert_allclose(found, _bf16(plain) @ _bf16(weights), rtol=2**-8)
    assert np.abs(found - plain @ weights).max() > 1e-4


def test_a_part_far_from_every_edge_is_recorded_for_each_precision(tiny_engine_master: Path) -> None:
    files = {
        "fp32": tiny_engine_master / "model.onnx",
        "int8": tiny_engine_master / "model.int8.onnx",
        "int8-signed": tiny_engine_master / "model.int8-signed.onnx",
    }
    recorded = _rule(files).record("good", _patches(115))
    assert recorded.keys() == {"fp32", "int8"}
    assert all(scores.argmax() == 0 for scores in recorded.values())


def test_a_part_that_bf16_moves_by_more_than_half_the_tolerance_is_refused(tiny_onnx: Path) -> None:
    with pytest.raises(
        DoubtfulPartError, match=r"bf16 alone moves a probability by 0\.0\d\d, more than 0\.01"
    ):
        _rule({"fp32": tiny_onnx}).record("good", _patches(148))
    _rule({"fp32": tiny_onnx}, tolerance=0.05).record("good", _patches(148))


def test_a_part_on_the_edge_between_two_classes_is_refused_at_any_tolerance(tiny_onnx: Path) -> None:
    with pytest.raises(DoubtfulPartError, match="between two classes"):
        _rule({"fp32": tiny_onnx}, tolerance=0.5).record("good", _patches(153))


def test_a_part_that_the_signed_network_sees_otherwise_than_the_recorded_one_is_refused(
    tiny_engine_master: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(tiny_engine_master / "model.int8-signed.onnx"))
    (bias,) = (item for item in model.graph.initializer if item.name == "head.b")
    shifted = numpy_helper.to_array(bias) + np.array([0, 3, 0], np.float32)
    bias.CopyFrom(numpy_helper.from_array(shifted, "head.b"))
    onnx.save(model, str(tmp_path / "signed.onnx"))
    files = {
        "fp32": tiny_engine_master / "model.onnx",
        "int8": tiny_engine_master / "model.int8.onnx",
        "int8-signed": tmp_path / "signed.onnx",
    }
    with pytest.raises(DoubtfulPartError, match="int8-signed alone moves"):
        _rule(files).record("good", _patches(138))
