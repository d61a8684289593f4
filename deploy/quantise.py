"""An ONNX classifier from fp32 to INT8 with explicit QuantizeLinear/DequantizeLinear pairs.

Activations are unsigned, weights signed and per output channel (u8s8): the form that the CPU kernels of
both OpenVINO and ONNX Runtime run fast. Where the pairs stand decides whether a run time fuses them:

- one pair at the output of every layer whose values reach a convolution, in front of pools (a maximum
  commutes with rounding), one scale for all that meet in a Concat;
- a second pair with the same scale behind the Concat. It changes nothing (rounding twice on one grid),
  ONNX Runtime needs it to run the Concat in INT8, OpenVINO removes it;
- the scaled picture gets the scale 1/255, which is exact for uint8 pixels;
- biases are int32 with the scale of their products, as ONNX Runtime's kernels want them;
- the range of activations is that with the least squared error on the calibration patches: smallest and
  largest value spend most of the 256 steps on a few values. (Of 240 crops for an Inception-CNN 98.8 % then
  keep their class, with the whole range 97.9 %.)

Fully connected layers, the features they are given and the softmax stay in fp32: they cost nothing beside
the convolutions and decide the probabilities. :func:`quantise` can write a second, signed variant
(symmetric s8 activations, biases in floating point, first convolution unquantised) because TensorRT reads
no other INT8.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.engines.interface import EngineError
from station.engines.manifest import FEATURES, PATCHES, PROBABILITIES

_PASSING = frozenset({"MaxPool", "Concat", "Identity"})
"""Operators through which values travel without being recomputed."""
_CALIBRATION_BATCH = 8
_BINS = 2048
"""Of the histograms that ranges are chosen by."""
_LARGEST_BIAS = 2.0**30
"""Steps; half of what 32 bits hold."""
_SHARES = tuple(np.linspace(1.0, 0.1, 91).tolist())
"""Parts of the whole range that are tried."""


class QuantiseError(EngineError):
    """A network cannot be quantised; the message says what to change."""


@dataclass(frozen=True, slots=True)
class QuantiseReport:
    """What was written and how far it is from the fp32 network, measured on the calibration patches."""

    target: Path
    convolutions: int
    calibration_patches: int
    largest_difference: float
    """Largest difference of a probability."""
    mean_difference: float
    top1_agreement: float
    """Share of patches with the same most probable class."""
    source_bytes: int
    target_bytes: int


def quantise(
    source: Path,
    target: Path,
    calibration: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    *,
    signed_target: Path | None = None,
    min_agreement: float = 0.98,
) -> QuantiseReport:
    """Write ``source`` (fp32 ONNX) as INT8 to ``target``, and its signed variant to ``signed_target``.

    ``calibration`` is uint8 ``(N, patch, patch, C)``, or patches / batches of them; it sets the ranges, so
    it should show every class at every brightness; 100 to 300 patches are enough. Raises
    :class:`QuantiseError`, also when fewer than ``min_agreement`` of the calibration patches keep their
    most probable class; nothing is written then.
    """
    onnx = _onnx()
    patches = _gathered(calibration)
    if not source.is_file():
        raise QuantiseError(f"{source} does not exist; export the network to ONNX first")
    plain = _simplified(source)
    _require_classifier(plain, source)
    plan = _Plan(plain)
    ranges = _ranges(plain, plan, patches)
    unsigned = _quantised(plain, plan, _unsigned_grids(plan, ranges), signed=False)
    expected = _scores(source.read_bytes(), patches)
    report = _report(target, plan, patches, expected, unsigned, source)
    models = [(target, unsigned)]
    if signed_target is not None:
        signed = _quantised(plain, plan, _signed_grids(plan, ranges), signed=True)
        models.append((signed_target, signed))
        _require(_report(signed_target, plan, patches, expected, signed, source), min_agreement)
    _require(report, min_agreement)
    for path, model in models:
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(path))
    return report


def quantised(source: Path, calibration: NDArray[np.uint8], *, signed: bool = False) -> Any:
    """Any fp32 ONNX network from ``patches`` on as an INT8 model, whatever it gives; nothing is written.

    ``signed``: in the form that TensorRT reads. How much it differs is for the caller to measure. Raises
    :class:`QuantiseError`.
    """
    patches = _gathered(calibration)
    plain = _simplified(source)
    plan = _Plan(plain)
    ranges = _ranges(plain, plan, patches)
    grids = _signed_grids(plan, ranges) if signed else _unsigned_grids(plan, ranges)
    return _quantised(plain, plan, grids, signed=signed)


@dataclass(frozen=True, slots=True)
class _Grid:
    """value = scale * (integer - zero)."""

    scale: np.float32
    zero: np.uint8 | np.int8


class _Plan:
    """Which tensors of a graph are quantised, and which of them share one grid."""

    def __init__(self, model: Any) -> None:
        nodes = list(model.graph.node)
        self.makers = {output: node for node in nodes for output in node.output}
        self.convolutions = [node for node in nodes if node.op_type == "Conv"]
        if not self.convolutions:
            raise QuantiseError("the network has no convolution; INT8 would not make it faster")
        self._parent: dict[str, str] = {}
        for node in self.convolutions:
            self._unite(self.sources(node.input[0]))
        for node in nodes:  # the last convolutions feed no other, but are fused only with an integer output
            maker = self.makers.get(node.input[0]) if node.op_type == "Relu" else None
            if maker is not None and maker.op_type == "Conv":
                self._unite({node.output[0]})
        self.tensors = frozenset(self._parent)
        self.concats = {
            node.output[0]: min(self.sources(node.output[0]))
            for node in nodes
            if node.op_type == "Concat" and self.sources(node.output[0]) <= self.tensors
        }
        self.picture = self._picture(nodes)

    def sources(self, tensor: str) -> set[str]:
        """The tensors whose values arrive at ``tensor`` unchanged."""
        maker = self.makers.get(tensor)
        if maker is None or maker.op_type not in _PASSING:
            return {tensor}
        return set().union(*(self.sources(given) for given in maker.input))

    def group(self, tensor: str) -> str:
        """The representative of all tensors that share a grid with ``tensor``."""
        while self._parent[tensor] != tensor:
            tensor = self._parent[tensor]
        return tensor

    def _unite(self, tensors: set[str]) -> None:
        first, *rest = sorted(tensors)
        self._parent.setdefault(first, first)
        for tensor in rest:
            self._parent.setdefault(tensor, tensor)
            self._parent[self.group(tensor)] = self.group(first)

    def _picture(self, nodes: list[Any]) -> str | None:
        """The tensor that is the input scaled to 0..1, when the first convolution reads nothing else."""
        tensor = PATCHES
        readers = {name: node for node in nodes for name in node.input}
        scaled = False
        while (node := readers.get(tensor)) is not None and node.op_type in (
            "Cast",
            "Transpose",
            "Div",
            "Mul",
        ):
            scaled |= node.op_type in ("Div", "Mul")
            tensor = node.output[0]
        return tensor if scaled and tensor in self.tensors else None


def _unsigned_grids(plan: _Plan, ranges: dict[str, tuple[float, float]]) -> dict[str, _Grid]:
    grids = {}
    for tensor, (low, high) in _group_ranges(plan, ranges).items():
        scale = np.float32(max(high - low, 1e-6) / 255)
        grids[tensor] = _Grid(scale, np.uint8(np.clip(round(-low / float(scale)), 0, 255)))
    if plan.picture is not None and ranges[plan.picture][1] <= 1.0 + 1e-6:
        grids[plan.picture] = _Grid(np.float32(1 / 255), np.uint8(0))
    return grids


def _signed_grids(plan: _Plan, ranges: dict[str, tuple[float, float]]) -> dict[str, _Grid]:
    return {
        tensor: _Grid(np.float32(max(-low, high, 1e-6) / 127), np.int8(0))
        for tensor, (low, high) in _group_ranges(plan, ranges).items()
        if tensor != plan.picture  # seven bits are too few for a picture
    }


def _group_ranges(plan: _Plan, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    joined: dict[str, tuple[float, float]] = {}
    for tensor, (low, high) in ranges.items():
        group = plan.group(tensor)
        known = joined.get(group, (0.0, 0.0))
        joined[group] = (min(known[0], low), max(known[1], high))
    return {tensor: joined[plan.group(tensor)] for tensor in ranges}


def _quantised(plain: Any, plan: _Plan, grids: dict[str, _Grid], *, signed: bool) -> Any:
    """A copy of ``plain`` with the pairs in it."""
    onnx = _onnx()
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    graph = model.graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    writer = _Writer(onnx, graph)
    behind = {tensor: grids[source] for tensor, source in plan.concats.items() if source in grids} | grids
    for node in plain.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(copy.input):
            if name in behind:
                copy.input[position] = f"{name}_dequantized"
        sources = plan.sources(node.input[0]) if node.op_type == "Conv" else set()
        if sources and sources <= grids.keys():
            weights = constants[node.input[1]]
            scales = np.maximum(np.abs(weights).reshape(len(weights), -1).max(axis=1), 1e-8) / 127
            step = float(grids[min(sources)].scale)
            has_bias = len(node.input) > 2 and not signed
            if has_bias:  # of a channel whose weights are nearly 0, the bias would not fit into 32 bits
                bias = constants[node.input[2]].astype(np.float64)
                scales = np.maximum(scales, (np.abs(bias) / (step * _LARGEST_BIAS)).astype(np.float32))
            integers = np.clip(np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1))), -127, 127)
            copy.input[1] = writer.constant(f"{node.output[0]}_weights", integers.astype(np.int8), scales)
            if has_bias:
                steps = scales * step
                rounded = np.rint(bias / steps)
                copy.input[2] = writer.constant(f"{node.output[0]}_bias", rounded.astype(np.int32), steps)
        writer.nodes.append(copy)
        for output in node.output:
            if output in behind:
                writer.pair(output, behind[output])
    writer.finish()
    onnx.checker.check_model(model, full_check=True)
    return model


class _Writer:
    """Collects the nodes and constants of the new graph."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self.nodes: list[Any] = []
        self._onnx, self._graph = onnx, graph

    def constant(self, name: str, integers: NDArray[Any], scales: NDArray[Any]) -> str:
        """An integer constant, dequantised along its first axis; the name of the result."""
        parts = [f"{name}_quantized", f"{name}_scale", f"{name}_zero"]
        arrays = [integers, scales.astype(np.float32), np.zeros(len(scales), integers.dtype)]
        for part, array in zip(parts, arrays, strict=True):
            self._keep(part, array)
        result = f"{name}_dequantized"
        self.nodes.append(self._onnx.helper.make_node("DequantizeLinear", parts, [result], axis=0))
        return result

    def pair(self, tensor: str, grid: _Grid) -> None:
        """Round ``tensor`` to ``grid``."""
        scale, zero = f"{tensor}_scale", f"{tensor}_zero"
        self._keep(scale, grid.scale)
        self._keep(zero, grid.zero)
        integer = f"{tensor}_quantized"
        make = self._onnx.helper.make_node
        self.nodes.append(make("QuantizeLinear", [tensor, scale, zero], [integer]))
        self.nodes.append(make("DequantizeLinear", [integer, scale, zero], [f"{tensor}_dequantized"]))

    def finish(self) -> None:
        """Put the nodes into the graph and drop what nothing reads any more."""
        graph = self._graph
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        kept = [item for item in graph.initializer if item.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)

    def _keep(self, name: str, value: Any) -> None:
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(np.asarray(value), name))


