"""The kernel of a first stage, compiled for processors with VNNI.

``vpdpbusd`` adds four products of an unsigned and a signed byte to each of 16 (8) sums of 32 bits, and does
not saturate. The 25 taps of a channel are 7 groups of four: of two rows of output, four of the five rows of
pixels are laid one above the other, so that a column of them is one number of 32 bits (5 groups), and the
fifth row is read as it lies (4 taps and 1). A number is spread over all lanes, a lane is a channel, and
channels are innermost in the output, as OpenVINO's convolutions read them.

The inner step is written as LLVM instructions: from plain loops, LLVM makes no ``vpdpbusd``, and they take
11 to 16 times as long (docs/decisions/0031). It uses what numba and llvmlite document: ``intrinsic``,
``llvmlite.ir`` and addresses as integers. This module compiles when it is imported, so import it only where
:func:`lanes` is not 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numpy.typing import NDArray

from station.engines.first_stage.integers import BORDER, KERNEL, FirstStage
from station.engines.first_stage.vnni import lanes
from station.patching.compiled import compiled, grey, intrinsic, types

LANES = lanes()
"""Sums of one instruction."""
VECTORS = 2
"""Instructions with one spread number: LANES * VECTORS channels at a time."""
POOLS = 2 if LANES == 16 else 1
"""Pools at a time, side by side; 16 registers hold the sums of one."""
BLOCK = LANES * VECTORS
GROUPS = 7
_TAPS = 4


class Memory:
    """What one computation writes: scratch, and the patch's output until the network has read it."""

    def __init__(self, stage: FirstStage) -> None:
        self.stage = stage
        half = stage.side // 2
        self.padded = np.zeros((stage.side + 2 * BORDER, stage.side + 2 * BORDER + _TAPS), np.uint8)
        self.columns = np.zeros((2, stage.side + 2 * BORDER), np.uint32)
        self.line = np.zeros((half + 2) * stage.channels, np.uint8)


class Kernel:
    """A first stage, packed for the processor."""

    def __init__(self, stage: FirstStage) -> None:
        stage.require_computable()
        self.stage = stage
        self._weights = packed(stage.weights)

    def output(self, patches: int) -> NDArray[np.uint8]:
        """Memory for the output of some patches, ``(patches, side / 2, side / 2, channels)``."""
        half = self.stage.side // 2
        return np.empty((patches, half, half, self.stage.channels), np.uint8)

    def run(self, patch: NDArray[np.uint8], memory: Memory, out: NDArray[np.uint8]) -> None:
        """Fill ``out``, ``(side / 2, side / 2, channels)``, from a patch ``(side, side)``, C-contiguous.

        Raises ValueError for other shapes, and for the memory of another stage.
        """
        self._require(patch.shape == (self.stage.side, self.stage.side), patch, memory, out)
        _first_stage(
            patch, memory.padded, memory.columns, self._weights, self.stage.bias, self.stage.factors, out
        )

    def pool_again(self, given: NDArray[np.uint8], memory: Memory, out: NDArray[np.uint8]) -> None:
        """Fill ``out`` with the largest of 3 x 3 values around each of ``given``; both as ``out`` of `run`.

        Raises ValueError as :meth:`run` does.
        """
        self._require(given.shape == out.shape, given, memory, out)
        rows = len(given)
        _largest_around(given.reshape(rows, -1), memory.line, self.stage.channels, out.reshape(rows, -1))

    def _require(self, fits: bool, given: NDArray[np.uint8], memory: Memory, out: NDArray[np.uint8]) -> None:
        """The kernels write by address: nothing may be smaller than they think."""
        half = self.stage.side // 2
        if not fits or out.shape != (half, half, self.stage.channels) or memory.stage is not self.stage:
            raise ValueError(
                f"a stage of {self.stage.side} px and {self.stage.channels} channels cannot go from "
                f"{given.shape} to {out.shape} in this memory"
            )


