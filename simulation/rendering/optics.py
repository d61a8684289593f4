"""How a bar light and a line-scan camera see a surface: slopes, specular lobe, focus, sensor, frame.

The camera looks at one generating line of the turning cylinder; a long bar light lies beside it, a
little off the mirror direction. A facet whose slope leans towards the mirror direction is bright, one
that leans away is dark: light and dark flanks come from relief alone. Per pixel

    grey = light * reflectance * (diffuse + specular * exp(-((sy - oy)^2 + (k * (sx - ox))^2) / (2 r^2)) / r)

with slopes s and offsets o in units of the lobe's width (Beckmann's distribution for small slopes),
r the local relative roughness, k < 1 because the bar is long along the axis. Rows are the angle of
turn, columns the axis.

Under a lamp that is small and far away, at the unit vector l (x along the columns, y down the rows, z to the
camera), the mirror direction is o = -(lx, ly) / (1 + lz) (the slope of the half vector), k is 1, and diffuse
light follows Lambert's cosine: ``diffuse * n.l`` with the normal n = (-sx, -sy, 1) / |...|.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.truth import FRAME_HEIGHT, FRAME_WIDTH, Box

FloatArray = NDArray[np.float32]

PIXEL_UM = 15.6
"""Micrometres a pixel on the surface: 57.2 mm over 3648 rows (section IV.B of the paper)."""
LOBE_RAD = 0.05
"""Standard deviation of the micro-facets' slopes on the polished surface, rad."""
AXIAL = 0.6
"""k: how much a slope along the axis counts beside one around it, under a long bar."""
DIFFUSE, SPECULAR = 0.22, 0.78
FULL_WELL_E = 14000.0
"""Electrons at grey level 255; sets the shot noise."""
READ_NOISE = 0.7
"""Grey levels."""
CONTEXT = 8
"""px of surroundings a window needs so that it shades as the whole does."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A surface under the light, ready to be looked at; all arrays float32, (H, W), (H,) or (W,)."""

    height_um: FloatArray
    reflectance: FloatArray
    roughness: FloatArray
    illumination: FloatArray
    noise: FloatArray
    """Standard normal; the same noise whether or not a defect is there."""
    offset_around: FloatArray
    """(H,) the light's distance from the mirror direction, lobe widths; run-out makes it swing."""
    offset_axial: FloatArray
    """(W,) the same along the axis: the bar is finite."""
    defocus: FloatArray
    """(H,) 0 sharp to 1 blurred, from run-out."""
    gain: FloatArray
    """(W,) per-pixel response of the line sensor."""
    dark: FloatArray
    """(W,) per-pixel dark level, grey levels."""
    exposure: float
    """Grey levels per unit of reflected light."""


def reflected(scene: Scene, box: Box, height_um: FloatArray, reflectance: FloatArray) -> FloatArray:
    """Light that reaches the lens from a window, (h, w) float32, before optics and sensor."""
    rows, cols = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    scale = np.float32(1.0 / (2.0 * PIXEL_UM * LOBE_RAD))
    difference = np.array([[-1.0, 0.0, 1.0]], np.float32) * scale
    around = _filtered(height_um, difference.T)
    axial = _filtered(height_um, difference * np.float32(AXIAL))
    around -= scene.offset_around[rows, None]
    axial -= scene.offset_axial[None, cols] * np.float32(AXIAL)
    np.multiply(around, around, out=around)
    np.multiply(axial, axial, out=axial)
    around += axial
    rough = scene.roughness[rows, cols]
    np.multiply(rough, rough, out=axial)
    around /= axial
    around *= np.float32(-0.5)
    lobe = np.asarray(cv2.exp(around), np.float32)
    lobe /= rough
    lobe *= np.float32(SPECULAR)
    lobe += np.float32(DIFFUSE)
    lobe *= reflectance
    lobe *= scene.illumination[rows, cols]
    return lobe


def reflected_from(
    scene: Scene, lamp: FloatArray, box: Box, height_um: FloatArray, reflectance: FloatArray
) -> FloatArray:
    """As :func:`reflected`, under one small and distant lamp, a unit vector (x, y, z), instead of the bar."""
    rows, cols = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    axial, around = slopes(scene, box, height_um)
    x, y, z = (np.float32(value) for value in lamp)
    cosine = np.maximum(z - x * axial - y * around, 0) / np.sqrt(1 + axial**2 + around**2)
    rough = scene.roughness[rows, cols]
    off = ((axial + x / (1 + z)) ** 2 + (around + y / (1 + z)) ** 2) / (np.float32(LOBE_RAD) * rough) ** 2
    lobe = np.exp(np.float32(-0.5) * off) / rough
    light = (np.float32(DIFFUSE) * cosine + np.float32(SPECULAR) * lobe) * reflectance
    return np.asarray(light * scene.illumination[rows, cols], np.float32)


