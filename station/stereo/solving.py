"""From pictures under several lamps to slopes and reflectance: ``lambert`` for matt products, ``lobe`` for
machined ones.

Sound metal has slopes of 0.002 to 0.004. Under lamps far from the mirror direction, light changes with such
slopes by less than the camera's noise. Lamps a little beside the mirror direction lie on the flank of the
specular lobe, where the logarithm of the light is linear in the slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.errors import InspectionError

FloatArray = NDArray[np.float32]

STEEPEST = 20.0
"""The steepest slope that Lambert's law is asked for; beyond it the surface is seen edge on."""
_ROUNDS = 4
"""Of subtracting the diffuse share: the error shrinks five- to tenfold per round."""
_BAND = 32
"""Rows that are solved at a time."""
IN_ONE_PLANE = (
    "the directions of the lamps lie in one plane, so the normal is not determined; move one of them"
)
IN_ONE_LINE = "the lamps lie in one line, so only the slope along it is determined; move one of them"
_LEAST = 1e-3
"""Of a pixel's light that is taken for specular at least: where less is left, the logarithm is noise."""


class StereoError(InspectionError):
    """The pictures or lamps cannot be solved; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Solved:
    """A surface as the lamps saw it; all (H, W) float32."""

    axial: FloatArray
    """The slope along the columns (p), height per length."""
    around: FloatArray
    """The slope down the rows (q), height per length."""
    texture: FloatArray
    """Reflectance in the pictures' unit: what a facet in the best position would send to the camera."""


def lambert(pictures: NDArray[np.generic], lamps: NDArray[np.generic]) -> Solved:
    """Slopes and reflectance of a matt surface (Woodham 1980): ``g = pinv(L) I``, normal ``g / |g|``.

    ``pictures``: (n, H, W), light above the dark level, n >= 3; ``lamps``: (n, 3) unit vectors. A pixel
    without any light has texture 0 and slopes 0; slopes end at ``STEEPEST``. Raises :class:`StereoError`.
    """
    stack, towards = _checked(pictures, lamps, "lambert")
    if not determined(towards):
        raise StereoError(IN_ONE_PLANE)
    inverse = np.linalg.pinv(towards).astype(np.float32)
    x, y, z = np.tensordot(inverse, stack, axes=1)
    texture = np.sqrt(x * x + y * y + z * z)
    floor = np.maximum(z, texture / np.float32(STEEPEST))
    lit = texture > 0
    nothing = np.zeros_like(texture)
    p = np.divide(-x, floor, out=nothing.copy(), where=lit)
    q = np.divide(-y, floor, out=nothing, where=lit)
    return Solved(p, q, texture)


def lobe(
    pictures: NDArray[np.generic], lamps: NDArray[np.generic], lobe_rad: float, diffuse: float = 0.0
) -> Solved:
    """Slopes and reflectance of a machined surface from lamps near the mirror direction.

    Beckmann's lobe for small slopes: ``I_i = R (diffuse lz_i + exp(-|s - o_i|^2 / (2 w^2)))`` with the slope
    s, the lamp's mirror slope ``o_i = -(lx, ly) / (1 + lz)`` and the lobe's width w. Without the diffuse
    share, ``ln I_i + |o_i|^2 / (2 w^2) = a + s.o_i / w^2`` is linear in (a, s): least squares per pixel,
    which for two opposite lamps is the log ratio ``w^2 ln(I+ / I-) / (2 o)``. The diffuse share is subtracted
    first, as the reflectance and slopes of the round before give it.

    ``pictures``: (n, H, W), light above the dark level, n >= 3; ``lamps``: (n, 3) unit vectors;
    ``lobe_rad``: w; ``diffuse``: diffuse over specular reflectance, 0 to 2. A pixel that is black under one
    lamp is solved as if it had a thousandth of the brightest pixel's light there.
    Raises :class:`StereoError`.
    """
    stack, towards = _checked(pictures, lamps, "lobe")
    if not lobe_rad > 0:
        raise StereoError(f"the lobe's width is {lobe_rad} rad; give one above 0")
    if not 0 <= diffuse <= 2:
        raise StereoError(f"the diffuse share is {diffuse}; give 0 to 2 times the specular one")
    mirror, system = _lobe_system(towards, lobe_rad)
    if not determined(towards, lobe_rad):
        raise StereoError(IN_ONE_LINE)
    matt = (np.float32(diffuse) * towards[:, 2]).astype(np.float32)
    lightest = np.float32(_LEAST) * max(float(stack.max()), 1e-6)
    solved = Solved(*(np.empty(stack.shape[1:], np.float32) for _ in range(3)))
    for top in range(0, stack.shape[1], _BAND):  # in bands, because what stays in the cache is fast
        rows = slice(top, top + _BAND)
        light = np.maximum(stack[:, rows], lightest)
        solved.axial[rows], solved.around[rows], solved.texture[rows] = _lobe_band(
            light, mirror, matt, np.linalg.pinv(system).astype(np.float32), np.float32(lobe_rad**2)
        )
    return solved


