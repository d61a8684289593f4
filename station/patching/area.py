"""Area averaging (box integration): the one way in which inspected and trained pixels change size.

Every target pixel is the mean of exactly the source area it covers, on each axis by itself, whether the
axis shrinks or grows (width 385 -> 512 grows). Interpolating two neighbours instead can lose a 1-px
scratch altogether, so no axis is interpolated, not even where both grow: growing repeats pixels, and mixes
two where a boundary lies within a target pixel. It invents no slope that the camera did not see, keeps the
mean, and shows a network in training what the station will show it. On an axis that shrinks from S to T px,
a 1-px line keeps at least half of T/S of its contrast, wherever it lies; on one that grows, at least half.

The kernel reads the product where it lies in the frame, without a copy, following
its tilt by whole pixels, and is compiled once and cached on disk.

How it is fast: eight target rows at a time are averaged down the rows into a small buffer, which
vectorises over columns; the buffer is then multiplied by the band matrix of the column weights, eight
target columns at a time, so that neither gathers nor transpositions are needed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numpy.typing import NDArray

from station.patching.compiled import compiled, grey, inlined, intrinsic, types

LANES = 8
"""Target columns computed at once; also the smallest target width (width x channels)."""

ROWS = 8
"""Target rows computed at once; also the smallest target height."""


def resize_area(
    source: NDArray[np.uint8],
    starts_x: NDArray[np.uint32],
    starts_y: NDArray[np.uint32],
    height: int,
    width: int,
    channels: int = 1,
    into: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Area-average a region of ``source`` to ``(height, width, channels)`` uint8, C-contiguous.

    ``into``: an array of this shape, which is filled and returned; else a new one is.

    ``source`` is uint8 ``(H, W)`` or ``(H, W, channels)``, C-contiguous. ``starts_x[r]`` is the frame
    column in which row r of the region begins, ``starts_y[c]`` the frame row in which column c begins:
    constant for an upright product, drifting for a tilted one. Raises ValueError where the region leaves
    the source or the target is smaller than 8 rows of 8 values.
    """
    rows, columns = len(starts_x), len(starts_y)
    flat = source.reshape(source.shape[0], -1)
    if not rows or not columns or height < ROWS or width * channels < LANES:
        raise ValueError(f"cannot resize {rows} x {columns} px to {height} x {width} px")
    inside = (int(starts_x.max()) + columns) * channels <= flat.shape[1]
    if not inside or int(starts_y.max()) + rows > flat.shape[0]:
        raise ValueError("the region leaves the source")
    # Runs of columns that begin in the same row; one run when the product stands upright.
    bounds = np.concatenate(([0], np.flatnonzero(np.diff(starts_y)) + 1, [columns])).astype(np.uint32)
    tops = np.ascontiguousarray(starts_y[bounds[:-1]], dtype=np.uint32)
    first_row, row_weights = area_weights(rows, height)
    first_value, band = _band_matrix(columns, width, channels)
    if into is None:
        into = np.empty((height, width, channels), dtype=np.uint8)
    surface = into.reshape(height, width * channels)
    _resize(flat, starts_x, bounds, tops, channels, first_row, row_weights, first_value, band, surface)
    return into


