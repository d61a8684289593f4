"""The metal without defects: an unrolled, drawn, turned and polished cylinder under a bar light.

Relief in micrometres: draw lines along the axis, turning marks as a fine helix, polishing marks,
waviness. Reflectance: mottling, stains, dust, and the faint natural scratches of handling; these belong
to a good part. Light: fall-off across the width, glare, run-out over the turn.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from simulation.rendering.optics import FloatArray, Scene, reflected
from simulation.truth import PRODUCT_HEIGHT, Box

Generator = np.random.Generator
_TILE = 1024


def make_scene(rng: Generator, width: int, *, height: int = PRODUCT_HEIGHT) -> Scene:
    """A defect-free surface ``(height, width)`` with its light and its noise, all drawn from ``rng``."""
    relief = _draw_lines(rng, height, width)
    _add_turning_marks(relief, rng)
    _add_polishing(relief, rng)
    relief += _smooth_noise(rng, height, width, rng.uniform(40, 90)) * np.float32(rng.uniform(0.15, 0.5))
    reflectance = _mottled(rng, height, width)
    _add_stains(reflectance, rng)
    _add_natural_scratches(reflectance, relief, rng)
    _add_dust(reflectance, rng)
    roughness = _smooth_noise(rng, height, width, rng.uniform(120, 400)) * np.float32(rng.uniform(0.02, 0.06))
    roughness += np.float32(1.0)
    np.clip(roughness, 0.7, 1.4, out=roughness)

    turn = np.linspace(0, 2 * np.pi, height, endpoint=False, dtype=np.float32)
    runout = np.sin(turn + rng.uniform(0, 2 * np.pi)) + 0.3 * np.sin(2 * turn + rng.uniform(0, 2 * np.pi))
    lean = np.cos(turn + rng.uniform(0, 2 * np.pi))
    axis = np.linspace(-1, 1, width, dtype=np.float32)
    bare = Scene(
        height_um=relief,
        reflectance=reflectance,
        roughness=roughness,
        illumination=_illumination(rng, height, width, runout),
        noise=fine_noise(rng, height, width),
        offset_around=(rng.uniform(0.6, 0.9) + rng.uniform(0.02, 0.1) * lean).astype(np.float32),
        offset_axial=(rng.uniform(-0.7, 0.7) + rng.uniform(-0.25, 0.25) * axis).astype(np.float32),
        defocus=np.clip(rng.uniform(0.0, 0.2) + rng.uniform(0.0, 0.4) * np.abs(runout), 0, 0.75).astype(
            np.float32
        ),
        gain=(1 + rng.normal(0, 0.006, width)).astype(np.float32),
        dark=rng.normal(2.6, 0.35, width).astype(np.float32),
        exposure=1.0,
    )
    bands = [Box(0, top, width, 32) for top in range(0, height - 32, max(32, height // 8))]
    light = [
        reflected(bare, b, relief[b.y : b.y + b.height], reflectance[b.y : b.y + b.height]) for b in bands
    ]
    level = float(np.mean([band.mean() for band in light]))
    values = {name: getattr(bare, name) for name in Scene.__slots__}
    return Scene(**{**values, "exposure": float(rng.uniform(105, 160)) / level})


@lru_cache(maxsize=1)
def _noise_bank() -> FloatArray:
    """Four million standard normal numbers, drawn once: a part's fine noise is cut from them."""
    return np.random.Generator(np.random.SFC64(1)).standard_normal(1 << 22, dtype=np.float32)


def fine_noise(rng: Generator, height: int, width: int) -> FloatArray:
    """White noise (height, width), unit variance: the bank from a random place on, around and around."""
    bank = _noise_bank()
    noise = np.empty(height * width, np.float32)
    start, done = int(rng.integers(bank.size)), 0
    while done < noise.size:
        count = min(bank.size - start, noise.size - done)
        noise[done : done + count] = bank[start : start + count]
        start, done = 0, done + count
    return noise.reshape(height, width)


@lru_cache(maxsize=64)
def _spread(knots: int, length: int) -> FloatArray:
    """(knots, length): cubic interpolation of ``knots`` values to ``length`` px as a matrix."""
    eye = np.eye(knots, dtype=np.float32)
    return np.asarray(cv2.resize(eye, (length, knots), interpolation=cv2.INTER_CUBIC), np.float32)


