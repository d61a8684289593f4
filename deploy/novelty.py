"""The third output of a network: how far a patch is from what it was trained on, 1 = the threshold.

Every method is a few plain operators on a value that the network computes anyway, the features that its head
is given or its logits. The operators are the only implementation: they are run by themselves to choose a
method and its threshold, and are appended to the very graphs that ship, in fp32, behind fp32 and INT8 alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.engines.interface import EngineError
from station.engines.manifest import FEATURES, NOVELTY, PATCHES, PROBABILITIES

LOGITS = "logits"
"""What a method may read beside the features: the values before the softmax."""
_PREFIX = "novelty."
_OPSET = 17

Values = Mapping[str, NDArray[np.float32]]
"""What a network says of ``N`` patches: ``features`` (N, F) and ``logits`` (N, classes)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator: its name in ONNX, the values that it reads, the one that it makes, its attributes."""

    operator: str
    reads: tuple[str, ...]
    makes: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance ``(N,)``, from 0 on, of patches from what was trained on; the last step makes it."""

    method: str
    reads: str
    """``features`` or ``logits``."""
    steps: tuple[Step, ...]
    constants: Values

    def __call__(self, values: Values) -> NDArray[np.float32]:
        """The distance ``(N,)`` of patches of which a network says ``values``."""
        import onnx
        import onnxruntime

        given = np.ascontiguousarray(values[self.reads], np.float32)
        nodes, stored, made = self.nodes(self.reads)
        graph = onnx.helper.make_graph(
            nodes,
            self.method,
            [onnx.helper.make_tensor_value_info(self.reads, onnx.TensorProto.FLOAT, ["N", given.shape[1]])],
            [onnx.helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, ["N"])],
            stored,
        )
        opset = [onnx.helper.make_opsetid("", _OPSET)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        batches = [
            session.run(None, {self.reads: given[at : at + 256]})[0] for at in range(0, len(given), 256)
        ]
        return np.concatenate(batches) if batches else np.empty(0, np.float32)

    def nodes(self, tensor: str) -> tuple[list[Any], list[Any], str]:
        """Nodes and initialisers for a graph in which ``tensor`` is what is read; and the value made."""
        import onnx

        def named(name: str) -> str:
            return tensor if name == self.reads else _PREFIX + name

        nodes = [
            onnx.helper.make_node(
                step.operator, [named(name) for name in step.reads], [named(step.makes)], **step.attributes
            )
            for step in self.steps
        ]
        stored = [
            onnx.numpy_helper.from_array(np.asarray(value), named(name))
            for name, value in self.constants.items()
        ]
        return nodes, stored, named(self.steps[-1].makes)


def furthest(distance: Distance, parts: Sequence[Values]) -> NDArray[np.float32]:
    """The distance of each part's furthest patch, ``(parts,)``."""
    if not parts:
        return np.empty(0, np.float32)
    sizes = [len(part[distance.reads]) for part in parts]
    whole = distance({distance.reads: np.concatenate([part[distance.reads] for part in parts])})
    return np.maximum.reduceat(whole, np.cumsum([0, *sizes[:-1]]))


def what_it_says(
    model: bytes, threads: int = 2
) -> Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]:
    """A function from uint8 patches to probabilities, features and logits of an ONNX classifier.

    Raises :class:`EngineError` where the network has no features.
    """
    import onnx
    import onnxruntime

    network = onnx.load_from_string(model)
    outputs = {output.name for output in network.graph.output}
    if FEATURES not in outputs:
        raise EngineError(
            "the network gives no features, in which a distance could be measured; use one with a fully "
            "connected head, such as inception-cnn"
        )
    logits = _logits(network)
    network.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {PROBABILITIES: PROBABILITIES, FEATURES: FEATURES, LOGITS: logits}

    def say(patches: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        batches = [
            session.run(list(wanted.values()), {PATCHES: patches[at : at + 16]})
            for at in range(0, len(patches), 16)
        ]
        return {
            name: np.concatenate([batch[number] for batch in batches]) for number, name in enumerate(wanted)
        }

    return say


def append_novelty(model: Any, distance: Distance, threshold: float) -> Any:
    """The ONNX network with the output ``novelty`` = distance / threshold, in place; an earlier one goes.

    No other value of the graph changes. Raises :class:`EngineError` for a threshold that is not above 0.
    """
    import onnx

    if not 0.0 < threshold < np.inf:
        raise EngineError(f"a distance of {threshold:g} is no threshold; fit the novelty on other parts")
    remove_novelty(model)
    graph = model.graph
    tensor = FEATURES if distance.reads == FEATURES else _logits(model)
    nodes, stored, made = distance.nodes(tensor)
    unit = _PREFIX + "threshold"
    graph.node.extend(nodes)
    graph.node.append(onnx.helper.make_node("Div", [made, unit], [NOVELTY]))
    graph.initializer.extend([*stored, onnx.numpy_helper.from_array(np.array(threshold, np.float32), unit)])
    graph.output.append(onnx.helper.make_tensor_value_info(NOVELTY, onnx.TensorProto.FLOAT, ["N"]))
    onnx.checker.check_model(model, full_check=True)
    return model


def remove_novelty(model: Any) -> None:
    """Take an earlier output ``novelty`` out of an ONNX network, with all that only it needs."""
    graph = model.graph
    kept = [
        node for node in graph.node if not node.output[0].startswith(_PREFIX) and NOVELTY not in node.output
    ]
    constants = [item for item in graph.initializer if not item.name.startswith(_PREFIX)]
    outputs = [output for output in graph.output if output.name != NOVELTY]
    for field_of_graph, values in (
        (graph.node, kept),
        (graph.initializer, constants),
        (graph.output, outputs),
    ):
        if len(values) != len(field_of_graph):
            del field_of_graph[:]
            field_of_graph.extend(values)


def _logits(model: Any) -> str:
    """The tensor that the softmax reads."""
    for node in model.graph.node:
        if PROBABILITIES in node.output and node.op_type == "Softmax":
            return str(node.input[0])
    raise EngineError("the network does not end in a softmax; export it again with `retrain`")
