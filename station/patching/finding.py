"""Where the product is in a frame."""

from __future__ import annotations

from math import floor, hypot, radians, tan

import cv2
import numpy as np
from numpy.typing import NDArray

from station.patching.edges import Edge, Side, find_edge
from station.patching.geometry import PatchingError, Reason, Region
from station.patching.surroundings import check_beside, check_edges, check_outside
from station.recipe import Product, ProductLimits, Recipe

ROW_STEP = 32
"""Every 32nd row is looked at for the coarse profiles."""


REST = 64
"""Rows left out at both ends when the sides are searched: they may belong to the tilted ends."""


UPRIGHT_PX = 2.0
"""A drift of a side of less than this is taken for upright."""


SIDES = ("left", "right", "top", "bottom")

CUT_PX = 2
"""A product that touches the frame's border must have its size to this, and is else truncated."""


def find_product(frame_pixels: NDArray[np.uint8], recipe: Recipe, width_px: int | None = None) -> Region:
    """Where the one, whole, well-lit product lies in the frame, of ``width_px`` or any width of the recipe.

    Raises :class:`PatchingError`.
    """
    pixels = as_recipe_sees(frame_pixels, recipe)
    product = recipe.product
    widths = product.widths_px if width_px is None else (width_px,)
    sampled, step = _sampled(pixels)
    if product.background == "none":
        region = Region(0, 0, pixels.shape[1], pixels.shape[0])
        _check_size(region, pixels, product, widths)
        _check_light(sampled, step, region, product)
        return region
    edges, background = _find_on_dark(pixels, sampled, step, product)
    region = _region(edges, product)
    _check_size(region, pixels, product, widths)
    _check_light(sampled, step, region, product)
    check_edges(zip(SIDES, edges, strict=True))
    check_beside(pixels, region, background, product)
    check_outside(sampled, step, region, background, product)
    return region


def measure_product(pixels: NDArray[np.uint8], product: Product) -> tuple[Region, float]:
    """Where the one product on a dark background lies, whatever its size and light, and its contrast.

    ``pixels`` is uint8 ``(H, W)`` or ``(H, W, 3)``. The search is that of :func:`find_product`; of
    ``product`` it takes the sizes, which may be rough, the tilt and the limits. The contrast is that of
    product and background, grey levels. Raises :class:`PatchingError`.
    """
    sampled, step = _sampled(np.ascontiguousarray(pixels))
    edges, _ = _find_on_dark(np.ascontiguousarray(pixels), sampled, step, product)
    background, level = _levels(_profile(sampled, 0), product, pixels.shape[1])
    return _region(edges, product), level - background


def light_of(pixels: NDArray[np.uint8], region: Region, limits: ProductLimits) -> tuple[int, float, float]:
    """Median level of the product in the rows that are looked at, and its shares of saturated and black."""
    return _light(*_sampled(pixels), region, limits)