def _interpolation(size: int, scale_px: float, margin: float) -> FloatArray:
    """(knots, size): from knots ``scale_px`` apart to ``size`` px, leaving ``margin`` knots at the start."""
    knots = int(size / scale_px) + 4
    left = int(scale_px * margin)
    return _spread(knots, int(knots * scale_px) + 1)[:, left : left + size]


def _smooth_noise(
    rng: Generator, height: int, width: int, scale_px: float, scale_x: float = 0.0
) -> FloatArray:
    """Unit-variance noise with features of about ``scale_px`` rows and ``scale_x`` (or as many) columns."""
    rows = _interpolation(height, scale_px, 1.5)
    cols = _interpolation(width, scale_x or scale_px, 1.5)
    small = rng.standard_normal((rows.shape[0], cols.shape[0]), dtype=np.float32)
    return np.asarray((rows.T @ small) @ cols, np.float32)


Streak = tuple[FloatArray, FloatArray]


def _streaks(
    rng: Generator, height: int, width: int, length_px: float, sigma_rows: float, amount: float
) -> Streak:
    """Noise drawn out along the axis, as two factors (height, knots) and (knots, width).

    Rows differ, columns follow each other over ``length_px``; ``amount`` is the standard deviation.
    """
    small = rng.standard_normal((height, int(width / length_px) + 4), dtype=np.float32)
    if sigma_rows > 0:
        small = np.asarray(
            cv2.GaussianBlur(small, (1, int(sigma_rows * 4) * 2 + 1), 0.01, sigmaY=sigma_rows), np.float32
        )
        small /= small.std()
    return small, _interpolation(width, length_px, float(rng.uniform(0.5, 1.5))) * np.float32(amount)


def _sum_of(streaks: list[Streak]) -> FloatArray:
    """All streaks added up, in one matrix product."""
    left, right = (np.concatenate([one[side] for one in streaks], axis=1 - side) for side in (0, 1))
    return np.asarray(left @ right, np.float32)


def _draw_lines(rng: Generator, height: int, width: int) -> FloatArray:
    """Relief of the drawing die: three lengths of streaks and some deeper single lines."""
    strength = rng.uniform(0.7, 1.3)
    streaks = [
        _streaks(rng, height, width, rng.uniform(18, 40), 0.7, 0.035 * strength),
        _streaks(rng, height, width, rng.uniform(90, 200), 1.2, 0.06 * strength),
        _streaks(rng, height, width, rng.uniform(300, 900), 2.5, 0.10 * strength),
    ]
    knots = int(width / 120) + 4
    single = np.zeros((height, knots), np.float32)
    rows = rng.integers(0, height, int(rng.integers(20, 90)))
    depth = rng.exponential(0.35, (rows.size, 1))
    single[rows] = np.maximum(rng.normal(0.5, 0.5, (rows.size, knots)), 0) * depth
    single = np.asarray(cv2.GaussianBlur(single, (1, 7), 0.01, sigmaY=0.9), np.float32)
    linear = cv2.resize(np.eye(knots, dtype=np.float32), (width, knots), interpolation=cv2.INTER_LINEAR)
    return _sum_of([*streaks, (single, -np.asarray(linear, np.float32))])


def _add_turning_marks(relief: FloatArray, rng: Generator) -> None:
    """The tool's helix: a groove every ``pitch`` px along the axis, one pitch further each turn."""
    height, width = relief.shape
    pitch = rng.uniform(7, 19)
    wander = _smooth_noise(rng, 4, width, 4, 120)[1] * np.float32(0.5)
    along = (2 * np.pi / pitch * np.arange(width) + wander).astype(np.float32)
    around = np.linspace(0, 2 * np.pi, height, dtype=np.float32)
    around += _smooth_noise(rng, height, 4, 500, 4)[:, 1] * np.float32(0.4)
    depth = np.float32(rng.uniform(0.03, 0.16) * pitch / 12) * (
        1 + 0.35 * np.clip(_smooth_noise(rng, height, 4, 260, 4)[:, 1], -2, 2)
    )
    relief += np.outer(depth * np.cos(around), np.sin(along))
    relief += np.outer(depth * np.sin(around), np.cos(along))


