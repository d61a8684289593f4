"""How well a defect can be seen where the network looks: after area averaging to 2048 x 512.

Visibility is the mean absolute difference (with - without the defect) over the defect's core, divided
by the standard deviation of the surrounding clean texture, both at the network's scale. The core is
where the difference reaches half of its 95th percentile. 1 is lost in the texture, 3 is found by a
careful person, 10 is obvious.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.rendering.optics import FloatArray
from simulation.truth import PRODUCT_HEIGHT

NETWORK_HEIGHT, NETWORK_WIDTH = 2048, 512
"""px of the surface the network sees."""
_LEAST_TEXTURE = 1.2
"""Grey levels; no surface is smoother than the camera's noise."""


def to_network_scale(window: FloatArray, product_width: int) -> FloatArray:
    """A window of product px brought to the network's scale by averaging, float32.

    The two axes go one after the other: OpenCV averages areas only where neither axis grows.
    """
    height, width = window.shape
    rows = max(1, round(height * NETWORK_HEIGHT / PRODUCT_HEIGHT))
    cols = max(1, round(width * NETWORK_WIDTH / product_width))
    flat = cv2.resize(window, (width, rows), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_AREA if cols <= width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(flat, (cols, rows), interpolation=how), np.float32)


def visibility(clean: NDArray[np.uint8], marked: NDArray[np.uint8], product_width: int) -> float:
    """Signal over texture of one defect from two uint8 windows of the same size around it."""
    before = to_network_scale(clean.astype(np.float32), product_width)
    signal = np.abs(to_network_scale(marked.astype(np.float32), product_width) - before)
    peak = signal.max()
    if peak < 0.5:
        return 0.0
    touched = signal[signal > 0.15 * peak]
    core = touched[touched >= 0.5 * np.percentile(touched, 95)]
    return float(core.mean() / texture_sigma(before))


def texture_sigma(window: FloatArray) -> float:
    """Standard deviation of a clean window's fine structure (below about 12 px), grey levels."""
    fine = window - cv2.GaussianBlur(window, (0, 0), 8.0)
    return max(float(fine.std()), _LEAST_TEXTURE)
