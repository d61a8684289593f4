"""Exact rewrites of a network: the same numbers from less work, in fp32 and in INT8.

*One convolution for two.* Convolutions that read the same tensor, and whose results meet in one Concat by the
same steps, are one convolution with the output channels of both. Where they do not stand side by side in the
Concat, the channels change places, and with them the input channels of the convolutions that read them. In
INT8 all sums are of integers, so that the result is the same bit by bit; in fp32 the next convolution adds
its products in another order.

*Pools first.* A maximum over places looks at one channel at a time, so that ``MaxPool(Concat(a, b))`` is
``Concat(MaxPool(a), MaxPool(b))``, bit by bit, also with a rounding to one grid between them (rounding is
monotone). The Concat then copies a quarter of the bytes. It is done on request alone, because oneDNN's pool
takes as long for 16 channels as for 64 (a place is one vector of 64 bytes): in the first module of
Inception-CNN the Concat becomes 0.10 ms shorter and the pools 0.14 ms longer.

What is left of the Concat cannot be taken away like this. OpenVINO joins *in place*, without a copy, only
along the axis that is outermost in memory (``intel_cpu/src/nodes/concat.cpp``). Its INT8 convolutions keep
channels innermost, whatever the scales of the branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})
_CHANNELWISE = _ROUNDING | {"MaxPool", "Relu", "Identity"}
"""Steps that treat all channels alike, where their scales are one number."""
_CHANNELS = 1
"""The axis of channels, (N, C, H, W)."""


def rewritten(model: Any, *, pools_first: bool = False) -> Any:
    """``model``, an ONNX network, rewritten in place wherever it fits; a second time changes nothing."""
    graph = _Graph(model)
    changed = [_pool_first(graph, pool) for pool in graph.of("MaxPool")] if pools_first else []
    changed += [_join(graph, concat) for concat in graph.of("Concat")]
    if any(changed):
        graph.write()
    return model


class _Graph:
    """The nodes of a model, who makes and who reads each tensor, and the stored constants."""

    def __init__(self, model: Any) -> None:
        self._graph = model.graph
        self.nodes = list(model.graph.node)
        self._stored = {item.name: item for item in model.graph.initializer}
        self._given = {output.name for output in model.graph.output}

    def of(self, kind: str) -> list[Any]:
        return [node for node in self.nodes if node.op_type == kind]

    def maker(self, tensor: str) -> Any | None:
        return next((node for node in self.nodes if tensor in node.output), None)

    def readers(self, tensor: str) -> list[Any]:
        return [node for node in self.nodes if tensor in node.input]

    def has_one_reader(self, tensor: str) -> bool:
        """Whether one node alone reads ``tensor``, which is no output of the network either."""
        return tensor not in self._given and len(self.readers(tensor)) == 1

    def is_given(self, tensor: str) -> bool:
        """Whether ``tensor`` is an output of the network."""
        return tensor in self._given

    def constant(self, name: str) -> NDArray[Any] | None:
        import onnx

        item = self._stored.get(name)
        return None if item is None else onnx.numpy_helper.to_array(item)

    def keep(self, name: str, value: NDArray[Any]) -> None:
        import onnx

        self._stored[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)

    def treats_channels_alike(self, node: Any) -> bool:
        if node.op_type not in _CHANNELWISE or len(node.output) != 1:
            return False
        if node.op_type not in _ROUNDING:
            return True
        scale = self.constant(node.input[1])
        return scale is not None and scale.size == 1 and float(scale.reshape(())) > 0

    def write(self) -> None:
        """Put the nodes and constants that are still read into the model."""
        while True:  # a constant that only a dropped node read takes its maker with it
            read = {name for node in self.nodes for name in node.input} | self._given
            alive = [node for node in self.nodes if read & set(node.output)]
            if len(alive) == len(self.nodes):
                break
            self.nodes = alive
        graph = self._graph
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(item for name, item in self._stored.items() if name in read)


def _pool_first(graph: _Graph, pool: Any) -> bool:
    """Move a pool that reads a Concat in front of it; whether it does."""
    import onnx

    concat = graph.maker(pool.input[0])
    last = None
    while concat is not None and concat.op_type in _ROUNDING and graph.treats_channels_alike(concat):
        if not graph.has_one_reader(concat.output[0]):
            return False
        last = last or concat
        concat = graph.maker(concat.input[0])
    if concat is None or not _joins_channels(concat) or not graph.has_one_reader(concat.output[0]):
        return False
    if len(pool.output) != 1:
        return False
    at = graph.nodes.index(concat)
    for place, tensor in enumerate(concat.input):
        copy = onnx.NodeProto()
        copy.CopyFrom(pool)
        copy.name = f"{pool.name}_{place}" if pool.name else ""
        copy.input[0], copy.output[0] = tensor, f"{pool.output[0]}_{place}"
        concat.input[place] = copy.output[0]
        graph.nodes.insert(at + place, copy)
    (last or concat).output[0] = pool.output[0]
    graph.nodes.remove(pool)
    return True


@dataclass(frozen=True, slots=True)
class _Branch:
    """A convolution and the steps by which its result reaches a Concat."""

    convolution: Any
    weights: list[NDArray[Any]]
    bias: list[NDArray[Any]]
    """Empty where there is none."""
    kind: object
    """The same for branches that are one convolution."""


def _join(graph: _Graph, concat: Any) -> bool:
    """Make one of the convolutions that read one tensor and meet in ``concat``; whether there are any."""
    found = [_branch(graph, tensor) for tensor in concat.input] if _joins_channels(concat) else []
    branches = [branch for branch in found if branch is not None]
    alike: dict[object, list[int]] = {}
    for place, branch in enumerate(branches):
        alike.setdefault(branch.kind, []).append(place)
    if len(branches) < len(found) or len(alike) == len(found):
        return False
    order = [place for places in alike.values() for place in places]
    if order != sorted(order):
        readers = _reading_convolutions(graph, concat.output[0])
        if readers is None:
            return False
        starts = np.cumsum([0, *(len(branch.weights[0]) for branch in branches)])
        moved = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in order])
        for reader, (values, *steps) in readers:
            _put(graph, reader, 1, [values[:, moved], *steps])
    for places in alike.values():
        first, *others = (branches[place] for place in places)
        if others:
            _put(graph, first.convolution, 1, _stacked([first.weights, *(other.weights for other in others)]))
        if others and first.bias:
            _put(graph, first.convolution, 2, _stacked([first.bias, *(other.bias for other in others)]))
    ends = [concat.input[places[0]] for places in alike.values()]
    del concat.input[:]
    concat.input.extend(ends)
    return True


def _stacked(constants: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Constants of several convolutions, in the form of :func:`_parts`, as those of one."""
    return [np.concatenate(arrays) for arrays in zip(*constants, strict=True)]


