"""A picture that cannot be metal is a fault: frozen lines, repeated blocks, missing noise or texture."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
from simulation.rendering.faulty_frames import make_faulty
from simulation.rendering.parts import RenderedPart, render_part
from station.cli import app
from station.patching import PatchingError, Reason, cut
from station.recipe import RecipeError, load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
HOUSING = load_recipe(RECIPES / "servo-motor-housing.yaml")
Image = NDArray[np.uint8]


@cache
def part(width: int = 1065) -> RenderedPart:
    return render_part(8_000 + width, width=width)


@cache
def _frame(width: int) -> Image:
    return part(width).frame()


def frame(width: int = 1065) -> Image:
    return _frame(width).copy()


def refused(pixels: Image) -> Reason | None:
    try:
        cut(pixels, HOUSING)
    except PatchingError as error:
        return error.reason
    return None


@pytest.mark.parametrize("width", HOUSING.product.widths_px)
def test_a_good_part_of_every_size_is_metal(width: int) -> None:
    assert refused(frame(width)) is None


@pytest.mark.parametrize(("width", "lines"), [(385, 100), (1065, 500), (1575, 1500)])
def test_frozen_lines_are_a_fault(width: int, lines: int) -> None:
    pixels = frame(width)
    pixels[900 : 900 + lines] = pixels[900]
    assert refused(pixels) is Reason.STALE


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 1500), st.floats(0, 1), st.sampled_from((385, 1575)))
def test_any_block_of_frozen_lines_on_the_product_is_found(lines: int, where: float, width: int) -> None:
    pixels, box = frame(width), part(width).truth.region
    first = box.y + 8 + int(where * (box.height - 16 - lines))
    pixels[first : first + lines] = pixels[first]
    assert refused(pixels) is Reason.STALE


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 1000), st.floats(0, 1), st.floats(0, 1))
def test_any_block_that_is_delivered_twice_is_found(lines: int, where: float, again: float) -> None:
    pixels, box = frame(), part().truth.region
    first = box.y + 8 + int(where * (box.height - 16 - 2 * lines))
    second = first + lines + int(again * (box.y + box.height - 8 - 2 * lines - first))
    pixels[second : second + lines] = pixels[first : first + lines].copy()
    assert refused(pixels) is Reason.STALE


def test_a_few_columns_that_are_frozen_are_found_in_every_strip() -> None:
    pixels, box = frame(), part().truth.region
    for left in (box.x, box.x + box.width - 100):
        half = pixels.copy()
        half[1000:1100, left : left + 100] = half[1000, left : left + 100]
        assert refused(half) is Reason.STALE


@pytest.mark.parametrize("noise", [0.0, 1.3])
def test_something_flat_that_is_as_bright_as_metal_is_a_fault(noise: float) -> None:
    pixels, box = frame(), part().truth.region
    grey = np.random.default_rng(3).normal(120, noise, (box.height, box.width))
    pixels[box.y : box.y + box.height, box.x : box.x + box.width] = np.rint(grey)
    assert refused(pixels) is Reason.NO_TEXTURE


def test_a_picture_without_the_noise_of_a_sensor_is_a_fault() -> None:
    pixels = np.asarray(cv2.GaussianBlur(frame(), (0, 0), 3.0), np.uint8)
    assert refused(pixels) in (Reason.NO_TEXTURE, Reason.STALE, Reason.EDGE)


def test_lines_that_are_all_of_one_level_are_a_fault() -> None:
    pixels, box = frame(), part().truth.region
    lines = np.random.default_rng(4).integers(80, 140, (box.height, 1), np.uint8)
    pixels[box.y : box.y + box.height, box.x : box.x + box.width] = lines
    assert refused(pixels) is Reason.NO_TEXTURE


@pytest.mark.parametrize("name", ["tilt", "uneven-light", "background-dust", "hot-pixels", "noise", "glare"])
def test_everyday_disturbances_are_still_metal(name: str) -> None:
    for seed in range(3):
        assert refused(make_faulty(part(), name, seed).pixels) is None


def test_the_limits_are_learnt_from_good_parts_by_a_command(tmp_path: Path) -> None:
    run = CliRunner().invoke
    said = run(
        app, ["limits", "--rendered", "10", "--seed", "9", "-r", str(RECIPES / "servo-motor-housing.yaml")]
    )
    assert said.exit_code == 0, said.output
    assert "10 good parts, 0 refused" in said.output
    learnt = said.output[said.output.index("  texture:") :]
    recipe = (RECIPES / "servo-motor-housing.yaml").read_text()
    before, after = recipe.split("  texture:\n", 1)
    after = after[after.index("\n\n") :]
    file = tmp_path / "servo-motor-housing.yaml"
    file.write_text(before + learnt.rstrip() + after)
    texture = load_recipe(file).product.texture
    assert texture is not None
    assert texture.min_change > HOUSING.product.texture.min_change  # type: ignore[union-attr]


def test_too_few_good_parts_give_no_limits(tmp_path: Path) -> None:
    write_image(tmp_path / "one.png", frame(385))
    said = CliRunner().invoke(app, ["limits", str(tmp_path), "-r", str(RECIPES / "servo-motor-housing.yaml")])
    assert said.exit_code == 2
    assert "a product was found in 1 pictures; limits need 10" in " ".join(said.output.split())


def test_limits_of_texture_need_a_product_that_is_large_enough(tmp_path: Path) -> None:
    text = (RECIPES / "commutator.yaml").read_text()
    file = tmp_path / "commutator.yaml"
    limits = "{min_change: 1, min_grain: 1, min_texture: 1}"
    text = text.replace("widths_px: [500]", f"widths_px: [70]\n  texture: {limits}")
    file.write_text(text)
    with pytest.raises(RecipeError, match=r"product\.texture: needs a product of 72 x 393 px or more"):
        load_recipe(file)