@lru_cache(maxsize=12)
def _polish_tile(index: int) -> FloatArray:
    """A square of crossing polishing marks, unit variance; the polishing belt's angles by index."""
    rng = np.random.Generator(np.random.SFC64(7000 + index))
    tile = np.zeros((_TILE, _TILE), np.float32)
    for sign in (-1, 1):
        kernel = np.zeros((41, 41), np.float32)
        angle = np.deg2rad(sign * (8 + 4 * index + rng.uniform(0, 4)))
        dx, dy = 19 * np.cos(angle), 19 * np.sin(angle)
        start, end = (int((20 - dx) * 16), int((20 - dy) * 16)), (int((20 + dx) * 16), int((20 + dy) * 16))
        cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA, 4)
        kernel = np.asarray(cv2.GaussianBlur(kernel, (3, 3), 0.5), np.float32)
        noise = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
        spectrum = np.fft.rfft2(noise) * np.fft.rfft2(kernel, s=(_TILE, _TILE))
        tile += np.fft.irfft2(spectrum, s=(_TILE, _TILE)).astype(np.float32)
    return np.asarray(tile / tile.std(), np.float32)


def _add_polishing(relief: FloatArray, rng: Generator) -> None:
    """Polishing marks that come and go over the surface."""
    height, width = relief.shape
    tile = np.roll(
        _polish_tile(int(rng.integers(0, 6))), (int(rng.integers(_TILE)), int(rng.integers(_TILE))), (0, 1)
    )
    if rng.random() < 0.5:
        tile = tile[:, ::-1]
    amount = np.clip(0.7 + 0.35 * _smooth_noise(rng, height, width, 300), 0.1, 1.5)
    amount *= np.float32(rng.uniform(0.02, 0.045))
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            part = relief[top : top + _TILE, left : left + _TILE]
            h, w = part.shape
            part += tile[:h, :w] * amount[top : top + h, left : left + w]


def _mottled(rng: Generator, height: int, width: int) -> FloatArray:
    """Reflectance near 1 with soft clouds along the draw and a fine grain."""
    clouds = rng.uniform(0.008, 0.025)
    base = _smooth_noise(rng, height, width, rng.uniform(60, 200), rng.uniform(150, 500))
    base *= np.float32(clouds)
    base += _sum_of([_streaks(rng, height, width, rng.uniform(60, 160), 0.6, rng.uniform(0.006, 0.016))])
    grain = cv2.GaussianBlur(fine_noise(rng, height, width), (3, 3), 0.6)
    base += np.asarray(grain, np.float32) * np.float32(rng.uniform(0.015, 0.04))
    base += np.float32(1.0)
    return base


def _patch(array: FloatArray, x: int, y: int, half_w: int, half_h: int) -> tuple[FloatArray, slice, slice]:
    """The part of ``array`` around (x, y), and which rows and columns of a full stamp fall on it."""
    height, width = array.shape
    x0, x1, y0, y1 = max(0, x - half_w), min(width, x + half_w), max(0, y - half_h), min(height, y + half_h)
    rows, cols = slice(y0 - y + half_h, y1 - y + half_h), slice(x0 - x + half_w, x1 - x + half_w)
    return array[y0:y1, x0:x1], rows, cols


def _add_stains(reflectance: FloatArray, rng: Generator) -> None:
    """Oil and water residues: soft-edged, of no relief, a few per cent darker or lighter."""
    height, width = reflectance.shape
    for _ in range(int(rng.poisson(2.0))):
        half_w, half_h = int(rng.uniform(40, 190)), int(rng.uniform(40, 230))
        yy, xx = np.mgrid[-half_h:half_h, -half_w:half_w].astype(np.float32)
        outline = np.sqrt((xx / half_w) ** 2 + (yy / half_h) ** 2)
        outline += _smooth_noise(rng, 2 * half_h, 2 * half_w, half_h / 2, half_w / 2) * np.float32(0.10)
        body = 1 / (1 + np.exp((outline - 0.58) / np.float32(rng.uniform(0.07, 0.14))))
        body *= np.clip((1 - np.maximum(np.abs(xx) / half_w, np.abs(yy) / half_h)) * 6, 0, 1)
        if rng.random() < 0.4:  # a dried drop is darker towards its edge, still softly so
            body *= 0.45 + 0.9 * np.clip(outline, 0, 0.62)
        amount = rng.choice([-1, 1], p=[0.75, 0.25]) * rng.uniform(0.04, 0.13)
        target, rows, cols = _patch(
            reflectance, int(rng.integers(width)), int(rng.integers(height)), half_w, half_h
        )
        target *= 1 + np.float32(amount) * body[rows, cols]


