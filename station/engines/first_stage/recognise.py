"""The first stage of an OpenVINO model: found, read, and taken out of it.

A network of `deploy.quantise` begins so (the numbers in brackets are what is read)::

    patches -> cast, transpose, / 255 -> round to a grid -> convolution [weights, bias] -> ReLU
            -> round to a grid [scale] -> 2 x 2 pool -> the rest, and mostly a 3 x 3 pool among it

Whatever looks otherwise is refused by name, and then another back end computes the network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.engines.first_stage.integers import BORDER, KERNEL, FirstStage
from station.engines.interface import EngineError

FIRST, AGAIN = "first_stage", "first_stage_pooled"
"""The inputs of what is left of the network."""


def take_out(model: Any) -> tuple[FirstStage, Any]:
    """The first stage of ``model`` and a model of the rest; ``model`` is used up.

    ``model``: an OpenVINO model of fixed shapes, input uint8 ``(N, side, side, 1)``. The rest reads
    :data:`FIRST`, uint8 ``(N, side / 2, side / 2, channels)``, and, where the stage is ``pooled_again``,
    :data:`AGAIN` of the same shape. Raises :class:`EngineError`.
    """
    import openvino
    from openvino import opset13 as ops

    stage, pool, again = _read(model)
    half = stage.side // 2
    shape = [int(model.input(0).shape[0]), half, half, stage.channels]
    parameters = []
    for name, node in ((FIRST, pool), (AGAIN, again)):
        if node is None:
            continue
        given = ops.parameter(shape, np.uint8, name)
        given.output(0).get_tensor().set_names({name})
        value = ops.multiply(ops.convert(given, "f32"), ops.constant(stage.scale))
        # Behind the product, OpenVINO keeps the order in memory that its convolutions want, without a copy.
        node.output(0).replace(ops.transpose(value, np.array([0, 3, 1, 2])).output(0))
        parameters.append(given)
    return stage, openvino.Model(model.get_results(), parameters, "rest")


def _read(model: Any) -> tuple[FirstStage, Any, Any | None]:
    """The stage, the node of its pool, and that of the 3 x 3 pool behind it."""
    picture, steps = _reader(model.input(0).get_node(), "Parameter"), []
    while picture.get_type_name() in ("Convert", "Transpose", "Divide"):
        steps.append(picture)
        picture = _reader(picture, picture.get_type_name())
    scale, convolution = _grid(picture, "the picture")
    if not _keeps_pixels(steps, scale):
        raise _other("the picture is not rounded to its own 256 grey levels")
    weights, weight_scales = _stored(_expect(convolution, "Convolution").input_value(1).get_node())
    attributes = convolution.get_attributes()
    border = [BORDER, BORDER]
    pads = [list(attributes["pads_begin"]), list(attributes["pads_end"])]
    ones = [list(attributes["strides"]), list(attributes["dilations"])]
    if weights.shape[1:] != (1, KERNEL, KERNEL) or pads != [border, border] or ones != [[1, 1], [1, 1]]:
        raise _other(f"its first convolution is no {KERNEL} x {KERNEL} over each pixel of a grey patch")
    added = _expect(_reader(convolution, "Convolution"), "Add")
    bias, bias_scales = _stored(_without_reshape(added.input_value(1).get_node()))
    relu = _expect(_reader(added, "Add"), "Relu")
    out_scale, pool = _grid(_reader(relu, "Relu"), "the output of its first convolution")
    if not _pools(_expect(pool, "MaxPool"), [2, 2], [2, 2], [0, 0]):
        raise _other("its first convolution is followed by no 2 x 2 pool")
    sums = np.asarray(scale * weight_scales, np.float32)
    if weights.dtype != np.int8 or bias.dtype != np.int32 or not np.allclose(bias_scales, sums, 1e-5, 0.0):
        raise _other("weights or bias are no integers in steps of their products")
    readers = [target.get_node() for target in pool.output(0).get_target_inputs()]
    again = [
        node for node in readers if node.get_type_name() == "MaxPool" and _pools(node, [3, 3], [1, 1], [1, 1])
    ]
    stage = FirstStage(
        side=int(model.input(0).shape[1]),
        weights=np.ascontiguousarray(weights[:, 0]),
        bias=np.ascontiguousarray(bias.reshape(-1)),
        factors=np.asarray(sums / out_scale, np.float32),
        scale=out_scale,
        pooled_again=bool(again),
    )
    stage.require_computable()
    return stage, pool, again[0] if again else None


def _grid(node: Any, what: str) -> tuple[np.float32, Any]:
    """The scale of the grid that ``node`` rounds to, and the node that reads the rounded values."""
    if node.get_type_name() != "FakeQuantize" or node.get_attributes()["levels"] != 256:
        raise _other(f"{what} is not rounded to 8 bits")
    low, high, first, last = (_number(node.input_value(place).get_node()) for place in (1, 2, 3, 4))
    while (then := _reader(node, node.get_type_name())).get_type_name() == "Convert":
        node = then
    zero = 0.0
    if then.get_type_name() == "Subtract":
        zero = _number(then.input_value(1).get_node())
        then = _reader(then, "Subtract")
    scale = np.float32(_number(_expect(then, "Multiply").input_value(1).get_node()))
    if (low, zero, first, last) != (0.0, 0.0, 0.0, 255.0):
        raise _other(f"{what} is not rounded to integers from 0 to 255 whose zero is 0")
    if not np.isclose(high, 255.0 * float(scale), 1e-5, 0.0):
        raise _other(f"{what} is rounded to one grid and read on another")
    return scale, _reader(then, "Multiply")


def _keeps_pixels(steps: list[Any], scale: np.float32) -> bool:
    """Whether scaling a pixel and rounding it to the picture's grid gives the pixel again, for all 256."""
    pixels = np.arange(256, dtype=np.float32)
    for step in steps:
        kind = step.get_type_name()
        if kind == "Convert" and step.get_element_type().get_type_name() != "f32":
            return False
        given = [] if kind == "Convert" else _constant(step.input_value(1).get_node()).reshape(-1).tolist()
        if kind == "Transpose" and given != [0, 3, 1, 2]:
            return False
        if kind == "Divide":
            if len(given) != 1:
                return False
            pixels = pixels / np.float32(given[0])
    return np.array_equal(np.rint(pixels / scale), np.arange(256))