def packed(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """The weights in the order in which the kernel reads them: ``(blocks, 2 rows * 7 groups, BLOCK * 4)``.

    The upper row of a pool has its first four rows of pixels one above the other, the lower row its last.
    """
    blocks = weights.reshape(-1, BLOCK, KERNEL, KERNEL)
    made = np.zeros((len(blocks), 2, GROUPS, BLOCK, _TAPS), np.int8)
    for row, (stacked, alone) in enumerate(((slice(0, 4), 4), (slice(1, 5), 0))):
        made[:, row, :KERNEL] = blocks[:, :, stacked].transpose(0, 3, 1, 2)
        made[:, row, KERNEL] = blocks[:, :, alone, :_TAPS]
        made[:, row, KERNEL + 1, :, 0] = blocks[:, :, alone, _TAPS]
    return np.ascontiguousarray(made.reshape(len(blocks), 2 * GROUPS, BLOCK * _TAPS))


@intrinsic
def _pools(
    _typing: Any,
    upper_columns: Any,
    upper_row: Any,
    lower_columns: Any,
    lower_row: Any,
    weights: Any,
    bias: Any,
    factors: Any,
    out: Any,
    channels: Any,
) -> Any:
    """POOLS pools of BLOCK channels. All arguments are addresses, but the last: bytes between two pools."""
    signature = types.void(*[types.intp] * 9)
    byte, whole, single = ir.IntType(8), ir.IntType(32), ir.FloatType()
    wholes, singles = ir.VectorType(whole, LANES), ir.VectorType(single, LANES)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *rows, weights, bias, factors, out, channels = arguments
        upper_columns, upper_row, lower_columns, lower_row = rows
        no = ir.Constant(wholes, [0] * LANES)
        unknown = ir.Constant(wholes, ir.Undefined)

        def at(base: Any, offset: int, kind: Any) -> Any:
            place = builder.add(base, ir.Constant(base.type, offset))
            return builder.inttoptr(place, kind.as_pointer())

        def load(base: Any, offset: int, kind: Any, align: int = 4) -> Any:
            return builder.load(at(base, offset, kind), align=align)

        def called(name: str, kind: Any, *given: Any) -> Any:
            known = builder.module.globals.get(name)
            made = known or ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(given)), name)
            return builder.call(made, given)

        def larger(one: Any, other: Any) -> Any:
            return builder.select(builder.icmp_signed(">", one, other), one, other)

        first = [load(bias, vector * LANES * 4, wholes) for vector in range(VECTORS)]
        sums = [[list(first), list(first)] for _ in range(2 * POOLS)]
        for group in range(GROUPS):
            for row, (columns, alone) in enumerate(((upper_columns, upper_row), (lower_columns, lower_row))):
                start = (row * GROUPS + group) * VECTORS
                taps = [load(weights, (start + vector) * LANES * 4, wholes) for vector in range(VECTORS)]
                for column in range(2 * POOLS):
                    if group < KERNEL:
                        pixels = load(columns, (column + group) * 4, whole)
                    else:
                        pixels = load(alone, column + (group - KERNEL) * _TAPS, whole, align=1)
                    spread = builder.insert_element(unknown, pixels, ir.Constant(whole, 0))
                    spread = builder.shuffle_vector(spread, unknown, no)
                    own = sums[column][row]
                    for vector in range(VECTORS):
                        name = f"llvm.x86.avx512.vpdpbusd.{LANES * 32}"
                        own[vector] = called(name, wholes, own[vector], spread, taps[vector])
        most = ir.Constant(singles, [255.0] * LANES)
        for pool in range(POOLS):
            for vector in range(VECTORS):
                (a, b), (c, d) = ([row[vector] for row in sums[2 * pool + side]] for side in (0, 1))
                largest = larger(larger(larger(a, b), larger(c, d)), no)
                scaled = builder.fmul(
                    builder.sitofp(largest, singles), load(factors, vector * LANES * 4, singles)
                )
                scaled = builder.select(builder.fcmp_ordered("<", scaled, most), scaled, most)
                rounded = builder.fptosi(called(f"llvm.rint.v{LANES}f32", singles, scaled), wholes)
                place = builder.add(out, builder.mul(channels, ir.Constant(out.type, pool)))
                grey = ir.VectorType(byte, LANES)
                builder.store(builder.trunc(rounded, grey), at(place, vector * LANES, grey), align=1)
        return context.get_dummy_value()

    return signature, codegen


@compiled(
    types.void,
    grey(2),
    types.uint8[:, ::1],
    types.uint32[:, ::1],
    types.Array(types.int8, 3, "C", readonly=True),
    types.Array(types.int32, 1, "C", readonly=True),
    types.Array(types.float32, 1, "C", readonly=True),
    types.uint8[:, :, ::1],
)
def _first_stage(
    patch: Any, padded: Any, columns: Any, weights: Any, bias: Any, factors: Any, out: Any
) -> None:
    """The kernel behind :meth:`Kernel.run`; nothing is checked here."""
    side = patch.shape[0]
    channels = bias.size
    for y in range(side):
        padded[y + BORDER, BORDER : BORDER + side] = patch[y]
    # Above the first row of output lie the rows 0 to 3 of `padded`, and each second row begins new ones.
    for y in range(0, side + 1, 2):
        made = columns[(y >> 1) & 1]
        first, second, third, fourth = padded[y], padded[y + 1], padded[y + 2], padded[y + 3]
        for x in range(made.size):
            made[x] = (
                np.uint32(first[x])
                | (np.uint32(second[x]) << np.uint32(8))
                | (np.uint32(third[x]) << np.uint32(16))
                | (np.uint32(fourth[x]) << np.uint32(24))
            )
        if y == 0:
            continue
        upper_columns = np.intp(columns[((y >> 1) - 1) & 1].ctypes.data)
        lower_columns = np.intp(made.ctypes.data)
        upper_row = np.intp(padded[y + 2 :].ctypes.data)
        lower_row = np.intp(padded[y - 1 :].ctypes.data)
        line = np.intp(out[(y >> 1) - 1].ctypes.data)
        for block in range(weights.shape[0]):
            own_weights = np.intp(weights[block].ctypes.data)
            own_bias = np.intp(bias[block * BLOCK :].ctypes.data)
            own_factors = np.intp(factors[block * BLOCK :].ctypes.data)
            for x in range(0, side, 2 * POOLS):
                _pools(
                    upper_columns + 4 * x,
                    upper_row + x,
                    lower_columns + 4 * x,
                    lower_row + x,
                    own_weights,
                    own_bias,
                    own_factors,
                    line + (x >> 1) * channels + block * BLOCK,
                    channels,
                )


@compiled(types.void, grey(2), types.uint8[::1], types.intp, types.uint8[:, ::1])
def _largest_around(given: Any, line: Any, channels: Any, out: Any) -> None:
    """The kernel behind :meth:`Kernel.pool_again`: ``(rows, columns * channels)``; nothing is checked."""
    rows, values = given.shape
    # The ends of `line` stay 0, the smallest value that there is.
    left, middle = line[:values], line[channels : channels + values]
    right = line[2 * channels : 2 * channels + values]
    for y in range(rows):
        above, own, below = given[max(y - 1, 0)], given[y], given[min(y + 1, rows - 1)]
        for i in range(values):
            tall = max(above[i], own[i])
            middle[i] = max(tall, below[i])
        target = out[y]
        for i in range(values):
            wide = max(left[i], middle[i])
            target[i] = max(wide, right[i])
