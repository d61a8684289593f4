"""Whether an ONNX file is a plain network, complete in itself: looked at before a run time sees it.

A run time that loads a file from memory still follows what stands in it: external data are read from the
current folder, IR and ORT formats are recognised by their first bytes, functions and domains bring code.
None of that is covered by a digest. So the bytes are read here by a strict reader of their own: one graph,
known operators of ONNX's own domain, dense tensors whose numbers are in the file. Whatever is not known to be
harmless is refused, also fields that a later release of ONNX may add.

Field numbers: onnx.proto3 of ONNX 1.23. Protobuf lets a later occurrence of a field replace an earlier one,
or merges the two; what may stand once is refused where it stands twice, so no check depends on which counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from station.engines.interface import EngineError
from station.strict_yaml import DocumentError, Mistake

_OPERATORS = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat
    Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DepthToSpace DequantizeLinear
    Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv
    QLinearMatMul QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Resize Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile
    TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
OPERATORS = frozenset(_OPERATORS.split())
"""What a network that classifies patches may be made of: no control flow, no chance, no text, no files."""

_BYTES_OF_A_NUMBER = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""By ``TensorProto.DataType``: float, (u)int8 to (u)int64, bool, float16, double, bfloat16."""
_OTHER_FORMATS = {b"ORTM": "ONNX Runtime's own format", b"TFL3": "TensorFlow Lite"}
"""Recognised by bytes 4 to 8, which in an ONNX file may be any text."""
_PICKLE = b"\x80"
"""Of every pickle since protocol 2; the first field of an ONNX file has a number below 16."""
_MOST_FIELDS, _MOST_SIDES, _MOST_MISTAKES, _LONGEST_TEXT = 200_000, 8, 20, 200
_OWN_DOMAINS = ("", "ai.onnx")

_NUMBER, _LONG, _BYTES, _SHORT = 0, 1, 2, 5
"""Wire types: varint, 8 bytes, length and bytes, 4 bytes."""

_AGAIN = "export the network again as one ONNX file (retrain does)"


@dataclass(frozen=True, slots=True)
class _Message:
    """What may stand in a protobuf message, by field number and wire type."""

    name: str
    once: Mapping[int, int]
    many: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    """What is known and not allowed, in words."""


_Value = int | memoryview
_Read = dict[int, list[_Value]]

_MODEL = _Message(
    "ModelProto",
    once={1: _NUMBER, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _NUMBER, 6: _BYTES, 7: _BYTES},
    many={8: (_BYTES,), 14: (_BYTES,)},
    refused={20: "training information", 25: "functions of its own", 26: "a configuration of devices"},
)
_OPERATOR_SET = _Message("OperatorSetIdProto", once={1: _BYTES, 2: _NUMBER})
_GRAPH = _Message(
    "GraphProto",
    once={2: _BYTES, 10: _BYTES},
    many=dict.fromkeys((1, 5, 11, 12, 13, 14, 16), (_BYTES,)),
    refused={15: "sparse weights"},
)
_NODE = _Message(
    "NodeProto",
    once={3: _BYTES, 4: _BYTES, 6: _BYTES, 7: _BYTES},
    many={1: (_BYTES,), 2: (_BYTES,), 5: (_BYTES,), 9: (_BYTES,)},
    refused={8: "an overload, which names a function", 10: "a configuration of devices"},
)
_ATTRIBUTE = _Message(
    "AttributeProto",
    once={1: _BYTES, 2: _SHORT, 3: _NUMBER, 4: _BYTES, 5: _BYTES, 13: _BYTES, 20: _NUMBER},
    many={7: (_SHORT, _BYTES), 8: (_NUMBER, _BYTES), 9: (_BYTES,), 10: (_BYTES,)},
    refused={
        6: "a graph of its own",
        11: "graphs of its own",
        14: "a type",
        15: "types",
        21: "a reference to a function's attribute",
        22: "a sparse tensor",
        23: "sparse tensors",
    },
)
_TENSOR = _Message(
    "TensorProto",
    once={2: _NUMBER, 8: _BYTES, 9: _BYTES, 12: _BYTES, 14: _NUMBER},
    many={
        1: (_NUMBER, _BYTES),
        4: (_SHORT, _BYTES),
        5: (_NUMBER, _BYTES),
        7: (_NUMBER, _BYTES),
        10: (_LONG, _BYTES),
        11: (_NUMBER, _BYTES),
        13: (_BYTES,),
        16: (_BYTES,),
    },
    refused={3: "a segment of a tensor", 6: "texts"},
)


