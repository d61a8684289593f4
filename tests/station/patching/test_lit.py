"""The frames of one part under several lamps become patches, or a fault that names the frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simulation.rendering.optics import DIFFUSE, LOBE_RAD, SPECULAR
from simulation.rendering.parts import RenderedPart, render_part
from station.patching import PatchingError, Reason, cut, cut_part
from station.patching.area import resize_picture
from station.recipe import Recipe, load_recipe
from station.stereo import channels
from tests.station.lamps import lit_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
WIDTH = 385
Frames = list[NDArray[np.uint8]]
STEREO = f"""
stereo:
  solver: lobe
  lobe_rad: {LOBE_RAD}
  diffuse: {DIFFUSE / SPECULAR:.3f}
  dark_level: 2.6
  curvature_white: 0.006
  slope_white: 0.012
  texture_white: 250
  lamps:
    - {{slant_deg: 7.4, azimuth_deg: 0, output: 1}}
    - {{slant_deg: 7.4, azimuth_deg: 90, output: 2}}
    - {{slant_deg: 7.4, azimuth_deg: 180, output: 3}}
    - {{slant_deg: 7.4, azimuth_deg: 270, output: 4}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    text = (RECIPES / "servo-motor-housing.yaml").read_text().replace("channels: 1", "channels: 3")
    head, _, rest = text.partition("  # Learnt by")
    file = tmp_path_factory.mktemp("recipe") / "housing.yaml"
    file.write_text(head + rest[rest.index("# 3584 px") :] + STEREO)
    return load_recipe(file)


@pytest.fixture(scope="module")
def part() -> RenderedPart:
    return render_part(7, width=WIDTH, kind="scratches")


@pytest.fixture(scope="module")
def frames(part: RenderedPart, recipe: Recipe) -> Frames:
    assert recipe.stereo is not None
    return part.frames_under(recipe.stereo.directions)


def test_the_patches_are_the_channels_of_the_product_at_the_recipes_size(
    part: RenderedPart, frames: Frames, recipe: Recipe
) -> None:
    assert recipe.stereo is not None
    patches = cut_part(frames, recipe, WIDTH)
    assert patches.pixels.shape == (16, 256, 256, 3)
    box, region = part.placed, patches.surface.region
    assert (region.x, region.y, region.width, region.height) == (box.x, box.y, box.width, box.height)
    wanted = channels(part.under(recipe.stereo.directions), recipe.stereo).picture(recipe.stereo)
    surface = resize_picture(np.ascontiguousarray(wanted[..., ::-1]), 2048, 512)
    assert np.array_equal(patches.surface.pixels, surface)


def test_a_scratch_has_slopes_where_it_lies(part: RenderedPart, frames: Frames, recipe: Recipe) -> None:
    box = part.truth.defects[0].box
    slopes = cut_part(frames, recipe, WIDTH).surface.pixels[..., 1].astype(float)
    rows = slice(box.y * 2048 // 3584, (box.y + box.height) * 2048 // 3584 + 1)
    columns = slice(box.x * 512 // WIDTH, (box.x + box.width) * 512 // WIDTH + 1)
    assert np.percentile(slopes[rows, columns], 95) > 1.2 * np.percentile(slopes, 95)


def test_a_recipe_of_one_frame_is_cut_as_ever(part: RenderedPart) -> None:
    recipe = load_recipe(RECIPES / "servo-motor-housing.yaml")
    assert np.array_equal(cut_part([part.frame()], recipe).pixels, cut(part.frame(), recipe).pixels)


def _darkened(frames: Frames) -> Frames:
    return [*frames[:2], (frames[2] // 8).astype(np.uint8), frames[3]]


def _saturated(frames: Frames) -> Frames:
    return [*frames[:2], np.where(frames[2] > 20, 255, frames[2]).astype(np.uint8), frames[3]]


def _moved(frames: Frames) -> Frames:
    return [*frames[:2], np.roll(frames[2], 3, axis=1), frames[3]]


def _coloured(frames: Frames) -> Frames:
    return [*frames[:2], np.stack([frames[2]] * 3, axis=-1), frames[3]]


def _smaller(frames: Frames) -> Frames:
    return [*frames[:2], np.ascontiguousarray(frames[2][:, :-8]), frames[3]]


def _empty(frames: Frames) -> Frames:
    return [*frames[:2], np.zeros_like(frames[2]), frames[3]]


@pytest.mark.parametrize(
    ("spoil", "reason", "says"),
    [
        (_darkened, Reason.BLACK, "too dark"),
        (_saturated, Reason.SATURATED, "100% of the product is saturated"),
        (_moved, Reason.MOVED, "in the first frame"),
        (_coloured, Reason.BAD_FRAME, "coloured"),
        (_smaller, Reason.BAD_FRAME, "the first frame 5472 x 3648 px"),
        (_empty, Reason.NO_PRODUCT, "check that a part is in place"),
    ],
)
def test_one_frame_that_cannot_be_used_is_named(
    frames: Frames, recipe: Recipe, spoil: Callable[[Frames], Frames], reason: Reason, says: str
) -> None:
    with pytest.raises(PatchingError) as caught:
        cut_part(spoil(frames), recipe, WIDTH)
    assert caught.value.reason is reason, str(caught.value)
    assert str(caught.value).startswith(f"{reason}: frame 3 of 4 (the lamp at output 3): ")
    assert says in str(caught.value)


def test_another_number_of_frames_is_refused(frames: Frames, recipe: Recipe, tmp_path: Path) -> None:
    for wrong in (frames[:3], [*frames, frames[0]], []):
        with pytest.raises(PatchingError, match=rf"{len(wrong)} frame\(s\), and the recipe needs 4"):
            cut_part(wrong, recipe, WIDTH)
    with pytest.raises(PatchingError, match="one picture, and the recipe needs 3"):
        cut(np.full((32, 16, 3), 100, np.uint8), lit_recipe(tmp_path))


def test_a_tilted_part_has_the_channels_of_an_upright_one(recipe: Recipe) -> None:
    assert recipe.stereo is not None
    upright, tilted = (
        cut_part(
            render_part(7, width=WIDTH, kind="scratches", tilt_deg=tilt).frames_under(
                recipe.stereo.directions
            ),
            recipe,
            WIDTH,
        )
        for tilt in (0.0, 0.5)
    )
    assert tilted.surface.region.lean_x
    for channel in range(3):
        pairs = [one.surface.pixels[..., channel].ravel().astype(float) for one in (upright, tilted)]
        assert np.corrcoef(pairs)[0, 1] > 0.8