def slopes(
    scene: Scene, box: Box | None = None, height_um: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """The surface's slopes before the camera along the columns and down the rows, um per um, (h, w) float32.

    Run-out is in them: the part really leans to and fro as it turns.
    """
    if box is None:
        box = Box(0, 0, *scene.height_um.shape[::-1])
    relief = scene.height_um if height_um is None else height_um
    difference = np.array([[-1.0, 0.0, 1.0]], np.float32) * np.float32(1 / (2 * PIXEL_UM))
    lean = (scene.offset_around.mean() - scene.offset_around) * np.float32(LOBE_RAD)
    around = _filtered(relief, difference.T)
    around += lean[box.y : box.y + box.height, None]
    return _filtered(relief, difference), around


def _filtered(image: FloatArray, kernel: FloatArray) -> FloatArray:
    return np.asarray(cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)


def photograph(
    scene: Scene,
    box: Box | None = None,
    height_um: FloatArray | None = None,
    reflectance: FloatArray | None = None,
    lamp: FloatArray | None = None,
) -> NDArray[np.uint8]:
    """The pixels of a window (default: all), uint8 ``(h, w)``.

    ``height_um`` and ``reflectance`` replace the scene's own and must cover the window grown by
    ``CONTEXT`` and clipped to the surface (see :func:`grown`). ``lamp``: a unit vector to a distant lamp that
    shines instead of the bar.
    """
    total_h, total_w = scene.height_um.shape
    inner = box or Box(0, 0, total_w, total_h)
    outer = grown(inner, CONTEXT, total_w, total_h)
    rows, cols = slice(outer.y, outer.y + outer.height), slice(outer.x, outer.x + outer.width)
    relief = scene.height_um[rows, cols] if height_um is None else height_um
    bright = scene.reflectance[rows, cols] if reflectance is None else reflectance
    pixels = np.empty((inner.height, inner.width), np.uint8)
    band = max(64, _BAND_PX // inner.width)  # in bands, because what stays in the cache is fast
    for top in range(0, inner.height, band):
        part = Box(inner.x, inner.y + top, inner.width, min(band, inner.height - top))
        around = grown(part, CONTEXT, total_w, total_h)
        here = slice(around.y - outer.y, around.y - outer.y + around.height)
        pixels[top : top + part.height] = _exposed(scene, part, around, relief[here], bright[here], lamp)
    return pixels


_BAND_PX = 100_000


def _exposed(
    scene: Scene,
    inner: Box,
    outer: Box,
    height_um: FloatArray,
    reflectance: FloatArray,
    lamp: FloatArray | None,
) -> NDArray[np.uint8]:
    """The pixels of ``inner`` from relief and reflectance of ``outer``: lens, sensor, converter."""
    if lamp is None:
        light = reflected(scene, outer, height_um, reflectance)
    else:
        light = reflected_from(scene, lamp, outer, height_um, reflectance)
    light *= np.float32(scene.exposure)
    sharp, soft = (
        np.asarray(cv2.GaussianBlur(light, (size, size), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
        for size, sigma in ((3, 0.55), (9, 1.6))
    )
    soft -= sharp
    soft *= scene.defocus[outer.y : outer.y + outer.height, None]
    soft += sharp
    top, left = inner.y - outer.y, inner.x - outer.x
    grey = soft[top : top + inner.height, left : left + inner.width]
    rows, cols = slice(inner.y, inner.y + inner.height), slice(inner.x, inner.x + inner.width)
    grey = grey * scene.gain[None, cols]
    variance = np.maximum(grey, 0)
    variance *= np.float32(255.0 / FULL_WELL_E)
    variance += np.float32(READ_NOISE**2)
    sigma = np.asarray(cv2.sqrt(variance), np.float32)
    sigma *= scene.noise[rows, cols]
    grey += sigma
    grey += scene.dark[None, cols]
    return np.asarray(cv2.convertScaleAbs(np.maximum(grey, 0)), np.uint8)


def grown(box: Box, margin: int, width: int, height: int) -> Box:
    """The box with a margin on every side, clipped to ``width`` x ``height``."""
    x0, y0 = max(0, box.x - margin), max(0, box.y - margin)
    x1, y1 = min(width, box.x + box.width + margin), min(height, box.y + box.height + margin)
    return Box(x0, y0, x1 - x0, y1 - y0)


def black_frame(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A frame of background alone, uint8 (3648, 5472): dark level, column pattern, sensor noise."""
    columns = rng.normal(2.6, 0.35, FRAME_WIDTH).astype(np.float32)
    rows = 304
    noise = rng.standard_normal((rows, FRAME_WIDTH), dtype=np.float32)
    noise *= np.float32(READ_NOISE)
    noise += columns[None, :]
    tile = np.asarray(cv2.convertScaleAbs(np.maximum(noise, 0)), np.uint8)
    frame = np.empty((FRAME_HEIGHT, FRAME_WIDTH), np.uint8)
    for top in range(0, FRAME_HEIGHT, rows):
        frame[top : top + rows] = np.roll(tile, int(rng.integers(rows)), axis=0)
    return frame


def tilted_box(region: Box, tilt_deg: float) -> tuple[NDArray[np.float64], Box]:
    """The 2 x 3 affine map of the product turned about its middle into the frame, and its bounding box."""
    middle = (region.width / 2 - 0.5, region.height / 2 - 0.5)
    turn = np.asarray(cv2.getRotationMatrix2D(middle, tilt_deg, 1.0), np.float64)
    turn[:, 2] += (region.x, region.y)
    w, h = region.width - 1, region.height - 1
    corners = np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]], np.float64) @ turn.T
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)) + 1, (FRAME_WIDTH, FRAME_HEIGHT)).astype(int)
    return turn, Box(int(x0), int(y0), int(x1 - x0), int(y1 - y0))


def compose(
    surface: NDArray[np.uint8], region: Box, tilt_deg: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Box]:
    """Lay a product's pixels into a black frame; returns the frame and the product's bounding box."""
    frame = black_frame(rng)
    if tilt_deg == 0.0:
        frame[region.y : region.y + region.height, region.x : region.x + region.width] = surface
        return frame, region
    turn, box = tilted_box(region, tilt_deg)
    turned = cv2.warpAffine(surface, turn, (FRAME_WIDTH, FRAME_HEIGHT), flags=cv2.INTER_LINEAR)
    np.maximum(frame, turned, out=frame)
    return frame, box
