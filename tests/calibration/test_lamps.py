"""A lamp's direction is measured on a ball."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.lamps import Sphere, angles, direction, from_matt_sphere, from_shiny_sphere

BALL = Sphere(62.0, 58.5, 45.0)


def ball() -> tuple[np.ndarray, np.ndarray]:
    """The normals (H, W, 3) of the ball, and where it is."""
    y, x = np.mgrid[0:120, 0:130]
    u, v = (x - BALL.x) / BALL.radius, (y - BALL.y) / BALL.radius
    inside = u * u + v * v < 1
    return np.stack([u, v, np.sqrt(np.maximum(1 - u * u - v * v, 0))], axis=-1), inside


def matt(lamp: np.ndarray, albedo: float = 200.0) -> np.ndarray:
    normals, inside = ball()
    return np.where(inside, albedo * np.maximum(normals @ lamp, 0), 0)


def apart_deg(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ other, -1, 1))))


@given(st.floats(0, 60), st.floats(0, 359))
@settings(deadline=None, max_examples=25)
def test_a_matt_ball_gives_the_lamp_that_lights_it(slant: float, azimuth: float) -> None:
    lamp = direction(slant, azimuth)
    assert apart_deg(from_matt_sphere(matt(lamp), BALL), lamp) < 0.01
    in_grey_levels = np.rint(matt(lamp) + 3).astype(np.uint8)
    assert apart_deg(from_matt_sphere(in_grey_levels, BALL, dark=3), lamp) < 0.5


@given(st.floats(0, 60), st.floats(0, 359))
@settings(deadline=None, max_examples=25)
def test_the_highlight_of_a_shiny_ball_gives_the_lamp(slant: float, azimuth: float) -> None:
    lamp = direction(slant, azimuth)
    normals, inside = ball()
    half = lamp + np.array([0, 0, 1])
    half /= np.linalg.norm(half)
    picture = np.where(inside, 250 * np.maximum(normals @ half, 0) ** 100, 0).astype(np.uint8)
    assert apart_deg(from_shiny_sphere(picture, BALL), lamp) < 2


@given(st.floats(0.01, 89), st.floats(0, 359))
def test_angles_and_directions_are_each_others_way_back(slant: float, azimuth: float) -> None:
    assert angles(direction(slant, azimuth)) == pytest.approx((slant, azimuth), abs=1e-6)


@pytest.mark.parametrize(
    ("measure", "picture", "sphere", "words"),
    [
        (from_matt_sphere, np.zeros((120, 130)), BALL, "no lit ball"),
        (from_matt_sphere, np.zeros((120, 130)), Sphere(20, 58, 45), "not whole"),
        (from_matt_sphere, np.zeros((120, 130, 3)), BALL, "grey"),
        (from_shiny_sphere, np.full((120, 130), 200), BALL, "no highlight"),
        (from_shiny_sphere, np.zeros((120, 130)), BALL, "no highlight"),
    ],
)
def test_a_picture_without_the_ball_is_refused(measure, picture, sphere, words) -> None:
    with pytest.raises(ValueError, match=words):
        measure(picture, sphere)
