"""Pictures of two textures, and small networks that stand for the real extractors."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from retraining.metrics import Extractor, open_extractor

SIDE = 32
FIRES = {"fire3": 6, "fire5": 8, "fire6": 8, "fire7": 8, "fire8": 10, "fire9": 12}


def textures(count: int, seed: int, *, grain: float = 1.5, channels: int = 1) -> np.ndarray:
    """Smooth random surfaces of several contrasts, uint8 ``(count, 32, 32, channels)``."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        field = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), grain)
        field *= rng.uniform(15, 30) / field.std()
        made.append(np.clip(rng.uniform(90, 150) + field, 0, 255).astype(np.uint8))
    return np.repeat(np.stack(made)[..., None], channels, axis=3)


def write_engine(path: Path, seed: int = 0, channels: int = 1, classes: int = 3) -> Path:
    """An engine as the workshop exports them: uint8 patches in, probabilities out; its weights are random."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 3.0, (12, channels, 3, 3))
    stored = {
        "scale": np.float32(1 / 255),
        "w1": first - first.mean(axis=(1, 2, 3), keepdims=True),  # blind to brightness
        "w2": rng.normal(0, 0.2, (24, 12, 3, 3)),
        "w3": rng.normal(0, 0.5, (24, classes)),
    }
    nodes = [
        helper.make_node("Cast", ["patches"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "scale"], ["g"]),
        helper.make_node("Transpose", ["g"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w1"], ["c1"], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["features"]),
        helper.make_node("MatMul", ["features", "w3"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "engine",
        [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["N", SIDE, SIDE, channels])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in stored.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def write_squeezenet(folder: Path) -> Path:
    """A dwarf with the names, the fp16 weights and the fixed input of the real file, and LPIPS heads."""
    rng = np.random.default_rng(5)
    stored, nodes, last, depth = {}, [], "data_0", 3
    for name, width in {"conv1": 4, **FIRES}.items():
        out = "conv1_2" if name == "conv1" else f"{name}/concat_1"
        stored[f"{name}_w_0"] = rng.normal(0, (2 / (9 * depth)) ** 0.5, (width, depth, 3, 3))
        nodes.append(
            helper.make_node("Conv", [last, f"{name}_w_0"], [f"{name}_1"], strides=[2, 2], pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"{name}_1"], [out]))
        last, depth = out, width
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["softmaxout_1"]))
    entries = [helper.make_tensor_value_info("data_0", TensorProto.FLOAT16, [1, 3, 224, 224])]
    entries += [helper.make_tensor_value_info(k, TensorProto.FLOAT16, v.shape) for k, v in stored.items()]
    graph = helper.make_graph(
        nodes,
        "dwarf",
        entries,
        [helper.make_tensor_value_info("softmaxout_1", TensorProto.FLOAT16, [1, depth, 1, 1])],
        [numpy_helper.from_array(v.astype(np.float16), k) for k, v in stored.items()],
    )
    path = folder / "dwarf.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=3), str(path))
    heads = {
        f"lin{n}.model.1.weight": torch.from_numpy(rng.uniform(0, 1, (1, width, 1, 1)).astype(np.float32))
        for n, width in enumerate([4, *FIRES.values()])
    }
    torch.save(heads, folder / "lpips_lin_v0.1_squeeze.pth")
    return path


@pytest.fixture(scope="session")
def engine_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_engine(tmp_path_factory.mktemp("engine") / "engine.onnx")


@pytest.fixture(scope="session")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squeezenet(tmp_path_factory.mktemp("squeezenet"))


@pytest.fixture(scope="session")
def other_engine(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    path = write_engine(tmp_path_factory.mktemp("other") / "engine.onnx", seed=9)
    return open_extractor(f"classifier:{path}")


@pytest.fixture(scope="session")
def extractor(engine_file: Path) -> Extractor:
    return open_extractor(f"classifier:{engine_file}")


@pytest.fixture(scope="session")
def real() -> np.ndarray:
    return textures(60, 1)


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    return textures
