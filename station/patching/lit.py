"""The frames of one part, each under another lamp, become patches of curvature, range and texture.

Each frame must be one that could be inspected by itself: the product whole, once, and well lit. It must lie
at the same place in all of them, because slopes are differences of light at one pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from station.patching.cutting import cut, straightened, unchecked_patches
from station.patching.geometry import Patches, PatchingError, Reason, Region, Surface
from station.recipe import Recipe
from station.stereo.channels import channels
from station.stereo.rig import Stereo

MOVED_PX = 1
"""The largest difference of a product's place between two frames, px: its edges are found to a pixel."""


def cut_part(frames: Sequence[NDArray[np.uint8]], recipe: Recipe, width_px: int | None = None) -> Patches:
    """The patches of a part's frames; of one frame, those of :func:`~station.patching.cutting.cut`.

    ``frames``: uint8, one per lamp of ``recipe.stereo``, in the lamps' order and grey ``(H, W)``; else one.
    ``width_px``: as :func:`~station.patching.cutting.cut` takes it. The patches of several frames are blue:
    texture, green: range, red: curvature. Raises :class:`PatchingError`, which names the frame.
    """
    if len(frames) != recipe.frames:
        what = f"{len(frames)} frame(s), and the recipe needs {recipe.frames}: one for each lamp"
        raise PatchingError(Reason.FRAMES_MISSING, what)
    if recipe.stereo is None:
        return cut(frames[0], recipe, width_px)
    region = _place(frames, recipe, width_px)
    found = lit_patches(np.stack([_within(pixels, region) for pixels in frames]), recipe)
    return replace(found, surface=Surface(found.surface.pixels, region))


def lit_patches(product: NDArray[np.uint8], recipe: Recipe) -> Patches:
    """The patches of a product's own pixels under each lamp, uint8 ``(lamps, H, W)``: of the channels.

    :func:`cut_part` without the search.
    """
    assert recipe.stereo is not None
    coloured = np.ascontiguousarray(channels(product, recipe.stereo).picture(recipe.stereo)[..., ::-1])
    return unchecked_patches(coloured, Region(0, 0, product.shape[2], product.shape[1]), recipe)


def frame_recipe(recipe: Recipe) -> Recipe:
    """What a single frame of a part is inspected by: the recipe itself, or as if it had no lamps."""
    if recipe.stereo is None:
        return recipe
    grey = recipe.surface.model_copy(update={"channels": 1})
    return recipe.model_copy(update={"stereo": None, "surface": grey})


def _place(frames: Sequence[NDArray[np.uint8]], recipe: Recipe, width_px: int | None) -> Region:
    """Where the product lies in all frames, each of which is inspected as one of a recipe without lamps."""
    assert recipe.stereo is not None
    single = frame_recipe(recipe)
    first: Region | None = None
    for number, pixels in enumerate(frames, start=1):
        which = name_of_frame(recipe.stereo, number)
        if pixels.ndim != 2:
            raise PatchingError(Reason.BAD_FRAME, f"{which}: is coloured; set the camera to 8 bits grey")
        if pixels.shape != frames[0].shape:
            sizes = [f"{one.shape[1]} x {one.shape[0]} px" for one in (pixels, frames[0])]
            raise PatchingError(Reason.BAD_FRAME, f"{which}: has {sizes[0]}, the first frame {sizes[1]}")
        try:
            region = cut(pixels, single, width_px).surface.region
        except PatchingError as error:
            raise PatchingError(error.reason, f"{which}: {error.message}") from error
        first = first or region
        if _differs(region, first):
            places = [f"{one.width} x {one.height} px at {one.x}, {one.y}" for one in (region, first)]
            moved = f"{which}: the product has {places[0]}, in the first frame {places[1]}; keep it still"
            raise PatchingError(Reason.MOVED, moved)
    assert first is not None, "a rig has three lamps or more"
    return first


def _within(pixels: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """The pixels (height, width) of a region; a leaning one is straightened by whole pixels."""
    if region.lean_x or region.lean_y:
        return straightened(pixels, region)
    return pixels[region.y : region.y + region.height, region.x : region.x + region.width]


def name_of_frame(stereo: Stereo, number: int) -> str:
    """A frame of a part for people, by its number from 1, with its lamp."""
    output = stereo.lamps[number - 1].output
    return f"frame {number} of {len(stereo.lamps)} (the lamp at output {output})"


def _differs(one: Region, other: Region) -> bool:
    sides = ("x", "y", "width", "height", "lean_x", "lean_y")
    return any(abs(getattr(one, side) - getattr(other, side)) > MOVED_PX for side in sides)
