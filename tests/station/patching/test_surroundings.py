"""Nothing of a product is cut away: what lies right beside its edges must be background."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simulation.rendering.parts import RenderedPart, render_part
from simulation.truth import Box
from station.patching import PatchingError, Reason, cut
from station.recipe import load_recipe

SHIPPED = load_recipe(Path(__file__).parents[3] / "recipes" / "servo-motor-housing.yaml")
# With this tolerance the width alone does not tell that a strip of 6 px is cut away.
HOUSING = SHIPPED.model_copy(update={"product": SHIPPED.product.model_copy(update={"width_tolerance_px": 6})})
Image = NDArray[np.uint8]


@cache
def part(width: int) -> RenderedPart:
    return render_part(9_000 + width, width=width)


def frame(width: int) -> tuple[Image, Box]:
    return part(width).frame().copy(), part(width).truth.region


def refused(pixels: Image, width: int) -> Reason | None:
    try:
        cut(pixels, HOUSING, width)
    except PatchingError as error:
        return error.reason
    return None


def strip_of(box: Box, side: str, px: int) -> tuple[slice, slice]:
    """Rows and columns of the ``px`` outermost lines of the product."""
    rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    match side:
        case "left":
            columns = slice(box.x, box.x + px)
        case "right":
            columns = slice(box.x + box.width - px, box.x + box.width)
        case "top":
            rows = slice(box.y, box.y + px)
        case _:
            rows = slice(box.y + box.height - px, box.y + box.height)
    return rows, columns


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("width", [385, 1575])
def test_a_dark_strip_along_an_edge_is_not_cut_away_with_the_defect_on_it(side: str, width: int) -> None:
    pixels, box = frame(width)
    assert refused(pixels, width) is None
    where = strip_of(box, side, 6)
    pixels[where] = pixels[where] // 5
    assert refused(pixels, width) is Reason.EDGE


@pytest.mark.parametrize("dark", [0.0, 0.2])
def test_a_strip_along_part_of_an_edge_is_cut_away_by_no_slanting_line(dark: float) -> None:
    pixels, box = frame(1065)
    rows = slice(box.y + box.height // 2, box.y + box.height)
    columns = slice(box.x, box.x + 6)
    pixels[rows, columns] = (pixels[rows, columns] * dark).astype(np.uint8)
    assert refused(pixels, 1065) is Reason.EDGE


def test_a_product_that_ends_in_a_curve_is_a_fault() -> None:
    pixels, box = frame(1065)
    for row in range(box.height):
        gone = round(24 * (2 * row / box.height - 1) ** 2)
        pixels[box.y + row, box.x : box.x + gone] = 3
    assert refused(pixels, 1065) in (Reason.EDGE, Reason.WRONG_SIZE)


def test_something_large_beside_the_product_is_a_fault() -> None:
    pixels, box = frame(385)
    left = 100 if box.x > 2000 else 3600
    pixels[1000:1900, left : left + 600] = 120
    assert refused(pixels, 385) in (Reason.EDGE, Reason.TWO_PRODUCTS)


@pytest.mark.parametrize("missing", range(7, 60, 13))
def test_a_strip_that_is_missing_altogether_is_found_by_the_width(missing: int) -> None:
    pixels, box = frame(690)
    pixels[strip_of(box, "right", missing)] = 3
    assert refused(pixels, 690) is Reason.WRONG_SIZE


def test_the_shipped_recipe_notices_a_strip_of_four_pixels_by_the_width() -> None:
    pixels, box = frame(1065)
    pixels[strip_of(box, "left", 4)] = 3
    with pytest.raises(PatchingError) as caught:
        cut(pixels, SHIPPED, 1065)
    assert caught.value.reason is Reason.WRONG_SIZE
