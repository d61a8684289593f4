"""Patching: the product is found exactly or faulted with a reason, and every pixel of it is inspected."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from station.bench.patching import patching_timings
from station.patching import (
    Patches,
    PatchingError,
    Reason,
    Region,
    cut,
    cut_region,
    cut_surface,
    find_product,
    patch_boxes,
)
from station.recipe import PatchGrid, Recipe, load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
SHIPPED = load_recipe(RECIPES / "servo-motor-housing.yaml")
# Most products here are drawn and have no metal's texture; test_texture.py is about that.
HOUSING = SHIPPED.model_copy(update={"product": SHIPPED.product.model_copy(update={"texture": None})})
COMMUTATOR = load_recipe(RECIPES / "commutator.yaml")
WIDTHS = HOUSING.product.widths_px
HEIGHT, WIDTH, TALL = 3648, 5472, 3584
Image = NDArray[np.uint8]

_rng = np.random.default_rng(7)
METAL = _rng.integers(70, 140, (TALL, max(WIDTHS)), np.uint8)
NOISE = np.clip(_rng.normal(0, 6, (HEIGHT, WIDTH)), -100, 100).astype(np.int8)


def frame(width: int, x: int, y: int, metal: Image = METAL, height: int = TALL) -> Image:
    """A product of metal on a background of level 3."""
    pixels = np.full((HEIGHT, WIDTH), 3, np.uint8)
    pixels[y : y + height, x : x + width] = metal[:height, :width]
    return pixels


def noisy(pixels: Image) -> Image:
    """Sensor noise of 6 grey levels."""
    return np.asarray(cv2.add(pixels, NOISE, dtype=cv2.CV_8U), np.uint8)


def tilted(width: int, degrees: float, x: int) -> Image:
    """The product turned about its middle."""
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, TALL / 2 - 0.5), degrees, 1.0)
    turn[:, 2] += (x, (HEIGHT - TALL) / 2)
    turned = cv2.warpAffine(METAL[:, :width], turn, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    return np.maximum(turned, 3).astype(np.uint8)


def refused(pixels: Image, recipe: Recipe = HOUSING) -> Reason:
    with pytest.raises(PatchingError) as caught:
        cut(pixels, recipe)
    assert str(caught.value).startswith(f"{caught.value.reason}: ")
    return caught.value.reason


def assert_near(found: Region, width: int, x: int, y: int, px: int = 2) -> None:
    left, top, right, bottom = found.x, found.y, found.x + found.width, found.y + found.height
    off = np.abs(np.array([left - x, top - y, right - x - width, bottom - y - TALL]))
    assert off.max() <= px, (found, (width, x, y))


places = st.tuples(st.sampled_from(WIDTHS), st.floats(0, 1), st.integers(0, HEIGHT - TALL))


@settings(deadline=None, max_examples=25)
@given(places)
def test_on_a_clean_frame_the_product_is_found_exactly_wherever_it_lies(
    place: tuple[int, float, int],
) -> None:
    width, share, y = place
    x = round(share * (WIDTH - width))
    assert find_product(frame(width, x, y), HOUSING) == Region(x, y, width, TALL)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_product_at_the_edge_of_the_frame_is_found_exactly(width: int, corner: tuple[int, int]) -> None:
    x, y = corner[0] * (WIDTH - width), corner[1] * (HEIGHT - TALL)
    assert find_product(frame(width, x, y), HOUSING) == Region(x, y, width, TALL)


def hot_pixels(pixels: Image, width: int, x: int) -> Image:
    rng = np.random.default_rng(1)
    count = pixels.size // 500
    pixels[rng.integers(0, HEIGHT, count), rng.integers(0, WIDTH, count)] = 255
    return pixels


def hot_columns(pixels: Image, width: int, x: int) -> Image:
    pixels[:, [x - 30, x - 7, x + width + 5, x + width + 300]] = 255
    pixels[:, [x + 4, x + width - 9]] = 0
    return pixels


def dust(pixels: Image, width: int, x: int) -> Image:
    rng = np.random.default_rng(2)
    for _ in range(400):
        centre = (int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT)))
        if not x - 12 < centre[0] < x + width + 12:
            cv2.circle(pixels, centre, int(rng.integers(1, 12)), int(rng.integers(40, 255)), -1)
    return pixels


def dust_on_the_edge(pixels: Image, width: int, x: int) -> Image:
    for y in (400, 1500, 1550, 3000):
        cv2.circle(pixels, (x - 10, y), 30, 200, -1)
        cv2.circle(pixels, (x + width + 3, y + 90), 25, 120, -1)
    cv2.line(pixels, (x - 70, 900), (x + 20, 960), 180, 3)
    return pixels


def glare(pixels: Image, width: int, x: int) -> Image:
    pixels[:, x + width // 3 : x + width // 3 + width // 12] = 255
    cv2.circle(pixels, (x, 700), 110, 255, -1)
    return pixels


def uneven_across(pixels: Image, width: int, x: int) -> Image:
    ramp = np.linspace(1.0, 0.3, width)
    pixels[:, x : x + width] = (pixels[:, x : x + width] * ramp).astype(np.uint8)
    return pixels


def uneven_along(pixels: Image, width: int, x: int) -> Image:
    turn = 0.65 + 0.35 * np.sin(np.arange(HEIGHT) * 2 * np.pi / TALL)
    return np.asarray((pixels * turn[:, None]).astype(np.uint8))


def stray_light(pixels: Image, width: int, x: int) -> Image:
    columns = np.arange(WIDTH)
    away = np.maximum(0, np.maximum(x - columns, columns - x - width + 1))
    return np.maximum(pixels, (3 + 15 * np.exp(-away / 60)).astype(np.uint8)[None, :])


def blur(pixels: Image, width: int, x: int) -> Image:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.5), np.uint8)


def dim(pixels: Image, width: int, x: int) -> Image:
    return np.asarray(pixels // 3, np.uint8)


DISTURBANCES = [
    hot_pixels,
    hot_columns,
    dust,
    dust_on_the_edge,
    glare,
    uneven_across,
    uneven_along,
    stray_light,
    blur,
    dim,
]


@pytest.mark.parametrize("disturb", DISTURBANCES)
@pytest.mark.parametrize("width", [385, 935, 1575])
def test_a_disturbed_product_is_found_within_2_px(
    disturb: Callable[[Image, int, int], Image], width: int
) -> None:
    x, y = 2011, 23
    pixels = noisy(disturb(frame(width, x, y), width, x))
    assert_near(find_product(pixels, HOUSING), width, x, y)


@settings(deadline=None, max_examples=12)
@given(places)
def test_with_noise_the_product_is_found_within_2_px_wherever_it_lies(place: tuple[int, float, int]) -> None:
    width, share, y = place
    x = round(share * (WIDTH - width))
    assert_near(find_product(noisy(frame(width, x, y)), HOUSING), width, x, y)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("degrees", [-1.0, -0.4, 0.1, 1.0])
def test_of_a_tilted_product_the_mean_edges_and_the_drift_are_found_within_2_px(
    width: int, degrees: float
) -> None:
    found = find_product(tilted(width, degrees, 2000), HOUSING)
    assert_near(found, width, 2000, (HEIGHT - TALL) // 2)
    drift = np.tan(np.radians(degrees))
    assert found.lean_x == pytest.approx(drift * TALL, abs=2.5)
    assert found.lean_y == pytest.approx(-drift * width, abs=2.5)


@pytest.mark.parametrize("degrees", [-1.0, 1.0])
def test_a_tilted_product_is_inspected_whole_and_without_background(degrees: float) -> None:
    """White frames at all four edges stay in the surface: no wedge is left out, none comes in."""
    upright = METAL[:, :935].copy()
    upright[:24], upright[-24:], upright[:, :24], upright[:, -24:] = 250, 250, 250, 250
    turn = cv2.getRotationMatrix2D((467, TALL / 2), degrees, 1.0)
    turn[:, 2] += (2000, (HEIGHT - TALL) / 2)
    pixels = np.maximum(cv2.warpAffine(upright, turn, (WIDTH, HEIGHT)), 3).astype(np.uint8)
    surface = cut(pixels, HOUSING).surface.pixels[..., 0]
    for border in (surface[3:9], surface[-9:-3], surface[:, 3:9].T, surface[:, -9:-3].T):
        assert np.percentile(border, 1) > 200
    # The 24 px are 13.7 rows and 13.1 columns of the surface.
    white = surface[20:-20] > 200
    assert min(white[:, :20].sum(axis=1).min(), white[:, -20:].sum(axis=1).min()) >= 11
    white = surface[:, 20:-20] > 200
    assert min(white[:20].sum(axis=0).min(), white[-20:].sum(axis=0).min()) >= 11


def cut_left(width: int, keep: int) -> Image:
    return frame(keep, 0, 30, METAL[:, width - keep : width])


def test_a_product_cut_by_the_side_of_the_frame_is_truncated() -> None:
    assert refused(cut_left(935, 500)) is Reason.TRUNCATED
    assert refused(cut_left(385, 150)) is Reason.TRUNCATED
    assert refused(frame(935, WIDTH - 931, 30, METAL[:, :931])[:, :WIDTH]) is Reason.TRUNCATED


@pytest.mark.parametrize("height", [300, 1700, 3500, 3570])
def test_a_product_shorter_than_the_recipe_is_truncated(height: int) -> None:
    assert refused(frame(690, 2000, 30, height=height)) is Reason.TRUNCATED


def test_a_product_that_runs_out_of_the_frame_is_truncated() -> None:
    whole = frame(690, 2000, 64)
    assert refused(np.vstack([whole[100:], whole[:40], whole[:40], whole[:20]])) is Reason.TRUNCATED
    pixels = np.full_like(whole, 3)
    pixels[:3560, 2000:2690] = METAL[24:, :690]
    assert refused(pixels) is Reason.TRUNCATED


def test_a_product_with_missing_lines_is_truncated() -> None:
    pixels = frame(690, 2000, 30)
    pixels[1500:1700] = 3
    assert refused(pixels) is Reason.TRUNCATED


def test_two_products_are_a_fault() -> None:
    pixels = frame(690, 1000, 30)
    pixels[30 : 30 + TALL, 2000:2385] = METAL[:, :385]
    assert refused(pixels) is Reason.TWO_PRODUCTS


@pytest.mark.parametrize("width", [200, 480, 1300, 2000])
def test_a_width_that_the_recipe_does_not_have_is_a_fault(width: int) -> None:
    metal = np.tile(METAL, (1, 2))
    assert refused(frame(width, 1500, 30, metal)) is Reason.WRONG_SIZE


def test_a_tilt_beyond_the_recipe_is_a_fault() -> None:
    assert refused(tilted(385, 2.2, 2000)) in (Reason.TILTED, Reason.WRONG_SIZE, Reason.TRUNCATED)


@pytest.mark.parametrize("level", [0, 3, 40, 200])
def test_a_frame_without_a_product_is_a_fault(level: int) -> None:
    assert refused(np.full((HEIGHT, WIDTH), level, np.uint8)) is Reason.NO_PRODUCT
    assert refused(noisy(np.full((HEIGHT, WIDTH), level, np.uint8))) is Reason.NO_PRODUCT


def test_dust_alone_is_no_product() -> None:
    assert refused(noisy(dust(np.full((HEIGHT, WIDTH), 3, np.uint8), 0, -100))) in (
        Reason.NO_PRODUCT,
        Reason.WRONG_SIZE,
        Reason.TRUNCATED,
        Reason.TWO_PRODUCTS,
    )


def test_a_white_frame_or_product_is_saturated() -> None:
    assert refused(np.full((HEIGHT, WIDTH), 255, np.uint8)) is Reason.SATURATED
    assert refused(frame(690, 2000, 30, np.full_like(METAL, 255))) is Reason.SATURATED


def test_a_product_that_is_too_dark_is_black() -> None:
    assert refused(frame(690, 2000, 30, METAL // 7)) is Reason.BLACK


def test_a_patch_that_is_blind_is_a_fault_even_where_the_rest_is_well_lit() -> None:
    metal = METAL.copy()
    metal[448:896, :345] = 255
    assert refused(frame(690, 2000, 30, metal)) is Reason.SATURATED
    metal[448:896, :345] = 2
    assert refused(frame(690, 2000, 30, metal)) is Reason.BLACK


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((HEIGHT, WIDTH), np.uint16),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 0), np.uint8),
        np.zeros(100, np.uint8),
        np.zeros((2, 2), np.uint8),
        None,
    ],
    ids=lambda value: str(getattr(value, "shape", None)),
)
def test_what_is_no_picture_is_a_bad_frame(pixels: Image) -> None:
    assert refused(pixels) is Reason.BAD_FRAME


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_whatever_the_picture_shows_it_is_cut_or_faulted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.full((HEIGHT, WIDTH), rng.integers(0, 30), np.uint8)
    for _ in range(int(rng.integers(0, 8))):
        x, y = int(rng.integers(-500, WIDTH)), int(rng.integers(-500, HEIGHT))
        end = (x + int(rng.integers(1, 2500)), y + int(rng.integers(1, 4000)))
        cv2.rectangle(pixels, (x, y), end, int(rng.integers(0, 256)), -1)
    try:
        patches = cut(pixels, HOUSING)
    except PatchingError:
        return
    assert patches.pixels.shape == (16, 256, 256, 1)


def small(height: int, width: int, size: int, overlap: int, channels: int) -> Recipe:
    """A recipe whose whole picture is the surface."""
    surface = HOUSING.surface.model_copy(update={"height": height, "width": width, "channels": channels})
    patch = HOUSING.patch.model_copy(update={"size": size, "overlap_px": overlap})
    limits = HOUSING.product.limits.model_copy(
        update={"min_level": 0, "max_black": 1.0, "max_black_patch": 1.0, "max_saturated": 1.0}
    )
    product = COMMUTATOR.product.model_copy(
        update={"widths_px": (300,), "width_tolerance_px": 299, "height_px": 300, "height_tolerance_px": 299}
        | {"limits": limits.model_copy(update={"max_saturated_patch": 1.0})}
    )
    return COMMUTATOR.model_copy(update={"surface": surface, "patch": patch, "product": product})


@st.composite
def some_patches(draw: st.DrawFn) -> Patches:
    size = draw(st.integers(16, 48))
    overlap = draw(st.integers(0, size - 1))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    height, width = (size + (n - 1) * (size - overlap) for n in (rows, columns))
    channels = draw(st.sampled_from((1, 3)))
    recipe = small(height, width, size, overlap, channels)
    shape = (draw(st.integers(16, 200)), draw(st.integers(16, 200)), *((3,) if channels == 3 else ()))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape, np.uint8)
    patches = cut(pixels, recipe)
    assert len(patches.pixels) == rows * columns
    return patches


@settings(deadline=None, max_examples=60)
@given(some_patches())
def test_patches_are_slices_of_the_surface_and_cover_all_of_it(patches: Patches) -> None:
    surface = patches.surface.pixels
    covered = np.zeros(surface.shape[:2], bool)
    for index, pixels in enumerate(patches.pixels):
        box = patches.surface_box(index)
        where = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
        assert np.array_equal(pixels, surface[where])
        covered[where] = True
    assert covered.all()
    assert surface.flags.c_contiguous
    assert patches.pixels.flags.c_contiguous


@settings(deadline=None, max_examples=60)
@given(some_patches())
def test_patch_boxes_cover_the_whole_region_in_the_frame_and_nothing_else(patches: Patches) -> None:
    region = patches.surface.region
    covered = np.zeros((region.height, region.width), bool)
    for index in range(len(patches.pixels)):
        box = patches.frame_box(index)
        assert region.x <= box.x
        assert region.y <= box.y
        assert box.x + box.width <= region.x + region.width
        assert box.y + box.height <= region.y + region.height
        covered[box.y : box.y + box.height, box.x : box.x + box.width] = True
    assert covered.all()


@settings(deadline=None, max_examples=60)
@given(some_patches(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 15))
def test_a_point_of_a_patch_maps_to_the_frame_and_back(
    patches: Patches, across: float, down: float, index: int
) -> None:
    index %= len(patches.pixels)
    size = patches.grid.size
    x, y = patches.frame_point(index, across * size, down * size)
    box = patches.surface_box(index)
    assert patches.surface_point(x, y) == pytest.approx(
        (box.x + across * size, box.y + down * size), abs=1e-6
    )
    inside = patches.frame_box(index)
    assert inside.x - 1e-6 <= x <= inside.x + inside.width + 1e-6
    assert inside.y - 1e-6 <= y <= inside.y + inside.height + 1e-6


def test_points_of_a_tilted_product_map_to_where_they_are_in_the_frame() -> None:
    width, degrees = 935, 1.0
    pixels = tilted(width, degrees, 2000)
    for x, y in ((2300, 400), (2700, 3000)):
        cv2.circle(pixels, (x, y), 12, 255, -1)
    patches = cut(pixels, HOUSING)
    for x, y in ((2300, 400), (2700, 3000)):
        across, down = patches.surface_point(x, y)
        assert patches.surface.pixels[round(down), round(across), 0] > 240


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int, PatchGrid]:
    """A height, a width and patches that fill them, with any overlap."""
    size = draw(st.integers(16, 40))
    patch = PatchGrid(size=size, overlap_px=draw(st.integers(0, size - 1)))
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return size + (rows - 1) * patch.stride, size + (columns - 1) * patch.stride, patch


@given(grids(), st.sampled_from((1, 3)))
@settings(deadline=None)
def test_the_line_cuts_a_surface_as_every_other_caller_does(
    grid: tuple[int, int, PatchGrid], channels: int
) -> None:
    height, width, patch = grid
    product = COMMUTATOR.product.model_copy(update={"widths_px": (width,), "height_px": height})
    size = COMMUTATOR.surface.model_copy(update={"height": height, "width": width, "channels": channels})
    recipe = COMMUTATOR.model_copy(update={"product": product, "surface": size, "patch": patch})
    pixels = np.random.default_rng(height * width).integers(80, 180, (height, width, channels), np.uint8)

    patches = cut(pixels, recipe)
    boxes = patch_boxes(height, width, patch)
    assert len(patches.pixels) == recipe.patch_count == len(boxes)
    assert boxes == [patches.surface_box(index) for index in range(len(boxes))]
    expected = [pixels[box.y : box.y + box.height, box.x : box.x + box.width] for box in boxes]
    assert np.array_equal(patches.pixels, expected)
    assert np.array_equal(cut_surface(patches.surface.pixels, patch), patches.pixels)
    assert np.array_equal(cut_surface(pixels[::1, ::-1][:, ::-1], patch), expected)


def test_a_surface_that_the_patches_do_not_fill_is_not_cut() -> None:
    with pytest.raises(ValueError, match=r"48 x 42 px is not filled by patches of 16 px with 8 px overlap"):
        cut_surface(np.zeros((48, 42, 1), np.uint8), PatchGrid(size=16, overlap_px=8))


def test_boxes_in_mm_tile_the_product() -> None:
    patches = cut(frame(935, 100, 9), HOUSING)
    first, last = patches.box_mm(0), patches.box_mm(15)
    assert (first.x, first.y) == (0.0, 0.0)
    assert last.x + last.width == pytest.approx(935 * 0.015534)
    assert last.y + last.height == pytest.approx(TALL * 0.015680)
    assert patches.frame_box(15) == Region(567, 9 + 3136, 468, 448)


def test_there_is_no_patch_before_the_first_or_after_the_last() -> None:
    patches = cut(frame(935, 100, 9), HOUSING)
    for index in (-1, 16):
        with pytest.raises(IndexError):
            patches.frame_box(index)


def test_a_colour_frame_is_made_grey_for_a_grey_recipe_and_a_grey_one_refused_for_colour() -> None:
    grey = frame(690, 2000, 30)
    colour = np.dstack([grey, grey, grey])
    assert np.array_equal(cut(colour, HOUSING).pixels, cut(grey, HOUSING).pixels)
    surface = HOUSING.surface.model_copy(update={"channels": 3})
    bgr = HOUSING.model_copy(update={"surface": surface})
    assert refused(grey, bgr) is Reason.BAD_FRAME
    assert np.array_equal(cut(colour, bgr).pixels[..., 1], cut(grey, HOUSING).pixels[..., 0])


def test_a_frame_is_only_read() -> None:
    pixels = frame(690, 2000, 30)
    pixels.setflags(write=False)
    view = np.full((HEIGHT + 9, WIDTH + 9), 3, np.uint8)
    view[4:-5, 4:-5] = pixels
    assert np.array_equal(cut(pixels, HOUSING).pixels, cut(view[4:-5, 4:-5], HOUSING).pixels)


def test_the_whole_picture_is_the_surface_of_a_commutator_of_any_height_in_the_recipe() -> None:
    for height in (1240, 1262, 1284):
        pixels = np.random.default_rng(height).integers(80, 180, (height, 500), np.uint8)
        patches = cut(pixels, COMMUTATOR)
        assert patches.surface.region == Region(0, 0, 500, height)
        assert len(patches.pixels) == COMMUTATOR.patch_count
    assert refused(pixels[:1000], COMMUTATOR) is Reason.WRONG_SIZE
    assert refused(pixels * 0, COMMUTATOR) is Reason.BLACK


def test_a_scratch_of_one_pixel_reaches_the_patches() -> None:
    pixels = frame(1575, 1000, 30, np.full_like(METAL, 100))
    pixels[1200:1500, 1777] = 200
    patches = cut_region(pixels, find_product(pixels, HOUSING), HOUSING)
    assert patches.pixels.max() >= 115


def test_timings_are_told_for_every_width() -> None:
    timings = patching_timings(HOUSING, rounds=1)
    assert [timing.width_px for timing in timings] == list(WIDTHS)
    assert all(min(timing.find_ms, timing.resize_ms, timing.cut_ms) > 0 for timing in timings)
