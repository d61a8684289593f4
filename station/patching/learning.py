"""What good parts show, and the limits of a recipe that follow from it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.patching.cutting import cut, extremes_of, one_turn
from station.patching.finding import as_recipe_sees, find_product, light_of, measure_product
from station.patching.geometry import PatchingError
from station.patching.texture import TextureFound, check_texture, texture_of
from station.recipe import MOST_BLIND, MOST_BLIND_PATCH, ProductLimits, Recipe, Texture


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
        pixels, _ = one_turn(as_recipe_sees(frame, recipe), recipe)
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


@dataclass(frozen=True, slots=True)
class LightFound:
    """How bright one picture shows its product."""

    level: int
    """Median grey level."""
    contrast: float | None
    """Grey levels between product and background; None without a background."""
    saturated: float
    """Share of the product, as the three below."""
    black: float
    saturated_patch: float
    """Of the patch that has the most."""
    black_patch: float


LEAST_LEVEL = ProductLimits().black_level + 1
LEAST_CONTRAST = 4.0
"""What a recipe takes without ``accept_risk``."""
FEW, FEW_OF_A_PATCH = 0.05, 0.25
"""A little glare or shadow is no fault, although no picture shows any."""
WIDEST = ProductLimits(
    min_contrast=round(LEAST_CONTRAST), min_level=LEAST_LEVEL, max_saturated=MOST_BLIND,
    max_saturated_patch=MOST_BLIND_PATCH, max_black=MOST_BLIND, max_black_patch=MOST_BLIND_PATCH,
)  # fmt: skip
"""The limits of light that refuse as little as a recipe may without ``accept_risk``."""


def look_at_light(frame: NDArray[np.uint8], recipe: Recipe) -> LightFound:
    """How bright a picture shows its product, uint8 ``(H, W)`` or ``(H, W, 3)``.

    Raises :class:`PatchingError`.
    """
    pixels = as_recipe_sees(frame, recipe)
    product, limits = recipe.product, recipe.product.limits
    patches = cut(pixels, recipe)
    level, saturated, black = light_of(pixels, patches.surface.region, limits)
    black_of, saturated_of = extremes_of(patches.pixels, limits)
    contrast = measure_product(pixels, product)[1] if product.background == "dark" else None
    return LightFound(level, contrast, saturated, black, float(saturated_of.max()), float(black_of.max()))


def light_limits(found: Sequence[LightFound], margin: float) -> ProductLimits:
    """The limits: ``margin`` (0..1) of the least level and contrast, 1 / ``margin`` of the largest shares.

    None goes beyond what a recipe takes without ``accept_risk``; shares are at least 5 % of a product and
    25 % of a patch. Raises ValueError without any picture.
    """
    if not found:
        raise ValueError("no product was found in any picture")

    def most(shares: Iterable[float], least: float, risky: float) -> float:
        return min(risky, max(least, float(np.ceil(max(shares) / margin * 100) / 100)))

    contrasts = [one.contrast for one in found if one.contrast is not None]
    values: dict[str, Any] = {
        "min_level": max(LEAST_LEVEL, int(margin * min(one.level for one in found))),
        "max_saturated": most((one.saturated for one in found), FEW, MOST_BLIND),
        "max_saturated_patch": most((one.saturated_patch for one in found), FEW_OF_A_PATCH, MOST_BLIND_PATCH),
        "max_black": most((one.black for one in found), FEW, MOST_BLIND),
        "max_black_patch": most((one.black_patch for one in found), FEW_OF_A_PATCH, MOST_BLIND_PATCH),
    }
    if contrasts:
        values["min_contrast"] = max(round(LEAST_CONTRAST), int(margin * min(contrasts)))
    return ProductLimits(**values)


def _rounded(level: float) -> float:
    """Two digits, never 0."""
    return max(0.01, float(np.floor(level * 100) / 100))
