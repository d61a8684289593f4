"""Curvature, range and texture: what the stereo paper gives a network as red, green and blue.

Section 2.1 of the StyleGAN2 + DiffAugment paper names them and gives no formula. Curvature is the mean
curvature of a surface with the slopes p and q, range the length of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.stereo.rig import Rig
from station.stereo.solving import FloatArray, Solved, StereoError, lambert, lobe

FORM_PX = 129
"""Slopes that change more slowly than this belong to the part's form and its run-out, not to its surface."""


@dataclass(frozen=True, slots=True)
class Channels:
    """What is computed from one part's pictures; all (H, W) float32."""

    curvature: FloatArray
    """Mean curvature, 1/px; above 0 where the surface is hollow."""
    range: FloatArray
    """The length of the gradient, height per length."""
    texture: FloatArray
    """Reflectance, grey levels."""

    def picture(self, rig: Rig) -> NDArray[np.uint8]:
        """The three as red, green and blue, uint8 (H, W, 3), on the rig's fixed scales.

        Curvature 0 is 128; what passes a scale's end is cut off there.
        """
        red = 128 + 127 * self.curvature / np.float32(rig.curvature_white)
        green = 255 * self.range / np.float32(rig.slope_white)
        blue = 255 * self.texture / np.float32(rig.texture_white)
        stacked = np.stack([red, green, blue], axis=-1)
        return np.clip(np.rint(stacked), 0, 255).astype(np.uint8)


def channels(pictures: NDArray[np.uint8], rig: Rig) -> Channels:
    """Solve the pictures (n, H, W) of one part, in the order of the rig's lamps.

    Raises :class:`StereoError` where the pictures do not fit the rig.
    """
    if len(pictures) != len(rig.lamps):
        raise StereoError(f"{len(pictures)} pictures for {len(rig.lamps)} lamps; give one picture per lamp")
    light = np.asarray(pictures, np.float32) - np.float32(rig.dark_level)
    if rig.solver == "lambert":
        solved = lambert(light, rig.directions)
    else:
        assert rig.lobe_rad is not None
        solved = lobe(light, rig.directions, rig.lobe_rad, rig.diffuse or 0.0)
    return of_slopes(solved)


def of_slopes(solved: Solved) -> Channels:
    """The channels of a solved surface; form and run-out are taken off the slopes before."""
    p = solved.axial - _slow(solved.axial.mean(axis=0))[None, :]
    q = solved.around - _slow(solved.around.mean(axis=1))[:, None]
    return Channels(mean_curvature(p, q), np.hypot(p, q), solved.texture)


def mean_curvature(p: FloatArray, q: FloatArray) -> FloatArray:
    """``((1 + q^2) p_x - p q (p_y + q_x) + (1 + p^2) q_y) / (2 (1 + p^2 + q^2)^1.5)``, (H, W), 1/px."""
    p_y, p_x = np.gradient(p)
    q_y, q_x = np.gradient(q)
    above = (1 + q * q) * p_x - p * q * (p_y + q_x) + (1 + p * p) * q_y
    return np.asarray(above / (2 * (1 + p * p + q * q) ** 1.5), np.float32)


def _slow(profile: FloatArray) -> FloatArray:
    """A profile's moving average over ``FORM_PX``, mirrored at both ends."""
    half = min(FORM_PX // 2, len(profile) - 1)
    padded = np.pad(profile.astype(np.float64), half, mode="reflect")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    window = 2 * half + 1
    return np.asarray((total[window:] - total[:-window]) / window, np.float32)
