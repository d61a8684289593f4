"""ONNX networks as extractors: features are an inner tensor of the graph, read by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retraining.errors import MetricsError
from retraining.metrics.features import Network, Pixels

SQUEEZENET_SIDE = 224
_LAST_FIRE = "fire9/concat_1"
_MEANS = np.array([104.0, 117.0, 123.0], np.float32)
"""Blue, green, red (Caffe's; see SOURCES.md beside the weights)."""
UNIT = 2.5
"""Features are divided by this, about their root mean square, so that the three degrees of KID's kernel
``(x.y / dims + 1)^3`` weigh as they were meant to; undivided, the cube alone would count."""


def open_squeezenet(path: Path) -> Network:
    """SqueezeNet 1.1 (Iandola et al. 2016) without its last convolution: 512 averaged features."""
    session = open_graph(path, (_LAST_FIRE,))
    entry = session.get_inputs()[0].name

    def run(pixels: Pixels) -> tuple[NDArray[np.float32], None]:
        (maps,) = session.run(None, {entry: squeezenet_input(pixels)})
        return maps.mean(axis=(2, 3)) / np.float32(UNIT), None

    return Network(run, SQUEEZENET_SIDE, 3)


def squeezenet_input(pixels: Pixels) -> NDArray[np.float32]:
    """BGR ``(N, H, W, 3)`` uint8 to what the network takes: ``(N, 3, H, W)``, means taken off."""
    return np.ascontiguousarray((pixels.astype(np.float32) - _MEANS).transpose(0, 3, 1, 2))


def open_exported(path: Path) -> Network:
    """An exported classifier (``retraining.shipping.export``): what its last layer with weights is given."""
    model = _load(path)
    entry = model.graph.input[0] if len(model.graph.input) == 1 else None
    shape = [d.dim_value for d in entry.type.tensor_type.shape.dim] if entry is not None else []
    if entry is None or len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3):
        raise MetricsError(f"{path} is not an exported classifier: its input is not (N, side, side, C)")
    stored = {tensor.name for tensor in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}

    def has_weights(name: str) -> bool:
        """Whether a tensor is stored, or made of stored ones alone (dequantised weights)."""
        return name in stored or (name in made_by and all(has_weights(n) for n in made_by[name].input if n))

    layers = [n for n in model.graph.node if n.op_type in ("Gemm", "MatMul", "Conv")]
    last = [n for n in layers if has_weights(n.input[1])]
    if not last:
        raise MetricsError(f"{path} has no layer with weights to read features from")
    session = open_graph(path, (last[-1].input[0], model.graph.output[0].name))
    name = entry.name

    def run(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        features, probabilities = session.run(None, {name: pixels})
        if features.ndim == 4:
            features = features.mean(axis=(2, 3))
        return features.reshape(len(pixels), -1).astype(np.float32), probabilities.astype(np.float32)

    return Network(run, shape[1], shape[3])


def open_graph(path: Path, outputs: tuple[str, ...]) -> Any:
    """An ONNX Runtime session of the graph up to inner tensors, in fp32.

    Raises :class:`MetricsError` when a tensor is missing.
    """
    import onnx
    import onnxruntime
    import torch

    model = _load(path)
    known = {name for node in model.graph.node for name in node.output}
    missing = [name for name in outputs if name not in known]
    if missing:
        raise MetricsError(f"{path} has no tensor {missing[0]}; name the file that SOURCES.md describes")
    _to_fp32(model)
    del model.graph.output[:], model.graph.value_info[:]
    for name in outputs:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other folds want the processor
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _load(path: Path) -> Any:
    import onnx

    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's and onnx's own; whatever it is, the file is no use
        raise MetricsError(f"{path} is not an ONNX file that can be read ({error})") from error


def _to_fp32(model: Any) -> None:
    """Weights and inputs in fp16 become fp32; such inputs lose their fixed sizes, weights their slots."""
    from onnx import TensorProto, numpy_helper

    stored = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in stored]
    halves = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16]
    for tensor in halves:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    del model.graph.input[:]
    for entry in entries:
        kind = entry.type.tensor_type
        if halves and kind.elem_type == TensorProto.FLOAT16:
            kind.elem_type = TensorProto.FLOAT
            for number, dim in enumerate(kind.shape.dim):
                if number != 1:
                    dim.dim_param = f"d{number}"
        model.graph.input.append(entry)
    if model.ir_version < 4:  # where weights need no input slots
        model.ir_version = 4
