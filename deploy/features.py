"""The second output of a network: the features that its head is given.

The head is what stands between the last pooled or flattened features and the softmax: fully connected
layers and activations. Its input is a value that the network computes anyway, so that naming it an output
changes no score and costs a copy.
"""

from __future__ import annotations

from typing import Any

from station.engines.manifest import FEATURES, PROBABILITIES

_LAYERS = frozenset({"Gemm", "MatMul"})
_PASSING = frozenset(
    {
        "Softmax",
        "Add",
        "Relu",
        "LeakyRelu",
        "Elu",
        "Sigmoid",
        "Tanh",
        "HardSwish",
        "Clip",
        "Dropout",
        "Identity",
    }
)


def name_features(model: Any) -> int:
    """Make the head's input the output ``features`` of an ONNX classifier, in place; the number of features.

    0, and nothing changed, where the network has no fully connected head on a vector. A network that has the
    output already stays as it is.
    """
    import onnx

    graph = model.graph
    for output in graph.output:
        if output.name == FEATURES:
            return int(output.type.tensor_type.shape.dim[1].dim_value)
    tensor = _head_input(graph)
    if not tensor:
        return 0
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = next((value for value in inferred.value_info if value.name == tensor), None)
    shape = list(found.type.tensor_type.shape.dim) if found is not None else []
    width = int(shape[1].dim_value) if len(shape) == 2 else 0
    if not width:
        return 0
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == tensor:
                    names[place] = FEATURES
    stale = [value for value in graph.value_info if value.name == tensor]
    for value in stale:
        graph.value_info.remove(value)
    graph.output.append(onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, ["N", width]))
    return width


def _head_input(graph: Any) -> str:
    """The tensor that the first fully connected layer of the head reads; empty where there is no head."""
    makers = {output: node for node in graph.node for output in node.output}
    stored = {item.name for item in graph.initializer}

    def constant(name: str) -> bool:
        """Whether a tensor is stored, or made of stored ones alone: the exporter copies equal biases."""
        return name in stored or (name in makers and all(constant(given) for given in makers[name].input))

    tensor, found = PROBABILITIES, ""
    while (node := makers.get(tensor)) is not None and node.op_type in _LAYERS | _PASSING:
        values = [name for name in node.input if name and not constant(name)]
        if len(values) != 1:
            break
        tensor = values[0]
        if node.op_type in _LAYERS:
            found = tensor
    return found if found in makers else ""