def _simplified(source: Path) -> Any:
    """The graph with batch normalisation folded and constants computed, the input cast before all else."""
    onnx = _onnx()
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        try:
            session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # ONNX Runtime's errors have no common base class
            raise QuantiseError(f"ONNX Runtime cannot read {source} as a network ({problem})") from problem
        model = onnx.load(str(path))
    inputs = session.get_inputs()
    if [item.name for item in inputs] != [PATCHES] or inputs[0].type != "tensor(uint8)":
        raise QuantiseError(
            f"{source} takes {', '.join(f'{i.name} {i.type}' for i in inputs)}, not `{PATCHES}` as uint8; "
            "export it with the scaling inside"
        )
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise QuantiseError(f"{source} is quantised already; name the fp32 network")
    used = {node.domain for node in model.graph.node}
    kept = [item for item in model.opset_import if item.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return cast_first(model)


def _require_classifier(model: Any, source: Path) -> None:
    outputs = [output.name for output in model.graph.output]
    if outputs not in ([PROBABILITIES], [PROBABILITIES, FEATURES]):
        raise QuantiseError(
            f"{source} gives {', '.join(outputs)}, not `{PROBABILITIES}`; export it with the softmax"
        )


def cast_first(model: Any) -> Any:
    """The graph with ``Transpose -> Cast`` at the input turned to ``Cast -> Transpose``, in place.

    TensorRT takes uint8 as the input of a network only where a cast reads it directly.
    """
    nodes = list(model.graph.node)
    for first, second in ((a, b) for a in nodes for b in nodes):
        moved = first.op_type == "Transpose" and second.op_type == "Cast"
        if moved and list(first.input) == [PATCHES] and list(second.input) == list(first.output):
            between, end = first.output[0], second.output[0]
            second.input[0], second.output[0] = PATCHES, between
            first.input[0], first.output[0] = between, f"{between}_transposed"
            for node in nodes:
                for position, name in enumerate(node.input):
                    if name == end:
                        node.input[position] = first.output[0]
            at, to = nodes.index(first), nodes.index(second)
            nodes[at], nodes[to] = nodes[to], nodes[at]
            del model.graph.node[:], model.graph.value_info[:]
            model.graph.node.extend(nodes)
            return model
    return model


def _ranges(model: Any, plan: _Plan, patches: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """The range of each tensor that costs least squared error over the calibration patches."""
    onnx = _onnx()
    tensors = sorted(plan.tensors)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for tensor in tensors:
        watched.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    session = _session(watched.SerializeToString())
    extremes = dict.fromkeys(tensors, (math.inf, -math.inf))
    for batch in _batches(patches):
        for tensor, values in zip(tensors, session.run(tensors, {PATCHES: batch}), strict=True):
            low, high = extremes[tensor]
            extremes[tensor] = (min(low, float(values.min())), max(high, float(values.max())))
    strange = [tensor for tensor, limits in extremes.items() if not np.isfinite(limits).all()]
    if strange:
        raise QuantiseError(
            f"values of {strange[0]} are not finite on the calibration patches; check the network"
        )
    joined = _group_ranges(plan, extremes)
    counts = {plan.group(tensor): np.zeros(_BINS) for tensor in tensors}
    for batch in _batches(patches):
        for tensor, values in zip(tensors, session.run(tensors, {PATCHES: batch}), strict=True):
            counts[plan.group(tensor)] += np.histogram(values, _BINS, joined[tensor])[0]
    best = {group: _least_error(joined[group], count) for group, count in counts.items()}
    return {
        tensor: extremes[tensor] if tensor == plan.picture else best[plan.group(tensor)] for tensor in tensors
    }


def _least_error(limits: tuple[float, float], counts: NDArray[np.float64]) -> tuple[float, float]:
    """The part of the range, both ends drawn in alike, on whose 256 steps the counted values lose least."""
    low, high = limits
    if high <= low:
        return limits
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)

    def error(share: float) -> float:
        step = share * (high - low) / 255
        zero = round(-share * low / step)
        kept = (np.clip(np.round(centres / step) + zero, 0, 255) - zero) * step
        return float(((kept - centres) ** 2 * counts).sum())

    share = min(_SHARES, key=error)
    return share * low, share * high


def _scores(content: bytes, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = _session(content)
    found = [session.run([PROBABILITIES], {PATCHES: batch})[0] for batch in _batches(patches)]
    return np.concatenate(found).astype(np.float32)


def _report(
    target: Path,
    plan: _Plan,
    patches: NDArray[np.uint8],
    expected: NDArray[np.float32],
    model: Any,
    source: Path,
) -> QuantiseReport:
    content = model.SerializeToString()
    found = _scores(content, patches)
    difference = np.abs(found - expected)
    return QuantiseReport(
        target=target,
        convolutions=len(plan.convolutions),
        calibration_patches=len(patches),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        top1_agreement=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        source_bytes=source.stat().st_size,
        target_bytes=len(content),
    )


def _require(report: QuantiseReport, min_agreement: float) -> None:
    if not report.top1_agreement >= min_agreement:
        raise QuantiseError(
            f"{report.target.name}: only {report.top1_agreement:.1%} of the calibration patches keep "
            f"their class (wanted: {min_agreement:.1%}); calibrate with more patches of every class, "
            "or ship fp32 alone"
        )


def _gathered(calibration: NDArray[np.uint8] | Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    items = [calibration] if isinstance(calibration, np.ndarray) else list(calibration)
    batches = [item[None] if item.ndim == 3 else item for item in items]
    if not batches or not sum(len(batch) for batch in batches):
        raise QuantiseError("there are no calibration patches; give 100 to 300 that show every class")
    if any(batch.dtype != np.uint8 or batch.ndim != 4 for batch in batches):
        raise QuantiseError(
            "calibration patches must be uint8 (N, patch, patch, C), as the camera gives them"
        )
    return np.ascontiguousarray(np.concatenate(batches))


def _batches(patches: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(patches), _CALIBRATION_BATCH):
        yield patches[start : start + _CALIBRATION_BATCH]


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # ONNX Runtime's errors have no common base class
        raise QuantiseError(f"ONNX Runtime does not run the network ({problem})") from problem


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise QuantiseError(
            "the onnx package is not installed; run pip install 'inspection-station[train]'"
        ) from None
    return onnx
