"""The solvers give back the surface that was lit: exactly by their own law, well on rendered metal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.lamps import direction
from simulation.rendering.optics import DIFFUSE, LOBE_RAD, SPECULAR, slopes
from simulation.rendering.parts import render_part
from station.stereo import StereoError, lambert, lobe

FOUR = np.array([direction(30, azimuth) for azimuth in (0, 90, 180, 270)])
NEAR = np.array([direction(7.4, azimuth) for azimuth in (0, 90, 180, 270)])
MIRROR = -NEAR[:, :2] / (1 + NEAR[:, 2:])


def sphere(side: int = 101) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes p and q of a ball's cap that all four lamps light, (side, side), and its normals."""
    y, x = np.mgrid[-0.5 : 0.5 : side * 1j, -0.5 : 0.5 : side * 1j]
    z = np.sqrt(1 - x * x - y * y)
    return -x / z, -y / z, np.stack([x, y, z])


def matt(normals: np.ndarray, lamps: np.ndarray, albedo: np.ndarray | float) -> np.ndarray:
    return albedo * np.maximum(np.tensordot(lamps, normals, axes=1), 0)


def machined(p: np.ndarray, q: np.ndarray, reflectance: np.ndarray | float, diffuse: float) -> np.ndarray:
    """(4, H, W): a lobe of the renderer's width on a diffuse share."""
    off = (p - MIRROR[:, 0, None, None]) ** 2 + (q - MIRROR[:, 1, None, None]) ** 2
    return reflectance * (diffuse * NEAR[:, 2, None, None] + np.exp(-off / (2 * LOBE_RAD**2)))


def rough(seed: int, amount: float = 0.01) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, amount, (40, 50))


def test_lambert_is_exact_on_a_sphere_and_on_a_plane() -> None:
    p, q, normals = sphere()
    albedo = np.random.default_rng(1).uniform(50, 200, p.shape)
    solved = lambert(matt(normals, FOUR, albedo), FOUR)
    assert np.allclose(solved.axial, p, atol=1e-5)
    assert np.allclose(solved.around, q, atol=1e-5)
    assert np.allclose(solved.texture, albedo, rtol=1e-5)
    flat = lambert(matt(np.broadcast_to(np.array([0, 0, 1.0])[:, None, None], (3, 4, 5)), FOUR, 90.0), FOUR)
    assert np.allclose(flat.axial, 0, atol=1e-6)
    assert np.allclose(flat.texture, 90)


def test_lambert_is_the_difference_of_opposite_lamps_over_their_sum() -> None:
    _, _, normals = sphere()
    right, down, left, up = pictures = matt(normals, FOUR, 120.0)
    scale = -2 / (pictures.sum(axis=0) * np.tan(np.radians(30)))
    solved = lambert(pictures, FOUR)
    assert np.allclose(solved.axial, scale * (right - left), atol=1e-5)
    assert np.allclose(solved.around, scale * (down - up), atol=1e-5)


@given(st.integers(0, 99), st.floats(0.1, 10), st.sampled_from(["lambert", "lobe"]))
@settings(deadline=None, max_examples=20)
def test_brighter_lamps_or_metal_change_the_texture_and_no_slope(seed: int, by: float, solver: str) -> None:
    pictures = machined(rough(seed), rough(seed + 100), 100.0 + 50 * rough(seed + 200), 0.2)
    lamps = NEAR
    one, other = (
        lambert(light, lamps) if solver == "lambert" else lobe(light, lamps, LOBE_RAD, 0.2)
        for light in (pictures, by * pictures)
    )
    assert np.allclose(one.axial, other.axial, atol=2e-5, rtol=1e-4)
    assert np.allclose(one.around, other.around, atol=2e-5, rtol=1e-4)
    assert np.allclose(by * one.texture, other.texture, rtol=1e-3)


@given(st.integers(0, 99), st.permutations(range(4)), st.sampled_from(["lambert", "lobe"]))
@settings(deadline=None, max_examples=20)
def test_the_order_of_the_lamps_does_not_matter(seed: int, order: list[int], solver: str) -> None:
    pictures = machined(rough(seed), rough(seed + 100), 100.0, 0.0)
    one, other = (
        lambert(light, lamps) if solver == "lambert" else lobe(light, lamps, LOBE_RAD)
        for light, lamps in ((pictures, NEAR), (pictures[order], NEAR[order]))
    )
    assert np.allclose(one.axial, other.axial, atol=1e-5, rtol=1e-4)
    assert np.allclose(one.around, other.around, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("diffuse", [0.0, 0.28])
def test_lobe_is_exact_on_its_own_law(diffuse: float) -> None:
    p, q = rough(1), rough(2)
    reflectance = np.random.default_rng(3).uniform(50, 250, p.shape)
    solved = lobe(machined(p, q, reflectance, diffuse), NEAR, LOBE_RAD, diffuse)
    near = 1e-5 if diffuse == 0 else 1e-3
    assert np.allclose(solved.axial, p, atol=near)
    assert np.allclose(solved.around, q, atol=near)
    assert np.allclose(solved.texture, reflectance, rtol=1e-4 if diffuse == 0 else 0.05)


def test_lobe_gives_the_slopes_of_rendered_metal() -> None:
    part = render_part(33, width=385, kind="scratches", level="clear")
    light = part.under(NEAR) - np.float32(2.6)
    solved = lobe(light, NEAR, LOBE_RAD, DIFFUSE / SPECULAR)
    for truth, found in zip(slopes(part.scene()), (solved.axial, solved.around), strict=True):
        assert np.corrcoef(truth.ravel(), found.ravel())[0, 1] >= 0.9
        assert 0.75 < float((truth * found).sum() / (truth**2).sum()) < 1.1


def test_a_pixel_without_light_has_no_texture_and_no_slope() -> None:
    pictures = np.zeros((4, 3, 3))
    solved = lambert(pictures, FOUR)
    assert not solved.texture.any()
    assert not solved.axial.any()
    dark = lobe(pictures, NEAR, LOBE_RAD)
    assert np.isfinite(dark.texture).all()
    assert np.abs(dark.axial).max() < 1e-3


@pytest.mark.parametrize(
    ("solve", "words"),
    [
        (lambda: lambert(np.ones((4, 3, 3)), FOUR[:3]), "one grey picture per lamp"),
        (lambda: lambert(np.ones((2, 3, 3)), FOUR[:2]), "3 lamps or more"),
        (lambda: lambert(np.ones((3, 3, 3)), FOUR[[0, 2, 0]]), "in one plane"),
        (lambda: lobe(np.ones((3, 3, 3)), NEAR[[0, 2, 0]], LOBE_RAD), "in one line"),
        (lambda: lobe(np.ones((4, 3, 3)), NEAR, 0.0), "lobe's width"),
        (lambda: lobe(np.ones((4, 3, 3)), NEAR, LOBE_RAD, 3.0), "diffuse share"),
        (lambda: lobe(np.full((4, 3, 3), np.nan), NEAR, LOBE_RAD), "no numbers"),
        (lambda: lambert(np.ones((4, 3, 3)), 2 * FOUR), "unit vector"),
        (lambda: lambert(np.ones((4, 3, 3)), -FOUR), "towards the camera"),
    ],
)
def test_what_cannot_be_solved_is_refused(solve, words) -> None:
    with pytest.raises(StereoError, match=words):
        solve()
