"""What good parts show, and the limits of a recipe that follow from it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.patching.finding import _as_recipe_sees, find_product
from station.patching.geometry import PatchingError
from station.patching.texture import TextureFound, check_texture, texture_of
from station.recipe import Recipe, Texture


@dataclass(frozen=True, slots=True)
class GoodPart:
    """What one picture of a good part shows."""

    name: str
    found: TextureFound | None
    """None where no product was found."""
    refused: str
    """Why the recipe as it is makes it a fault; empty where it does not."""
    width_off_px: int
    """How much the width that was found differs from the nearest of the recipe."""
    texture_ms: float
    """The time that looking at its texture took, processor time of one thread."""


def look_at(name: str, frame: NDArray[np.uint8], recipe: Recipe, width_px: int | None = None) -> GoodPart:
    """What the picture of a good part shows, uint8 ``(H, W)`` or ``(H, W, 3)``; no picture raises."""
    try:
        pixels = _as_recipe_sees(frame, recipe)
        region = find_product(pixels, recipe, width_px)
        started = time.thread_time()
        found = texture_of(pixels, region)
        spent_ms = (time.thread_time() - started) * 1000
    except PatchingError as error:
        return GoodPart(name, None, str(error), 0, 0.0)
    refused = ""
    if recipe.product.texture is not None:
        try:
            check_texture(pixels, region, recipe.product.texture)
        except PatchingError as error:
            refused = str(error)
    off = min(abs(region.width - width) for width in recipe.product.widths_px)
    return GoodPart(name, found, refused, off, spent_ms)


def texture_limits(parts: Iterable[GoodPart], margin: float) -> Texture:
    """The limits: ``margin`` (0..1) of the least that good parts show. Raises ValueError without any."""
    found = [part.found for part in parts if part.found is not None]
    if not found:
        raise ValueError("no product was found in any picture")
    return Texture(
        min_change=_rounded(margin * min(one.change for one in found)),
        min_grain=_rounded(margin * min(one.grain for one in found)),
        min_texture=_rounded(margin * min(one.texture for one in found)),
        max_repeated_lines=max(one.repeated for one in found),
    )


def _rounded(level: float) -> float:
    """Two digits, never 0."""
    return max(0.01, float(np.floor(level * 100) / 100))
