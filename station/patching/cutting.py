"""A frame becomes patches: background removal, area resize to the recipe's size, patches.

The product is bright on a dark background (or, with ``background: none``, the whole picture). It is
found in two steps: profiles of every 32nd row say roughly where it is, a vote along each of its four
edges says exactly where (:mod:`station.patching.edges`). The region is the rectangle of the mean edges; where
the product is tilted, ``lean_x`` and ``lean_y`` say by how much its sides drift, and the resize follows
them, so that exactly the product is inspected: no wedge of it is left out and no wedge of background
comes in. A picture in which the product is not found whole, once, and well lit is a fault with a reason.

The surface (2048 x 512 for servo-motor housings, eq. 5-7 of the SMHSI paper, calibration/aspect_ratio.py)
is cut into patches row by row, left to right.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drivers.buffers import Buffers
from station.patching.area import count_extremes, resize_area
from station.patching.finding import as_recipe_sees, find_product
from station.patching.geometry import Patches, PatchingError, Reason, Region, Surface, cut_surface
from station.patching.seam import find_turn
from station.patching.texture import check_texture
from station.recipe import ProductLimits, Recipe

BUFFERS = Buffers()
"""Of the surfaces and patches of parts; each goes back when the last one who looks at its part is done."""


def cut(frame_pixels: NDArray[np.uint8], recipe: Recipe, width_px: int | None = None) -> Patches:
    """Find the product, bring its surface to the recipe's size and cut it into patches.

    ``frame_pixels`` is uint8, ``(H, W)`` grey or ``(H, W, 3)`` BGR; a colour frame is made grey for a
    recipe of one channel. ``width_px`` is the width that the product is known to have; without it, any of
    the recipe's is taken, and a product of which a part is missing can be taken for a narrower one: the line
    asks :meth:`station.prepared.Prepared.width_of` first. Raises :class:`PatchingError`.
    """
    if recipe.stereo is not None:
        raise PatchingError(
            Reason.FRAMES_MISSING, f"one picture, and the recipe needs {recipe.frames}: one for each lamp"
        )
    whole = as_recipe_sees(frame_pixels, recipe)
    pixels, above = one_turn(whole, recipe)
    region = find_product(pixels, recipe, width_px)
    if recipe.product.texture is not None:
        check_texture(pixels, region, recipe.product.texture)
    return cut_region(whole, replace(region, y=region.y + above), recipe)


def one_turn(pixels: NDArray[np.uint8], recipe: Recipe) -> tuple[NDArray[np.uint8], int]:
    """The lines of one turn, and which is the first; all lines where the recipe has no overlap of a turn.

    ``pixels`` as :func:`~station.patching.finding.as_recipe_sees` gives them. Raises :class:`PatchingError`.
    """
    product = recipe.product
    if product.turn_overlap_px is None:
        return pixels, 0
    turn = find_turn(pixels, product.height_px, product.height_tolerance_px, product.turn_overlap_px)
    return pixels[turn.start : turn.start + turn.lines], turn.start


def cut_region(pixels: NDArray[np.uint8], region: Region, recipe: Recipe) -> Patches:
    """The patches of a known region: :func:`cut` without the search. Raises :class:`PatchingError`."""
    found = unchecked_patches(pixels, region, recipe)
    _check_patches(found.pixels, recipe)
    return found


def unchecked_patches(pixels: NDArray[np.uint8], region: Region, recipe: Recipe) -> Patches:
    """The same for pixels that are no light, of which too bright and too dark say nothing."""
    size = recipe.surface
    starts_x = _starts(region.x, region.lean_x, region.height, pixels.shape[1] - region.width)
    starts_y = _starts(region.y, region.lean_y, region.width, pixels.shape[0] - region.height)
    into = BUFFERS.empty(size.height, size.width, size.channels)
    surface = resize_area(pixels, starts_x, starts_y, size.height, size.width, size.channels, into)
    side = recipe.patch.size
    patches = cut_surface(surface, recipe.patch, BUFFERS.empty(recipe.patch_count, side, side, size.channels))
    mm = (recipe.product.mm_per_px_x, recipe.product.mm_per_px_y)
    return Patches(patches, Surface(surface, region), recipe.patch, recipe.grid[1], mm)


def straightened(pixels: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """The pixels ``(height, width)`` of a region of ``(H, W)``, its lean taken out as :func:`cut` does.

    Not resized: for masks, whose values are classes and no brightness.
    """
    rows = _starts(region.x, region.lean_x, region.height, pixels.shape[1] - region.width).astype(np.intp)
    columns = _starts(region.y, region.lean_y, region.width, pixels.shape[0] - region.height).astype(np.intp)
    down = np.arange(region.height)[:, None] + columns[None, :]
    across = rows[:, None] + np.arange(region.width)[None, :]
    return np.ascontiguousarray(pixels[down, across])


def extremes_of(
    patches: NDArray[np.uint8], limits: ProductLimits
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of each of ``(N, patch, patch, C)`` that are black and saturated, in every fourth row."""
    step = 4
    dark, bright = count_extremes(
        patches.reshape(len(patches), patches.shape[1], -1), step, limits.black_level, limits.saturated_level
    )
    looked_at = patches[0, ::step].size
    return dark / looked_at, bright / looked_at


def _check_patches(patches: NDArray[np.uint8], recipe: Recipe) -> None:
    """Refuse a part with a patch that is too bright or too dark."""
    limits = recipe.product.limits
    black, saturated = extremes_of(patches, limits)
    for reason, shares, most in (
        (Reason.SATURATED, saturated, limits.max_saturated_patch),
        (Reason.BLACK, black, limits.max_black_patch),
    ):
        worst = int(np.argmax(shares))
        share = float(shares[worst])
        if share > most:
            raise PatchingError(
                reason, f"patch {worst} cannot be inspected, {share:.0%} of it is {reason}; check the light"
            )


def _starts(start: int, lean: int, length: int, last: int) -> NDArray[np.uint32]:
    """Where each of ``length`` lines begins, px, for a side that drifts by ``lean`` px in all."""
    if not lean:
        return np.full(length, start, dtype=np.uint32)
    drift = (np.arange(length) + 0.5) / length - 0.5
    return np.clip(np.floor(start + drift * lean + 0.5), 0, last).astype(np.uint32)
