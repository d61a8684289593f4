"""Directions of lamps, given as angles or measured on a sphere, for photometric stereo.

A direction is a unit vector from the surface to the lamp: x along the columns of the picture, y down its
rows, z to the camera. The camera is far away, so that it looks along z everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]
_LIT = 0.15
"""Share of the brightest pixel from which on a pixel of a matt sphere counts as lit."""
_HIGHLIGHT = 0.9
"""Share of the brightest pixel from which on a pixel belongs to the highlight of a shiny sphere."""
_LEAST_PX = 3
"""Fewer pixels are no measurement."""


@dataclass(frozen=True, slots=True)
class Sphere:
    """Where a ball lies in a picture, px."""

    x: float
    y: float
    radius: float


def direction(slant_deg: float, azimuth_deg: float) -> Vectors:
    """The unit vector (3,) of a lamp ``slant_deg`` away from the camera's axis; azimuth 0 is along the
    columns, 90 down the rows.
    """
    slant, azimuth = math.radians(slant_deg), math.radians(azimuth_deg)
    return np.array(
        [math.sin(slant) * math.cos(azimuth), math.sin(slant) * math.sin(azimuth), math.cos(slant)]
    )


def angles(lamp: Vectors) -> tuple[float, float]:
    """Slant and azimuth of a unit vector, degrees: the way back from :func:`direction`."""
    x, y, z = (float(value) for value in lamp)
    return math.degrees(math.atan2(math.hypot(x, y), z)), math.degrees(math.atan2(y, x)) % 360


def from_matt_sphere(picture: NDArray[np.generic], sphere: Sphere, dark: float = 0.0) -> Vectors:
    """The direction (3,) of the lamp under which a matt ball was photographed.

    ``picture``: grey (H, W), proportional to the light above ``dark``. By Lambert's law each lit pixel is the
    product of its normal and the lamp (Woodham 1980): least squares over all of them. Raises ValueError where
    the picture shows no lit ball there.
    """
    normals, inside = _normals(picture.shape, sphere)
    grey = np.asarray(picture, np.float64)[inside] - dark
    lit = grey > _LIT * grey.max()
    if grey.max() <= 0 or lit.sum() < 100 * _LEAST_PX:
        raise ValueError(
            "no lit ball is there; name its middle and radius, and photograph it under this lamp"
        )
    found, *_ = np.linalg.lstsq(normals[lit], grey[lit], rcond=None)
    return _unit(found)


def from_shiny_sphere(picture: NDArray[np.generic], sphere: Sphere) -> Vectors:
    """The direction (3,) of the lamp whose highlight a shiny ball shows.

    The light is mirrored at the highlight's normal n: ``l = 2 (n.v) n - v`` with v to the camera. Raises
    ValueError where there is no highlight.
    """
    normals, inside = _normals(picture.shape, sphere)
    grey = np.asarray(picture, np.float64)[inside]
    bright = grey >= _HIGHLIGHT * grey.max()
    if grey.max() <= 0 or bright.sum() < _LEAST_PX or bright.mean() > 0.1:
        raise ValueError(
            "no highlight is there; name the ball's middle and radius, and expose so that it alone is bright"
        )
    normal = _unit((normals[bright] * grey[bright, None]).sum(axis=0))
    return _unit(2 * normal[2] * normal - np.array([0.0, 0.0, 1.0]))


def _normals(shape: tuple[int, ...], sphere: Sphere) -> tuple[Vectors, NDArray[np.bool_]]:
    """The ball's normals (n, 3), and which pixels (H, W) they belong to."""
    if len(shape) != 2:
        raise ValueError("the picture has several channels; use a grey one")
    height, width = shape
    if sphere.radius < 5 or not (
        sphere.radius <= sphere.x <= width - sphere.radius
        and sphere.radius <= sphere.y <= height - sphere.radius
    ):
        raise ValueError(
            f"a ball of radius {sphere.radius:g} px at ({sphere.x:g}, {sphere.y:g}) is not whole in a "
            f"picture of {width} x {height} px"
        )
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x - sphere.x) / sphere.radius, (y - sphere.y) / sphere.radius
    inside = u * u + v * v < 0.98
    u, v = u[inside], v[inside]
    return np.stack([u, v, np.sqrt(1 - u * u - v * v)], axis=-1), inside


def _unit(vector: Vectors) -> Vectors:
    return np.asarray(vector / np.linalg.norm(vector), np.float64)
