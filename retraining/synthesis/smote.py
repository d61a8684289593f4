"""SMOTE: new pictures between a real one and one of its nearest neighbours, pixel by pixel.

Source: Chawla et al. 2002, algorithm SMOTE; the rival that LMAN (section 2) names among methods of sampling.
On pictures it lays two on top of each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retraining.errors import DatasetError

NEIGHBOURS = 5
"""The paper's k."""


def smote(pixels: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.uint8]:
    """``count`` pictures made of real ones, uint8 ``(N, S, S, C)``; at least two, else ``DatasetError``."""
    if len(pixels) < 2:
        raise DatasetError(f"{len(pixels)} picture of a class has no neighbour; SMOTE needs two or more")
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    squares = (flat**2).sum(1)
    apart = squares[:, None] + squares[None] - 2 * flat @ flat.T
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1)[:, : min(NEIGHBOURS, len(pixels) - 1)]
    rng = np.random.default_rng(seed)
    one = rng.integers(len(pixels), size=count)
    other = near[one, rng.integers(near.shape[1], size=count)]
    share = rng.random((count, 1), np.float32)
    made = flat[one] + share * (flat[other] - flat[one])
    return np.clip(np.rint(made), 0, 255).astype(np.uint8).reshape(count, *pixels.shape[1:])