def _branch(graph: _Graph, tensor: str) -> _Branch | None:
    """The convolution whose result reaches ``tensor``; None where something else does, or others read it."""
    steps: list[object] = []
    while graph.has_one_reader(tensor) and (node := graph.maker(tensor)) is not None:
        if node.op_type == "Conv":
            weights = _parts(graph, node.input[1]) if _reads_all_channels(node) else None
            bias = _parts(graph, node.input[2]) if len(node.input) > 2 else []
            if weights is None or bias is None:
                return None
            form = [(array.dtype.str, array.shape[1:]) for array in (*weights, *bias)]
            kind = (node.input[0], _attributes(node), str(form), tuple(steps))
            return _Branch(node, weights, bias, kind)
        if not graph.treats_channels_alike(node):
            return None
        values = [graph.constant(name) for name in node.input[1:]]
        steps.append(
            (node.op_type, _attributes(node), str([(v.dtype, v.tobytes()) for v in values if v is not None]))
        )
        tensor = node.input[0]
    return None


def _reading_convolutions(graph: _Graph, tensor: str) -> list[tuple[Any, list[NDArray[Any]]]] | None:
    """The convolutions that read the channels of ``tensor``, with their weights; None where others do."""
    if graph.is_given(tensor):
        return None
    found: list[tuple[Any, list[NDArray[Any]]]] = []
    for node in graph.readers(tensor):
        if node.op_type == "Conv" and node.input[0] == tensor and _reads_all_channels(node):
            weights = _parts(graph, node.input[1])
            if weights is None:
                return None
            found.append((node, weights))
        elif graph.treats_channels_alike(node):
            behind = _reading_convolutions(graph, node.output[0])
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


def _parts(graph: _Graph, name: str) -> list[NDArray[Any]] | None:
    """A stored constant, or the integers, scales and zeros that it is made of along its first axis."""
    stored = graph.constant(name)
    if stored is not None:
        return [stored]
    maker = graph.maker(name)
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    parts = [part for part in (graph.constant(given) for given in maker.input) if part is not None]
    along_first = [attribute.i for attribute in maker.attribute if attribute.name == "axis"] == [0]
    whole = len(parts) == 3 and all(part.shape == parts[0].shape[:1] for part in parts[1:])
    return parts if along_first and whole else None


def _put(graph: _Graph, convolution: Any, position: int, parts: list[NDArray[Any]]) -> None:
    """Give a convolution other weights (position 1) or another bias (2), in the form of :func:`_parts`."""
    import onnx

    name = f"{convolution.output[0]}_{'weights' if position == 1 else 'bias'}_rewritten"
    convolution.input[position] = name
    if len(parts) == 1:
        graph.keep(name, parts[0])
        return
    names = [f"{name}_{part}" for part in ("quantized", "scale", "zero")]
    for part, array in zip(names, parts, strict=True):
        graph.keep(part, array)
    known = graph.maker(name)
    if known is None:
        made = onnx.helper.make_node("DequantizeLinear", names, [name], axis=0)
        graph.nodes.insert(graph.nodes.index(convolution), made)


def _joins_channels(node: Any) -> bool:
    return node.op_type == "Concat" and [attribute.i for attribute in node.attribute] == [_CHANNELS]


def _reads_all_channels(convolution: Any) -> bool:
    return all(attribute.i == 1 for attribute in convolution.attribute if attribute.name == "group")


def _attributes(node: Any) -> tuple[bytes, ...]:
    return tuple(sorted(attribute.SerializeToString() for attribute in node.attribute))