def natural_scratches(rng: Generator, height: int, width: int) -> tuple[FloatArray, float]:
    """Faint short marks of drawing and handling, nearly along the axis; far below a defect's contrast.

    Their pattern ``(height, width)``, 0 where there is none, and by how much reflectance changes where it
    is 1.
    """
    canvas = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.poisson(width * 0.035))):
        length, angle = rng.uniform(20, 75), np.deg2rad(rng.normal(0, 3.0))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        ends = [
            (int((x + s * length / 2 * np.cos(angle)) * 16), int((y + s * length / 2 * np.sin(angle)) * 16))
            for s in (-1, 1)
        ]
        cv2.line(canvas, ends[0], ends[1], int(rng.integers(60, 160)), 1, cv2.LINE_AA, 4)
    lines = cv2.GaussianBlur(canvas, (7, 1), 2.0).astype(np.float32)
    lines *= np.float32(1 / 255)
    return lines, float(rng.choice([-1, 1]) * rng.uniform(0.04, 0.10))


def _add_natural_scratches(reflectance: FloatArray, relief: FloatArray, rng: Generator) -> None:
    lines, amount = natural_scratches(rng, *reflectance.shape)
    reflectance += lines * np.float32(amount)
    relief -= lines * np.float32(0.08)


def _add_dust(reflectance: FloatArray, rng: Generator) -> None:
    """Specks of 1 to 3 px that hide the metal; no rim, for they lie on it."""
    height, width = reflectance.shape
    count = int(rng.poisson(height * width / 1e6 * rng.uniform(2, 14)))
    yy, xx = np.mgrid[-3:3, -3:3].astype(np.float32) + np.float32(0.5)
    for _ in range(count):
        radius, stretch, angle = rng.uniform(0.45, 1.15), rng.uniform(0.7, 1.0), rng.uniform(0, np.pi)
        u = xx * np.cos(angle) + yy * np.sin(angle) + rng.uniform(-0.5, 0.5)
        v = (-xx * np.sin(angle) + yy * np.cos(angle) + rng.uniform(-0.5, 0.5)) / stretch
        body = np.exp(-(((u * u + v * v) / (radius * radius)).astype(np.float32)) * np.float32(0.7))
        target, rows, cols = _patch(reflectance, int(rng.integers(width)), int(rng.integers(height)), 3, 3)
        target *= 1 - np.float32(rng.uniform(0.15, 0.5)) * body[rows, cols]


def _illumination(rng: Generator, height: int, width: int, runout: FloatArray) -> FloatArray:
    """(height, width): the bar's fall-off to both ends, brightness over the turn, glare."""
    axis = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(width / 1575 * 0.5 + 0.5)
    middle = rng.uniform(-0.25, 0.25)
    across = 1 - rng.uniform(0.08, 0.28) * (axis - middle) ** 2
    if rng.random() < 0.45:  # a band of glare from the bar's segment seams
        centre, sigma = rng.uniform(-1, 1), rng.uniform(0.08, 0.3)
        across += rng.uniform(0.04, 0.16) * np.exp(-(((axis - centre) / sigma) ** 2) / 2)
    over_turn = 1 + rng.uniform(0.02, 0.09) * runout + 0.004 * rng.standard_normal(height)
    light = np.outer(over_turn, across).astype(np.float32)
    for _ in range(int(rng.poisson(0.6))):  # a reflex of the gripper or the housing: broad and soft
        half_w, half_h = int(rng.uniform(80, 320)), int(rng.uniform(120, 500))
        spot = np.outer(np.hanning(2 * half_h), np.hanning(2 * half_w)).astype(np.float32)
        x, y = int(rng.integers(width)), int(rng.integers(height))
        target, rows, cols = _patch(light, x, y, half_w, half_h)
        target *= 1 + np.float32(rng.uniform(0.06, 0.22)) * spot[rows, cols]
    return light