def _stored(node: Any) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Integers and scales of stored numbers, whose zeros must be 0."""
    scales = np.asarray(_constant(_expect(node, "Multiply").input_value(1).get_node()), np.float32)
    integers = node.input_value(0).get_node()
    if integers.get_type_name() == "Subtract":
        if np.any(_constant(integers.input_value(1).get_node())):
            raise _other("the zero of its weights or bias is not 0")
        integers = integers.input_value(0).get_node()
    return _constant(integers), scales.reshape(-1)


def _constant(node: Any) -> NDArray[Any]:
    """The stored numbers behind casts and reshapes."""
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    return np.array(_expect(node, "Constant").get_data())


def _number(node: Any) -> float:
    """The one stored number behind casts and reshapes."""
    found = _constant(node)
    if found.size != 1:
        raise _other(f"it has {found.size} numbers where all channels have one grid")
    return float(found.reshape(()))


def _without_reshape(node: Any) -> Any:
    return node.input_value(0).get_node() if node.get_type_name() == "Reshape" else node


def _reader(node: Any, kind: str) -> Any:
    """The one node that reads the values of ``node``."""
    targets = [target.get_node() for target in node.output(0).get_target_inputs()]
    readers = [target for target in targets if target.get_type_name() != "ShapeOf"]
    if len(readers) != 1:
        raise _other(f"{len(readers)} nodes read its first {kind}")
    return readers[0]


def _expect(node: Any, kind: str) -> Any:
    if node.get_type_name() != kind:
        raise _other(f"there is a {node.get_type_name()} where a {kind} is wanted")
    return node


def _pools(node: Any, kernel: list[int], strides: list[int], pads: list[int]) -> bool:
    given = node.get_attributes()
    asked = {"kernel": kernel, "strides": strides, "pads_begin": pads, "pads_end": pads}
    plain = all(list(given[name]) == wanted for name, wanted in asked.items())
    return plain and set(given.get("dilations", [1, 1])) == {1}


def _other(what: str) -> EngineError:
    return EngineError(f"the network does not begin as the kernel of the first stage needs it: {what}")
