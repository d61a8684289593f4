"""A rewritten network gives the same numbers: INT8 bit by bit, fp32 to 1e-6, in both run times."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.quantise import quantise
from deploy.rewrites import rewritten
from deploy.scoring import onnx_scorer

Score = Callable[[np.ndarray], np.ndarray]
SIDE = 16


def _openvino(model: bytes) -> Score:
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model), "CPU", hints)
    request = compiled.create_infer_request()

    def score(patches: np.ndarray) -> np.ndarray:
        request.infer({0: patches})
        return np.array(request.get_tensor(compiled.output("probabilities")).data)

    return score


RUN_TIMES = {"openvino": _openvino, "onnxruntime": lambda model: onnx_scorer(model, threads=1)}


class _Network:
    """Writes a small network of the shape of Inception-CNN, with random weights."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {"full": np.float32(255)}

    def conv(self, name: str, source: str, inputs: int, outputs: int, side: int) -> str:
        shape = (outputs, inputs, side, side)
        weights = self._rng.normal(0.02, 1, shape) / np.sqrt(inputs * side * side)
        self.constants[f"{name}.w"] = weights.astype(np.float32)
        self.constants[f"{name}.b"] = self._rng.normal(0, 0.1, outputs).astype(np.float32)
        given = [source, f"{name}.w", f"{name}.b"]
        self.nodes.append(
            helper.make_node("Conv", given, [f"{name}.sum"], kernel_shape=[side] * 2, pads=[side // 2] * 4)
        )
        self.nodes.append(helper.make_node("Relu", [f"{name}.sum"], [name]))
        return name

    def pool(self, name: str, source: str) -> str:
        self.nodes.append(
            helper.make_node("MaxPool", [source], [name], kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
        )
        return name

    def module(self, name: str, source: str, inputs: int, filters: tuple[int, ...]) -> str:
        first, second, third, fourth = filters
        around = helper.make_node("MaxPool", [source], [f"{name}.around"], kernel_shape=[3, 3], pads=[1] * 4)
        self.nodes.append(around)
        ends = [
            self.conv(f"{name}.1b", self.conv(f"{name}.1a", source, inputs, 6, 3), 6, first, 1),
            self.conv(f"{name}.2", f"{name}.around", inputs, second, 1),
            self.conv(f"{name}.3b", self.conv(f"{name}.3a", source, inputs, 6, 1), 6, third, 3),
            self.conv(f"{name}.4", f"{name}.around", inputs, fourth, 1),
        ]
        self.nodes.append(helper.make_node("Concat", ends, [f"{name}.joined"], axis=1))
        return self.pool(f"{name}.pooled", f"{name}.joined")

    def model(self, outputs: tuple[str, ...] = ()) -> onnx.ModelProto:
        """Two modules, one behind the other, so that the first one's reader is itself rewritten."""
        self.nodes += [
            helper.make_node("Cast", ["patches"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Div", ["planes", "full"], ["scaled"]),
        ]
        start = self.pool("start", self.conv("first", "scaled", 1, 8, 5))
        middle = self.module("one", start, 8, (5, 4, 7, 3))
        last = self.conv("last", self.module("two", middle, 19, (4, 6, 5, 9)), 24, 16, 3)
        self.constants["head.w"] = self._rng.normal(0, 0.5, (16, 5)).astype(np.float32)
        self.constants["head.b"] = np.zeros(5, np.float32)
        self.nodes += [
            helper.make_node("GlobalAveragePool", [last], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("Gemm", ["flat", "head.w", "head.b"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
        given = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5])]
        given += [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *"chw"]) for name in outputs]
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
            given,
            [numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def _patches(count: int, side: int = SIDE) -> np.ndarray:
    """Noise, and patches as a camera gives them: one grey level, a little noise, a dark or bright line."""
    rng = np.random.default_rng(14)
    patches = rng.integers(0, 256, (count, side, side, 1), np.uint8)
    for patch in patches[::2]:
        level = rng.uniform(20, 200)
        patch[:] = np.clip(rng.normal(level, rng.uniform(1, 20), patch.shape), 0, 255)
        patch[:, rng.integers(side)] = rng.integers(0, 256)
    return patches


def _variants(fp32: Path) -> dict[str, bytes]:
    """The network as exported and as INT8 of both kinds, none of it rewritten."""
    int8, signed = fp32.with_name("int8.onnx"), fp32.with_name("signed.onnx")
    side = onnx.load(str(fp32)).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    quantise(fp32, int8, _patches(32, side), signed_target=signed, min_agreement=0.0)
    return {path.stem: path.read_bytes() for path in (fp32, int8, signed)}


def _operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def _require_same(models: dict[str, bytes], patches: np.ndarray, batch: int) -> None:
    """Both rewrites of every variant give what the variant itself gives, in both run times."""
    for variant, content in models.items():
        for run_time, load in RUN_TIMES.items():
            if (variant, run_time) == ("signed", "onnxruntime"):  # takes seconds; TensorRT's form
                continue
            scores = [load(content)]
            for pools_first in (False, True):
                changed = rewritten(onnx.load_from_string(content), pools_first=pools_first)
                scores.append(load(changed.SerializeToString()))
            for start in range(0, len(patches), batch):
                expected, *found = (score(patches[start : start + batch]) for score in scores)
                for values in found:
                    if variant == "fp32":
                        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
                    else:
                        np.testing.assert_array_equal(values, expected, err_msg=f"{variant} {run_time}")


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("rewrites") / "fp32.onnx"
    onnx.save(_Network(1).model(), str(path))
    return _variants(path)


def test_int8_is_the_same_bit_by_bit_and_fp32_to_a_millionth(variants: dict[str, bytes]) -> None:
    _require_same(variants, _patches(300), 100)


@pytest.mark.slow
def test_inception_cnn_is_the_same_on_ten_thousand_random_and_rendered_patches(tmp_path: Path) -> None:
    import torch

    from models.classifiers import InceptionCNN
    from retraining.shipping.export import export_onnx
    from simulation.rendering.parts import render_part
    from station.patching import cut, cut_surface
    from station.recipe import PatchGrid, load_recipe

    torch.manual_seed(14)
    path = tmp_path / "fp32.onnx"
    export_onnx(InceptionCNN(patch=128).eval(), path, 128, 1)
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "servo-motor-housing.yaml")
    rendered = []
    for seed in range(79):
        frame = render_part(70_000 + seed, defects_per_part=1 + seed % 5).frame()
        rendered.append(cut_surface(cut(frame, recipe).surface.pixels, PatchGrid(size=128)))
    patches = np.concatenate([_patches(10_000 - 64 * len(rendered), 128), *rendered])
    assert len(patches) == 10_000
    models = _variants(path)
    _require_same({name: models[name] for name in ("fp32", "int8")}, patches, 16)


def test_two_convolutions_of_one_tensor_become_one(variants: dict[str, bytes]) -> None:
    for content in variants.values():
        before = onnx.load_from_string(content)
        after = rewritten(onnx.load_from_string(content))
        onnx.checker.check_model(after, full_check=True)
        assert _operators(before).count("Conv") == 14
        assert _operators(after).count("Conv") == 12
        joins = [node for node in after.graph.node if node.op_type == "Concat"]
        assert [len(node.input) for node in joins] == [3, 3]


def test_pools_stand_in_front_of_a_concat_on_request(variants: dict[str, bytes]) -> None:
    for content in variants.values():
        model = rewritten(onnx.load_from_string(content), pools_first=True)
        onnx.checker.check_model(model, full_check=True)
        makers = {output: node for node in model.graph.node for output in node.output}
        joins = [node for node in model.graph.node if node.op_type == "Concat"]
        assert {makers[name].op_type for node in joins for name in node.input} == {"MaxPool"}


def test_a_second_time_changes_nothing(variants: dict[str, bytes]) -> None:
    for content in variants.values():
        for pools_first in (False, True):
            once = rewritten(onnx.load_from_string(content), pools_first=pools_first).SerializeToString()
            again = rewritten(onnx.load_from_string(once), pools_first=pools_first)
            assert again.SerializeToString() == once


def test_nothing_that_is_no_longer_read_stays_in_the_file(variants: dict[str, bytes]) -> None:
    for content in variants.values():
        graph = rewritten(onnx.load_from_string(content)).graph
        read = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
        assert {item.name for item in graph.initializer} <= read
        assert all(read & set(node.output) for node in graph.node)


@pytest.mark.parametrize("seen", ["one.2", "one.joined", "one.4.sum"])
def test_what_is_an_output_of_the_network_stays_as_it_is(seen: str) -> None:
    model = _Network(2).model((seen,))
    patches = _patches(8)

    def outputs(content: bytes) -> list[np.ndarray]:
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return session.run(["probabilities", seen], {"patches": patches})

    expected = outputs(model.SerializeToString())
    found = outputs(rewritten(model, pools_first=True).SerializeToString())
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-6)
    first = next(node for node in model.graph.node if node.op_type == "Concat")
    assert len(first.input) == 4


def test_convolutions_that_differ_in_more_than_their_weights_stay_two() -> None:
    model = _Network(3).model()
    for node in model.graph.node:
        if node.op_type == "Conv" and node.output[0] == "one.4.sum":
            node.input[0] = "start"  # another tensor of the same shape
        if node.op_type == "Relu" and node.input[0] == "two.4.sum":
            node.op_type = "Identity"  # another step to the Concat
    before = _operators(model).count("Conv")
    assert _operators(rewritten(model)).count("Conv") == before


def test_every_network_of_a_shipped_engine_is_rewritten() -> None:
    folder = Path(__file__).parents[2] / "engines" / "servo-motor-housing"
    for path in sorted(folder.glob("*.onnx")):
        content = path.read_bytes()
        assert rewritten(onnx.load_from_string(content)).SerializeToString() == content, path
