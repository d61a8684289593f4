"""What a person marked on a whole picture becomes a class per pixel, and nothing marked vanishes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retraining.data.outlines import Outline, class_mask
from retraining.errors import DatasetError

CLASSES = ("good", "spot", "crack")
SIDE = 40
corner = st.integers(0, SIDE - 1)


def mask_of(*outlines: Outline) -> np.ndarray:
    return class_mask(outlines, CLASSES, SIDE, SIDE)


@given(corner, corner, st.integers(1, SIDE), st.integers(1, SIDE))
def test_a_box_its_corners_and_its_runs_mark_the_same_pixels(
    left: int, top: int, width: int, height: int
) -> None:
    right, bottom = min(left + width, SIDE), min(top + height, SIDE)
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[top:bottom, left:right] = 1
    box = (left, top, right, bottom)
    polygon = (left, top, right, top, right, bottom, left, bottom)
    for one in (
        Outline("spot", box),
        Outline("spot", box, (polygon,)),
        Outline("spot", box, runs=(0, (right - left) * (bottom - top))),
    ):
        assert np.array_equal(mask_of(one), drawn)


@given(st.lists(st.tuples(corner, corner), min_size=3, max_size=8))
def test_a_polygon_marks_the_pixels_whose_centres_it_encloses(points: list[tuple[int, int]]) -> None:
    def encloses(x: float, y: float) -> bool:
        crossings = 0
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            if (y0 <= y) != (y1 <= y):
                crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
        return crossings % 2 == 1

    xs, ys = zip(*points, strict=True)
    flat = tuple(float(value) for point in points for value in point)
    mask = mask_of(Outline("crack", (min(xs), min(ys), max(xs), max(ys)), (flat,)))
    inside = np.array([[encloses(x + 0.5, y + 0.5) for x in range(SIDE)] for y in range(SIDE)])
    assert mask.any()
    if inside.any():
        assert np.array_equal(mask == 2, inside)


def test_a_line_and_a_point_mark_their_pixels() -> None:
    line = mask_of(Outline("crack", (5, 5, 30, 6), ((5.2, 5.2, 30.7, 5.2, 5.2, 5.2),)))
    assert line[5, 5:31].all()
    assert line.sum() == 2 * 26
    point = mask_of(Outline("crack", (39, 39, 40, 40), ((40.0, 40.0),)))
    assert (point[39, 39], point.sum()) == (2, 2)


def test_the_smaller_of_two_overlapping_marks_counts() -> None:
    small, large = Outline("crack", (10, 10, 14, 14)), Outline("spot", (0, 0, 30, 30))
    for order in ((small, large), (large, small)):
        mask = mask_of(*order)
        assert (mask[12, 12], mask[20, 20], mask[35, 35]) == (2, 1, 0)


def test_every_mark_beyond_the_picture_is_named() -> None:
    with pytest.raises(DatasetError, match=r"spot at x 30 to 50.* and crack at x -9 to 4"):
        mask_of(
            Outline("spot", (30, 2, 50, 4)),
            Outline("spot", (1, 2, 5, 4)),
            Outline("crack", (-9, 1, 4, 2), ((-9, 1, 4, 1, 4, 2),)),
        )


@pytest.mark.parametrize(
    "strange",
    [
        {"box": (4, 4, 2, 8)},
        {"box": (0, 0, float("nan"), 8)},
        {"box": (0, 0, 2, 2), "polygons": ((1.0, 2.0, 3.0),)},
        {"box": (0, 0, 2, 2), "runs": (1, 2)},
        {"box": (0, 0, 2.5, 2), "runs": (1, 4)},
        {"box": (0, 0, 2, 2), "runs": (5, -1)},
    ],
)
def test_what_is_no_mark_is_refused(strange: dict) -> None:
    with pytest.raises(DatasetError, match="spot"):
        Outline("spot", **strange)