def determined(lamps: NDArray[np.generic], lobe_rad: float | None = None) -> bool:
    """Whether lamps (n, 3) determine the slopes: by ``lobe`` with its width, by ``lambert`` without one."""
    towards = np.asarray(lamps, np.float32)
    system = towards if lobe_rad is None else _lobe_system(towards, lobe_rad)[1]
    return int(np.linalg.matrix_rank(system, tol=1e-3)) == 3


def _lobe_system(towards: FloatArray, lobe_rad: float) -> tuple[FloatArray, FloatArray]:
    """The mirror slopes (n, 2), and the rows (n, 3) of the linear system in (a, s)."""
    mirror = -towards[:, :2] / (1 + towards[:, 2:])
    return mirror, np.column_stack([np.ones(len(mirror)), mirror / lobe_rad**2])


def _lobe_band(
    light: FloatArray, mirror: FloatArray, matt: FloatArray, inverse: FloatArray, variance: np.float32
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Both slopes and the reflectance of a band (n, h, W). ``inverse``: (3, n) of the linear system."""
    known = (np.sum(mirror**2, axis=1) / (2 * variance)).astype(np.float32)
    offset = (inverse @ known)[:, None, None]
    half = np.float32(0.5) / variance
    specular = light
    total = light.mean(axis=0)
    rounds = _ROUNDS if matt.any() else 1
    for number in range(rounds):
        a, x, y = np.tensordot(inverse, np.log(specular), axes=1) + offset
        if number == rounds - 1:
            break
        bright = np.zeros_like(total)
        for across, down in mirror:
            bright += np.exp(-half * ((x - across) ** 2 + (y - down) ** 2))
        reflectance = total / (bright / np.float32(len(mirror)) + matt.mean())
        specular = np.maximum(light - reflectance * matt[:, None, None], np.float32(_LEAST) * light)
    return x, y, np.exp(a + half * (x * x + y * y))


def _checked(
    pictures: NDArray[np.generic], lamps: NDArray[np.generic], solver: str
) -> tuple[FloatArray, FloatArray]:
    """Both as float32. Raises :class:`StereoError`."""
    stack, towards = np.asarray(pictures, np.float32), np.asarray(lamps, np.float32)
    if stack.ndim != 3 or towards.shape != (len(stack), 3):
        raise StereoError(
            f"{len(stack)} pictures and {len(towards)} lamps: give one grey picture per lamp, all of one size"
        )
    if len(stack) < 3:
        raise StereoError(f"`{solver}` needs 3 lamps or more, not {len(stack)}")
    if not np.isfinite(stack).all():
        raise StereoError("the pictures have values that are no numbers")
    if np.abs(np.linalg.norm(towards, axis=1) - 1).max() > 1e-3 or towards[:, 2].min() <= 0:
        raise StereoError("a lamp's direction is no unit vector towards the camera's side")
    return np.maximum(stack, 0), towards
