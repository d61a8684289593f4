"""Stains that the renderer's own good parts do not have: dried drops, films of oil or rust.

They change reflectance and no relief, are darker than the stains of :mod:`simulation.rendering.metal`, and
may have a sharp edge, as a drop has that dried.
"""

from __future__ import annotations

import cv2
import numpy as np

from simulation.rendering.optics import FloatArray

SIZE_PX = (30.0, 140.0)
"""The larger half axis of a stain."""
DARKER = (0.15, 0.45)
"""By how much of its reflectance the middle of a stain is darker."""
EDGE_PX = (1.5, 8.0)
"""The width of its edge."""


def draw_stains(seed: int, height: int, width: int, count: int) -> FloatArray:
    """Factor on the reflectance (height, width), 1 where there is no stain; reproducible."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, 5])))
    factor = np.ones((height, width), np.float32)
    for _ in range(count):
        size = float(rng.uniform(SIZE_PX[0], min(SIZE_PX[1], 0.4 * width)))
        half = int(size * 1.4) + 12
        bearing = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        wobble = sum(
            rng.uniform(-0.18, 0.18) / k * np.cos(k * bearing + rng.uniform(0, 6.3)) for k in (2, 3, 5)
        )
        radius = size * (1 + wobble)
        flat = rng.uniform(0.4, 1.0)
        turn = rng.uniform(0, np.pi)
        u, v = radius * np.cos(bearing), flat * radius * np.sin(bearing)
        points = np.stack([u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)], axis=1)
        body = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
        cv2.fillPoly(body, [((points + half) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(body, (0, 0), float(rng.uniform(*EDGE_PX))).astype(np.float32) / 255
        soft *= np.float32(rng.uniform(*DARKER))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        top, left = max(0, y - half), max(0, x - half)
        bottom, right = min(height, y + half + 1), min(width, x + half + 1)
        factor[top:bottom, left:right] *= (
            1 - soft[top - y + half : bottom - y + half, left - x + half : right - x + half]
        )
    return factor
