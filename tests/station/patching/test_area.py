"""Area averaging: as OpenCV's INTER_AREA one axis at a time, and no scratch is lost."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from station.patching.area import area_weights, resize_area, resize_picture

WIDTHS = (385, 570, 690, 935, 1065, 1575)
Image = NDArray[np.uint8]


def upright(source: Image, size: tuple[int, int], channels: int = 1) -> Image:
    """The whole source, not tilted, at (height, width)."""
    rows, columns = np.zeros(source.shape[0], np.uint32), np.zeros(source.shape[1], np.uint32)
    return resize_area(source, rows, columns, *size, channels)


def by_opencv(source: Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """cv2's INTER_AREA in floating point, one axis at a time."""
    once = cv2.resize(source.astype(np.float32), (source.shape[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(once, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.float32)


def box_integral(source: int, target: int) -> NDArray[np.float64]:
    """The matrix (target, source) whose rows are the shares of the source that each target pixel covers."""
    ends = np.arange(target + 1)[:, None] * source / target
    pixels = np.arange(source)
    covered = np.minimum(ends[1:], pixels + 1) - np.maximum(ends[:-1], pixels)
    return np.clip(covered, 0, None) * target / source


@pytest.mark.parametrize("width", WIDTHS)
def test_every_product_width_is_resized_as_opencv_does_within_one_grey_level(width: int) -> None:
    source = np.random.default_rng(width).integers(0, 256, (3584, width), np.uint8)
    deviation = np.abs(upright(source, (2048, 512))[..., 0] - by_opencv(source, (2048, 512)))
    assert deviation.max() <= 1.0
    if width > 512:  # both axes shrink: cv2's own two-axis call is area averaging too
        whole = cv2.resize(source, (512, 2048), interpolation=cv2.INTER_AREA).astype(np.int16)
        assert np.abs(upright(source, (2048, 512))[..., 0] - whole).max() <= 1


@settings(deadline=None, max_examples=60)
@given(
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(8, 80), st.integers(8, 80)),
    channels=st.sampled_from((1, 3)),
    seed=st.integers(0, 1000),
)
def test_any_size_shrinking_or_growing_is_the_mean_of_the_area_it_covers(
    source: tuple[int, int], size: tuple[int, int], channels: int, seed: int
) -> None:
    tail = () if channels == 1 else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (*source, *tail), np.uint8)
    result = upright(pixels, size, channels)
    assert result.shape == (*size, channels)
    values = pixels.reshape(*source, channels).astype(np.float64)
    rows, columns = box_integral(source[0], size[0]), box_integral(source[1], size[1])
    exact = np.einsum("ir,rck,jc->ijk", rows, values, columns)
    assert np.abs(result - exact).max() <= 0.51
    if size[0] <= source[0] and size[1] <= source[1]:
        assert np.abs(result - by_opencv(pixels, size).reshape(*size, channels)).max() <= 1.0


@given(st.integers(1, 4000), st.integers(1, 4000))
@settings(deadline=None)
def test_weights_of_a_pixel_sum_to_one_and_all_source_weighs_the_same(source: int, target: int) -> None:
    first, weights = area_weights(source, target)
    np.testing.assert_allclose(weights.sum(axis=0, dtype=np.float64), 1.0, rtol=1e-5)
    total = np.zeros(source + weights.shape[0] + 1)
    for tap, row in enumerate(weights):
        np.add.at(total, first + tap, row)
    np.testing.assert_allclose(total[:source], target / source, rtol=1e-3)
    assert not total[source:].any()


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_a_uniform_surface_keeps_its_level(level: int) -> None:
    assert (upright(np.full((700, 391), level, np.uint8), (400, 512)) == level).all()


def test_the_same_size_is_the_same_picture() -> None:
    source = np.random.default_rng(1).integers(0, 256, (64, 48, 3), np.uint8)
    assert np.array_equal(upright(source, (64, 48), 3), source)


@settings(deadline=None, max_examples=40)
@given(
    width=st.sampled_from(WIDTHS),
    angle=st.floats(0, math.pi),
    place=st.tuples(st.floats(0.15, 0.85), st.floats(0.15, 0.85)),
    sign=st.sampled_from((-1, 1)),
)
def test_a_one_pixel_scratch_of_100_levels_survives_with_15_in_every_line_it_crosses(
    width: int, angle: float, place: tuple[float, float], sign: int
) -> None:
    height, base = 448, 120  # an eighth of 3584, to 256 rows: the same scale
    x, y = place[0] * (width - 1), place[1] * (height - 1)
    reach = 2.0 * max(width, height)
    ends = [(round(x + s * reach * math.cos(angle)), round(y + s * reach * math.sin(angle))) for s in (-1, 1)]
    mark = np.zeros((height, width), np.uint8)
    cv2.line(mark, ends[0], ends[1], 1, 1, cv2.LINE_8)
    source = np.where(mark > 0, base + sign * 100, base).astype(np.uint8)
    seen = np.abs(upright(source, (256, 512))[..., 0].astype(int) - base)
    # Steep scratches are looked for in every row, flat ones in every column, off the scratch's ends.
    steep = np.ptp(np.nonzero(mark)[0]) * 512 / width >= np.ptp(np.nonzero(mark)[1])
    lines = seen.max(axis=1) if steep else seen.max(axis=0)
    crossed = np.flatnonzero(lines)
    assert lines[crossed[2:-2]].min(initial=255) >= 15


@settings(deadline=None, max_examples=60)
@given(width=st.sampled_from(WIDTHS), column=st.floats(0, 1), row=st.floats(0, 1))
def test_an_upright_or_level_scratch_survives_anywhere_with_15(width: int, column: float, row: float) -> None:
    source = np.full((448, width), 100, np.uint8)
    source[:, int(column * (width - 1))] = 200
    assert (upright(source, (256, 512))[..., 0].max(axis=1) >= 115).all()
    source[:] = 100
    source[int(row * 447)] = 200
    assert (upright(source, (256, 512))[..., 0].max(axis=0) >= 115).all()


def test_a_tilted_region_is_followed_by_whole_pixels() -> None:
    rng = np.random.default_rng(3)
    product = rng.integers(0, 256, (120, 90), np.uint8)
    starts_x = (5 + np.arange(120) // 40).astype(np.uint32)
    starts_y = (7 - np.arange(90) // 30).astype(np.uint32)
    frame = np.zeros((140, 120), np.uint8)
    for r in range(120):
        for c in range(90):
            frame[r + starts_y[c], c + starts_x[r + 0]] = product[r, c]
    assert np.array_equal(resize_area(frame, starts_x, starts_y, 120, 90)[..., 0][10:-10], product[10:-10])


@pytest.mark.parametrize(
    ("x", "y", "size"), [(11, 0, (16, 16)), (0, 11, (16, 16)), (0, 0, (7, 16)), (0, 0, (16, 7))]
)
def test_a_region_beyond_the_source_or_a_target_too_small_is_refused(
    x: int, y: int, size: tuple[int, int]
) -> None:
    frame = np.zeros((30, 30), np.uint8)
    with pytest.raises(ValueError, match=r"leaves the source|cannot resize"):
        resize_area(frame, np.full(20, x, np.uint32), np.full(20, y, np.uint32), *size)


def test_a_frame_that_may_not_be_written_is_read() -> None:
    source = np.random.default_rng(1).integers(0, 256, (64, 48), np.uint8)
    source.setflags(write=False)
    assert np.array_equal(upright(source, (64, 48))[..., 0], source)


SIZES = st.integers(1, 90)


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from([1, 3]), st.data())
def test_a_line_of_one_pixel_never_vanishes_whatever_the_sizes(
    height: int, width: int, to_height: int, to_width: int, channels: int, data: st.DataObject
) -> None:
    ground, line = 100, 100
    source = np.full((height, width, channels), ground, np.uint8)
    source[:, data.draw(st.integers(0, width - 1))] += line
    kept = resize_picture(source, to_height, to_width).astype(int) - ground
    least = line * min(1.0, to_width / width) / 2
    assert kept.max() >= int(least) - 1
    turned = resize_picture(source.swapaxes(0, 1), to_width, to_height)
    assert np.abs(turned.swapaxes(0, 1).astype(int) - ground - kept).max() <= 1


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_a_whole_picture_keeps_its_mean_and_is_the_exact_area(
    height: int, width: int, to_height: int, to_width: int, channels: int, seed: int
) -> None:
    source = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    resized = resize_picture(source, to_height, to_width)
    assert resized.shape == (to_height, to_width, channels)
    fine = source.repeat(to_height, axis=0).repeat(to_width, axis=1).astype(np.float64)
    exact = fine.reshape(to_height, height, to_width, width, channels).mean(axis=(1, 3))
    assert np.abs(resized - exact).max() <= 0.51
    assert abs(resized.mean() - source.mean()) <= 0.51


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_a_picture_of_the_wanted_size_is_itself(height: int, width: int, seed: int) -> None:
    source = np.random.default_rng(seed).integers(0, 256, (height, width, 1), dtype=np.uint8)
    assert np.array_equal(resize_picture(source, height, width), source)


def test_one_axis_that_grows_does_not_blind_the_other() -> None:
    source = np.full((1024, 64, 1), 100, np.uint8)
    source[509] = 255
    assert cv2.resize(source, (128, 128), interpolation=cv2.INTER_LINEAR).max() == 100
    assert resize_picture(source, 128, 128).max() == 119  # an eighth of 155 levels