def resize_picture(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A whole picture ``(H, W, C)`` area-averaged to ``(height, width, C)`` uint8; of its own size, itself.

    The kernel of :func:`resize_area`, or the same sums without it for targets too small for it. Raises
    ValueError for an empty picture or target.
    """
    rows, columns, channels = pixels.shape
    if (rows, columns) == (height, width):
        return pixels
    if min(rows, columns, height, width) < 1:
        raise ValueError(f"cannot resize {rows} x {columns} px to {height} x {width} px")
    if height >= ROWS and width * channels >= LANES:
        upright = (np.zeros(rows, np.uint32), np.zeros(columns, np.uint32))
        return resize_area(np.ascontiguousarray(pixels), *upright, height, width, channels)
    mixed = np.einsum("hr,rcv->hcv", _dense(rows, height), pixels.astype(np.float32))
    mixed = np.einsum("wc,hcv->hwv", _dense(columns, width), mixed)
    return np.asarray(mixed + np.float32(0.5), np.uint8)


def _dense(source: int, target: int) -> NDArray[np.float32]:
    """:func:`area_weights` as a matrix ``(target, source)``."""
    first, weights = area_weights(source, target)
    matrix = np.zeros((target, source), np.float32)
    for tap, own in enumerate(weights):
        held = np.flatnonzero(own)
        matrix[held, first[held].astype(np.int64) + tap] = own[held]
    return matrix


@lru_cache(maxsize=256)
def area_weights(source: int, target: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Of each target pixel the first source pixel it covers, and weights ``(taps, target)`` summing to 1."""
    index = np.arange(target, dtype=np.int64)
    # In units of 1/target source pixels, so that every end is an exact integer.
    low, high = index * source, (index + 1) * source
    first = low // target
    taps = int(np.max(-(-high // target) - first))
    pixel = first + np.arange(taps, dtype=np.int64)[:, None]
    covered = np.minimum(high, (pixel + 1) * target) - np.maximum(low, pixel * target)
    weights = (np.maximum(covered, 0) / source).astype(np.float32)
    return _frozen(first.astype(np.uint32)), _frozen(weights)


@lru_cache(maxsize=64)
def _band_matrix(source: int, target: int, channels: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The column weights as blocks ``(blocks, span, 8)``, and the first source value of each block.

    Values are interleaved channels. The last block ends with the last target value, overlapping the one
    before where the width is no multiple of 8.
    """
    first, weights = area_weights(source, target)
    values = target * channels
    starts = np.arange(0, values, LANES)
    starts[-1] = values - LANES
    lane = starts[:, None] + np.arange(LANES)
    column, channel = lane // channels, lane % channels
    source_value = first[column].astype(np.int64) * channels + channel
    begin = source_value.min(axis=1)
    offset = source_value - begin[:, None]
    span = int(offset.max()) + (weights.shape[0] - 1) * channels + 1
    band = np.zeros((len(starts), span, LANES), dtype=np.float32)
    blocks, lanes = np.indices(lane.shape)
    for tap in range(weights.shape[0]):
        band[blocks, offset + tap * channels, lanes] = weights[tap, column]
    return _frozen(begin.astype(np.uint32)), _frozen(band)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


@intrinsic
def _weigh_block(
    _typing: Any, mixed: Any, mixed_bytes: Any, band: Any, span: Any, surface: Any, surface_bytes: Any
) -> Any:
    """ROWS x LANES values of a surface: round(mixed[:, :span] @ band), uint8.

    ``mixed``, ``band`` and ``surface`` are the addresses of their first values, ``_bytes`` the distance from
    one row to the next; ``span`` is at least 1.
    """
    signature = types.void(*[types.intp] * 6)
    single, grey = ir.FloatType(), ir.VectorType(ir.IntType(8), LANES)
    lanes, wholes = ir.VectorType(single, LANES), ir.VectorType(ir.IntType(32), LANES)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        mixed, mixed_bytes, band, span, surface, surface_bytes = arguments
        fast = ("fast",)
        unknown, half = ir.Constant(lanes, ir.Undefined), ir.Constant(lanes, [0.5] * LANES)

        def number(value: int) -> Any:
            return ir.Constant(mixed.type, value)

        def row(base: Any, distance: Any, r: int) -> Any:
            return builder.add(base, builder.mul(distance, number(r)))

        def pointer(base: Any, kind: Any) -> Any:
            return builder.inttoptr(base, kind.as_pointer())

        inputs = [row(mixed, mixed_bytes, r) for r in range(ROWS)]
        before, loop, behind = builder.block, *(builder.append_basic_block() for _ in range(2))
        builder.branch(loop)
        builder.position_at_end(loop)
        tap, *sums = (builder.phi(kind) for kind in (mixed.type, *[lanes] * ROWS))
        place = builder.add(band, builder.mul(tap, number(4 * LANES)))
        weight = builder.load(pointer(place, lanes), align=4)
        totals = []
        for source, total in zip(inputs, sums, strict=True):
            value = builder.load(pointer(builder.add(source, builder.mul(tap, number(4))), single), align=4)
            first = builder.insert_element(unknown, value, ir.Constant(ir.IntType(32), 0))
            spread = builder.shuffle_vector(first, unknown, ir.Constant(wholes, [0] * LANES))
            product = builder.fmul(weight, spread, flags=fast)
            totals.append(builder.fadd(total, product, flags=fast))
        following = builder.add(tap, number(1))
        for phi, start, then in zip(
            (tap, *sums), (number(0), *[half] * ROWS), (following, *totals), strict=True
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed("<", following, span), loop, behind)
        builder.position_at_end(behind)
        for r, total in enumerate(totals):
            whole = builder.fptosi(total, wholes)
            builder.store(builder.trunc(whole, grey), pointer(row(surface, surface_bytes, r), grey), align=1)
        return context.get_dummy_value()

    return signature, codegen


_INDEX = types.Array(types.uint32, 1, "C", readonly=True)
_WEIGHTS = types.Array(types.float32, 2, "C", readonly=True)
_BAND = types.Array(types.float32, 3, "C", readonly=True)


@inlined
def _pixels(source: Any, row: Any, start: Any, begin: Any, end: Any, channels: Any) -> Any:
    offset = np.intp(start) * channels
    return source[row, offset + begin : offset + end]


@compiled(
    types.void,
    grey(2),
    _INDEX,
    _INDEX,
    _INDEX,
    types.intp,
    _INDEX,
    _WEIGHTS,
    _INDEX,
    _BAND,
    types.uint8[:, ::1],
    fastmath=True,
)
def _resize(
    source: Any,
    starts_x: Any,
    bounds: Any,
    tops: Any,
    channels: Any,
    first_row: Any,
    row_weights: Any,
    first_value: Any,
    band: Any,
    surface: Any,
) -> None:
    """The kernel behind :func:`resize_area`; nothing is checked here."""
    height, width = surface.shape
    taps = row_weights.shape[0]
    last = starts_x.size - 1
    # A band reaches up to `span` values past the last column; they weigh 0 and must be finite.
    mixed = np.zeros((ROWS, np.intp(bounds[-1]) * channels + band.shape[1]), dtype=np.float32)
    group = 0
    while group < height:
        top = min(group, height - ROWS)
        for r in range(ROWS):
            i = top + r
            for run in range(tops.shape[0]):
                begin = np.intp(bounds[run]) * channels
                end = np.intp(bounds[run + 1]) * channels
                mix = mixed[r, begin:end]
                # Three rows at a time; a tap that reaches past the region weighs 0.
                for tap in range(0, taps, 3):
                    row = np.intp(first_row[i]) + tap
                    second, third = min(row + 1, last), min(row + 2, last)
                    w0 = row_weights[tap, i]
                    w1 = row_weights[tap + 1, i] if tap + 1 < taps else np.float32(0.0)
                    w2 = row_weights[tap + 2, i] if tap + 2 < taps else np.float32(0.0)
                    if w0 == 0.0:
                        continue
                    a = _pixels(source, np.intp(tops[run]) + row, starts_x[row], begin, end, channels)
                    b = _pixels(source, np.intp(tops[run]) + second, starts_x[second], begin, end, channels)
                    c = _pixels(source, np.intp(tops[run]) + third, starts_x[third], begin, end, channels)
                    if tap == 0:
                        for j in range(mix.size):
                            mix[j] = w0 * np.float32(a[j]) + w1 * np.float32(b[j]) + w2 * np.float32(c[j])
                    else:
                        for j in range(mix.size):
                            mix[j] += w0 * np.float32(a[j]) + w1 * np.float32(b[j]) + w2 * np.float32(c[j])
        for block in range(band.shape[0]):
            _weigh_block(
                np.intp(mixed.ctypes.data) + 4 * np.intp(first_value[block]),
                4 * mixed.shape[1],
                np.intp(band[block].ctypes.data),
                band.shape[1],
                np.intp(surface[top].ctypes.data) + min(block * LANES, width - LANES),
                width,
            )
        group += ROWS


@compiled(types.UniTuple(types.intp[::1], 2), grey(3), types.intp, types.intp, types.intp)
def count_extremes(
    patches: NDArray[np.uint8], step: int, black: int, saturated: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many values <= black and >= saturated every step-th row of ``(N, size, size * C)`` has."""
    dark = np.zeros(patches.shape[0], dtype=np.intp)
    bright = np.zeros(patches.shape[0], dtype=np.intp)
    low, high = np.uint8(black), np.uint8(saturated)
    for n in range(patches.shape[0]):
        for i in range(0, patches.shape[1], step):
            row = patches[n, i]
            below = np.int32(0)
            above = np.int32(0)
            for j in range(row.size):
                below += np.int32(row[j] <= low)
                above += np.int32(row[j] >= high)
            dark[n] += below
            bright[n] += above
    return dark, bright
