"""Equations 5-7: the average height to width of the products gives the surface."""

from pathlib import Path

import pytest

from calibration.aspect_ratio import average_aspect_ratio, surface_size
from station.recipe import load_recipe

HOUSINGS = [(3584, width) for width in (385, 570, 690, 935, 1065, 1575)]
RECIPES = Path(__file__).parents[2] / "recipes"


def test_the_six_housings_average_to_about_four_to_one() -> None:
    assert average_aspect_ratio(HOUSINGS) == pytest.approx(3584 / 870)


def test_two_patches_of_256_abreast_give_2048_by_512() -> None:
    assert surface_size(HOUSINGS, patch_px=256, columns=2) == (2048, 512)


def test_the_recipe_has_the_surface_that_its_products_average_to() -> None:
    recipe = load_recipe(RECIPES / "servo-motor-housing.yaml")
    sizes = [(recipe.product.height_px, width) for width in recipe.product.widths_px]
    assert surface_size(sizes, recipe.patch.size, recipe.grid[1]) == (
        recipe.surface.height,
        recipe.surface.width,
    )


@pytest.mark.parametrize("sizes", [[], [(0, 100)], [(100, -1)]])
def test_sizes_that_are_none_are_refused(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="height and a width"):
        average_aspect_ratio(sizes)
