"""Pictures of a class, made of real backgrounds by a trained translator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retraining.errors import TrainingError
from retraining.translators.trained import Trained, translate

_VIEWS = 4
"""A background as it is and its mirror images."""


def on_backgrounds(
    trained: Trained, grounds: NDArray[np.uint8], name: str, count: int, seed: int
) -> NDArray[np.uint8]:
    """``count`` pictures ``(count, S, S, C)`` of the class; the first n are the same whatever ``count``.

    Each background is used once before any is used again, then mirrored: there is no latent vector, so the
    same background would give the same picture. Raises :class:`TrainingError` for more pictures than there
    are such views.
    """
    most = _VIEWS * len(grounds)
    if count > most:
        raise TrainingError(
            f"{len(grounds)} backgrounds give {most} different pictures of {name}, but not {count}; "
            "add backgrounds or lower --count"
        )
    order = np.concatenate(
        [np.random.default_rng([seed, view]).permutation(len(grounds)) for view in range(_VIEWS)]
    )[:count]
    views = np.arange(count) // max(1, len(grounds))
    chosen = [
        grounds[at][:: -1 if view % 2 else 1, :: -1 if view // 2 else 1]
        for at, view in zip(order, views, strict=True)
    ]
    return translate(trained, np.stack(chosen), name)