def _sampled(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """The rows that are looked at first, of colour the middle channel, and how far apart they are, px."""
    step = ROW_STEP if pixels.shape[0] >= 64 * ROW_STEP else max(1, pixels.shape[0] // 64)
    return pixels[::step] if pixels.ndim == 2 else np.ascontiguousarray(pixels[::step, :, 1]), step


def as_recipe_sees(pixels: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.uint8]:
    """The frame C-contiguous, in the recipe's channels: (H, W) or (H, W, 3)."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        kind = getattr(pixels, "dtype", type(pixels).__name__)
        raise PatchingError(Reason.BAD_FRAME, f"pixels are {kind}, not uint8; set the camera to 8 bits")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise PatchingError(
            Reason.BAD_FRAME, f"shape {pixels.shape} is neither grey (H, W) nor BGR (H, W, 3)"
        )
    if min(pixels.shape[:2]) < 16:
        raise PatchingError(
            Reason.BAD_FRAME, f"{pixels.shape[1]} x {pixels.shape[0]} px are too few for a product"
        )
    if recipe.surface.channels == 3 and pixels.ndim == 2:
        raise PatchingError(
            Reason.BAD_FRAME, "the frame is grey and the recipe needs colour; set the camera to BGR8"
        )
    if recipe.surface.channels == 1 and pixels.ndim == 3:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    return np.ascontiguousarray(pixels)


def _find_on_dark(
    pixels: NDArray[np.uint8], sampled: NDArray[np.uint8], step: int, product: Product
) -> tuple[list[Edge], float]:
    """The four edges in the order of ``SIDES``, and the background's level."""
    height, width = pixels.shape[:2]
    columns = _profile(sampled, 0)
    background, level = _levels(columns, product, width)
    if level - background < product.limits.min_contrast:
        if background >= product.limits.saturated_level:
            raise PatchingError(Reason.SATURATED, "the whole frame is white; lower exposure, gain or light")
        raise PatchingError(
            Reason.NO_PRODUCT,
            f"no product brighter than the background (levels {background:.0f} to {level:.0f}); "
            "check that a part is in place and that the light is on",
        )
    threshold = background + 0.2 * (level - background)
    runs = _runs(columns > threshold, shortest=16, gap=32)
    narrowest = min(product.widths_px)
    if len(runs) > 1:
        # What is much smaller than any product is dust or a hot column, unless nothing else is there.
        runs = [run for run in runs if run[1] - run[0] >= narrowest / 4] or runs
    if not runs:
        raise PatchingError(
            Reason.NO_PRODUCT, "nothing in the frame is as large as a product; check that a part is in place"
        )
    if len(runs) > 1:
        places = " and ".join(f"x = {a}..{b}" for a, b in runs[:3])
        raise PatchingError(
            Reason.TWO_PRODUCTS, f"another object at {places}; leave only one part in the field of view"
        )
    left, right = runs[0]

    margin = min(40, (right - left) // 8)
    rows = _profile(sampled[:, left + margin : right - margin], 1)
    lit = float(np.partition(rows, int(0.9 * (len(rows) - 1)))[int(0.9 * (len(rows) - 1))])
    spans = _runs(rows > background + 0.2 * (lit - background), shortest=2, gap=2)
    if not spans:
        raise PatchingError(
            Reason.NO_PRODUCT, "nothing in the frame is as high as a product; check that a part is in place"
        )
    if len(spans) > 1:
        gap = f"dark between rows {spans[0][1] * step} and {spans[1][0] * step}"
        whole = [b - a for a, b in spans if (b - a) * step > product.height_px - 2 * step]
        reason = Reason.TWO_PRODUCTS if len(whole) > 1 else Reason.TRUNCATED
        raise PatchingError(
            reason, f"the product is interrupted, {gap}; check that all lines of the frame arrive"
        )
    top, bottom = spans[0][0] * step, min(height, spans[0][1] * step)

    inset = min(REST, (bottom - top) // 8)
    along_y = (top + inset, bottom - inset)
    along_x = (left + margin, right - margin)
    vertical = [
        find_edge(pixels, Side(vertical=True, leading=leading), guess, along_y, background)
        for leading, guess in ((True, left), (False, right))
    ]
    level_lines = [
        find_edge(pixels, Side(vertical=False, leading=leading), guess, along_x, background)
        for leading, guess in ((True, top), (False, bottom))
    ]
    return [*vertical, *level_lines], background


def _profile(sampled: NDArray[np.uint8], axis: int) -> NDArray[np.float32]:
    """The mean grey level of every column (axis 0) or row (axis 1)."""
    return np.asarray(cv2.reduce(sampled, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F), dtype=np.float32).ravel()


def _levels(columns: NDArray[np.float32], product: Product, width: int) -> tuple[float, float]:
    """Background and product level of a column profile; quantiles that fit any of the recipe's widths."""
    dark = max(0.01, (1 - min(1.0, max(product.widths_px) / width)) / 2)
    bright = 1 - min(0.5, min(product.widths_px) / width / 4)
    low, high = int(dark * (width - 1)), int(bright * (width - 1))
    ordered = np.partition(columns, (low, high))
    return float(ordered[low]), float(ordered[high])


def _runs(mask: NDArray[np.bool_], shortest: int, gap: int) -> list[tuple[int, int]]:
    """Runs [begin, end) of True that are long enough, joined where less than ``gap`` lies between them."""
    padded = np.zeros(len(mask) + 2, dtype=np.bool_)
    padded[1:-1] = mask
    ends = np.flatnonzero(padded[1:] != padded[:-1])
    joined: list[tuple[int, int]] = []
    for begin, end in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True):
        if end - begin < shortest:
            continue
        if joined and begin - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _region(edges: list[Edge], product: Product) -> Region:
    """The rectangle of the mean edges, and the drift of its sides."""
    for line, name in zip(edges, SIDES, strict=True):
        if line.found < 0.5:
            raise PatchingError(
                Reason.WRONG_SIZE, f"the product's {name} edge cannot be seen; check light and background"
            )
    left, right, top, bottom = edges
    drift_x, drift_y = (left.slope + right.slope) / 2, (top.slope + bottom.slope) / 2
    # The middles of the sides: where the mean edges meet the other axis' centre line.
    width, height = right.position - left.position, bottom.position - top.position
    limit = tan(radians(product.max_tilt_deg))
    tilt = max(abs(drift_x), abs(drift_y))
    if tilt > limit and tilt * hypot(width, height) > UPRIGHT_PX:
        degrees = np.degrees(np.arctan(tilt))
        raise PatchingError(
            Reason.TILTED,
            f"the product is tilted by {degrees:.1f} degrees, more than {product.max_tilt_deg:g}",
        )
    lean_x = drift_x * height if abs(drift_x) * height > UPRIGHT_PX else 0.0
    lean_y = drift_y * width if abs(drift_y) * width > UPRIGHT_PX else 0.0
    return Region(
        x=floor(left.position + 0.5),
        y=floor(top.position + 0.5),
        width=floor(right.position + 0.5) - floor(left.position + 0.5),
        height=floor(bottom.position + 0.5) - floor(top.position + 0.5),
        lean_x=floor(lean_x + 0.5),
        lean_y=floor(lean_y + 0.5),
    )


def _check_size(region: Region, pixels: NDArray[np.uint8], product: Product, widths: tuple[int, ...]) -> None:
    height, width = pixels.shape[:2]
    nearest = min(widths, key=lambda expected: abs(expected - region.width))
    found = f"{region.width} x {region.height} px at x = {region.x}, y = {region.y}"
    expected = f"{nearest} x {product.height_px} px"
    bounds = region.bounds()
    if product.background == "dark":
        beyond = max(-bounds.x, -bounds.y, bounds.x + bounds.width - width, bounds.y + bounds.height - height)
        at_side = bounds.x <= 0 or bounds.x + bounds.width >= width
        at_end = bounds.y <= 0 or bounds.y + bounds.height >= height
        short = region.height < product.height_px - product.height_tolerance_px
        cut_side = at_side and abs(region.width - nearest) > CUT_PX
        cut_end = at_end and region.height < product.height_px - CUT_PX
        if beyond > CUT_PX or short or cut_side or cut_end:
            raise PatchingError(
                Reason.TRUNCATED,
                f"the product is not complete: {found}, expected {expected}; check its position",
            )
    if abs(region.width - nearest) > product.width_tolerance_px or (
        abs(region.height - product.height_px) > product.height_tolerance_px
    ):
        raise PatchingError(
            Reason.WRONG_SIZE,
            f"found {found}, the nearest of the recipe is {expected}; check that this is the right recipe",
        )


def _check_light(sampled: NDArray[np.uint8], step: int, region: Region, product: Product) -> None:
    """The sampled rows of the product must be neither too bright nor too dark."""
    limits = product.limits
    median, saturated, black = _light(sampled, step, region, limits)
    if saturated > limits.max_saturated:
        raise PatchingError(
            Reason.SATURATED, f"{saturated:.0%} of the product is saturated; lower exposure, gain or light"
        )
    if black > limits.max_black or median < limits.min_level:
        raise PatchingError(
            Reason.BLACK,
            f"the product is too dark (median level {median}, {black:.0%} black); check light and exposure",
        )


def _light(
    sampled: NDArray[np.uint8], step: int, region: Region, limits: ProductLimits
) -> tuple[int, float, float]:
    rows = slice(-(-region.y // step), max(-(-region.y // step) + 1, (region.y + region.height) // step))
    view = sampled[rows, region.x : region.x + region.width]
    counts = cv2.calcHist([view], [0], None, [256], [0, 256]).ravel()
    total = float(counts.sum())
    median = int(np.searchsorted(np.cumsum(counts), total / 2))
    saturated = float(counts[limits.saturated_level :].sum()) / total
    black = float(counts[: limits.black_level + 1].sum()) / total
    return median, saturated, black