class NetworkError(DocumentError, EngineError):
    """An ONNX file is not a plain network; the message names file, node and remedy."""


class _DamagedError(ValueError):
    """The bytes are no ONNX file, in words."""


def require_plain(content: bytes, file: Path) -> None:
    """Refuse an ONNX file that is more than a network of known operators with its own numbers in it.

    ``file`` is what the error names. Raises :class:`NetworkError` with every fault that was found.
    """
    look = _Look()
    try:
        other = _OTHER_FORMATS.get(content[4:8])
        if other:
            raise _DamagedError(f"is marked as a file of {other}")
        if content.startswith(_PICKLE):
            raise _DamagedError("is a pickle, which could run anything")
        look.at_model(memoryview(content))
    except _DamagedError as problem:
        look.mistakes.append(Mistake(0, "", str(problem), _AGAIN))
    if look.mistakes:
        raise NetworkError(file, *look.mistakes)


class _Look:
    """One look through a file, and what was found wrong."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._fields = 0

    def at_model(self, content: memoryview) -> None:
        model = self._read(content, _MODEL, "the file")
        for given in model.get(8, []):
            operators = self._read(_message(given), _OPERATOR_SET, "the file")
            self._require_own_domain(operators.get(1, []), "the file")
        if len(model.get(7, [])) != 1:
            raise _DamagedError("is not an ONNX file: it has no graph")
        graph = self._read(_message(model[7][0]), _GRAPH, "the graph")
        for given in graph.get(5, []):
            self._at_tensor(_message(given), "")
        for number, given in enumerate(graph.get(1, [])):
            self._at_node(_message(given), number)

    def _at_node(self, content: memoryview, number: int) -> None:
        named = self._read(content, _NODE, "")
        operator = _first_text(named, 4)
        name = _first_text(named, 3) or _first_text(named, 2) or f"number {number}"
        where = f"node {name!r} ({operator})"
        for refused in self._refused(named, _NODE):
            self._wrong(where, f"has {refused}")
        self._require_own_domain(named.get(7, []), where)
        if operator not in OPERATORS:
            self._wrong(
                where,
                "is of an operator that an engine may not use",
                "export the network without it; station/engines/graph.py lists the operators",
            )
        for given in named.get(5, []):
            attribute = self._read(_message(given), _ATTRIBUTE, where)
            for tensor in (*attribute.get(5, []), *attribute.get(10, [])):
                self._at_tensor(_message(tensor), f"{where}: ")

    def _at_tensor(self, content: memoryview, owner: str) -> None:
        tensor = self._read(content, _TENSOR, "")
        where = f"{owner}tensor {_first_text(tensor, 8)!r}"
        for refused in self._refused(tensor, _TENSOR):
            self._wrong(where, f"has {refused}")
        if tensor.get(13) or tensor.get(14, [0])[0] != 0:
            self._wrong(
                where,
                "lies in another file, which no digest covers",
                "save the network with its weights inside (onnx.save without save_as_external_data)",
            )
            return
        kind = tensor.get(2, [0])[0]
        size = _BYTES_OF_A_NUMBER.get(kind) if isinstance(kind, int) else None
        if size is None:
            self._wrong(where, f"has numbers of type {kind}, which an engine may not use")
            return
        sides = list(islice(_numbers(tensor.get(1, [])), _MOST_SIDES + 1))
        if len(sides) > _MOST_SIDES:
            self._wrong(where, f"has more than {_MOST_SIDES} dimensions")
            return
        count = math.prod(sides)
        raw = [_message(given) for given in tensor.get(9, [])]
        typed = sum(
            len(value) if isinstance(value, memoryview) else 1
            for number in (4, 5, 7, 10, 11)
            for value in tensor.get(number, [])
        )
        if (raw and (typed or len(raw[0]) != count * size)) or (not raw and count > typed):
            stored = len(raw[0]) if raw else typed
            self._wrong(where, f"says that it has {count} numbers, but has {stored} bytes")

    def _require_own_domain(self, given: list[_Value], where: str) -> None:
        for domain in map(_text, given):
            if domain not in _OWN_DOMAINS:
                self._wrong(
                    where,
                    f"is of the domain {domain!r}, not ONNX's own",
                    "export the network with ONNX's own operators only",
                )

    def _read(self, content: memoryview, kind: _Message, where: str) -> _Read:
        """The fields of a message; refused ones are reported at once where ``where`` is known already."""
        found: _Read = {}
        for number, wire, value in _fields(content):
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise _DamagedError(f"has more than {_MOST_FIELDS} fields, which no network needs")
            if number in kind.refused:
                found.setdefault(-number, []).append(0)
                continue
            allowed = (kind.once[number],) if number in kind.once else kind.many.get(number, ())
            if wire not in allowed:
                raise _DamagedError(
                    f"has field {number} in a {kind.name} ({where or 'of a node or tensor'}), which this "
                    "station does not know"
                )
            values = found.setdefault(number, [])
            if values and number in kind.once:
                raise _DamagedError(f"has field {number} of a {kind.name} twice")
            values.append(value)
        if where:
            for refused in self._refused(found, kind):
                self._wrong(where, f"has {refused}")
        return found

    def _refused(self, found: _Read, kind: _Message) -> list[str]:
        return [phrase for number, phrase in kind.refused.items() if -number in found]

    def _wrong(self, where: str, problem: str, remedy: str = _AGAIN) -> None:
        self.mistakes.append(Mistake(0, where, problem, remedy))
        if len(self.mistakes) >= _MOST_MISTAKES:
            raise _DamagedError("has more mistakes, which are not shown")


def _fields(content: memoryview) -> Iterator[tuple[int, int, _Value]]:
    """Number, wire type and value of each field. Raises :class:`_DamagedError`."""
    at, end = 0, len(content)
    while at < end:
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        value: _Value
        if wire == _NUMBER:
            value, at = _varint(content, at)
        elif wire in (_LONG, _SHORT, _BYTES):
            length = {_LONG: 8, _SHORT: 4}.get(wire, -1)
            if length < 0:
                length, at = _varint(content, at)
            if length > end - at:
                raise _DamagedError("is not an ONNX file, or is cut off")
            value, at = content[at : at + length], at + length
        else:
            raise _DamagedError("is not an ONNX file")
        yield number, wire, value


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where the next byte is."""
    value = 0
    for place in range(10):
        if at + place >= len(content):
            break
        byte = content[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & (2**64 - 1), at + place + 1
    raise _DamagedError("is not an ONNX file, or is cut off")


def _numbers(given: list[_Value]) -> Iterator[int]:
    """The numbers of a repeated field, packed or not."""
    for value in given:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield number


def _message(given: _Value) -> memoryview:
    assert isinstance(given, memoryview), "the wire type was checked"
    return given


def _first_text(read: _Read, number: int) -> str:
    """The text of a field that stands once; empty where it does not stand."""
    return _text(read[number][0]) if number in read else ""


def _text(given: _Value) -> str:
    """The beginning of a text: no name of a network is longer."""
    return _message(given)[:_LONGEST_TEXT].tobytes().decode("utf-8", "replace")
