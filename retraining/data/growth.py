"""Traditional augmentation of a set to a given size: "random horizontal and vertical flipping and randomly
changing the image brightness and contrast" (SMHSI paper, section V.A).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retraining.data.pixels import PictureSet
from retraining.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Changes:
    """Ranges of the random changes; the paper names the kinds, not how far they go."""

    brightness: float = 0.1
    """Of the full range of grey, added or taken away."""
    contrast: float = 0.2
    """Distances from the picture's mean are multiplied by 1 +- contrast."""


def grow(
    pictures: PictureSet, counts: Mapping[str, int], seed: int, changes: Changes | None = None
) -> PictureSet:
    """The set with exactly ``counts[class]`` pictures of each class, originals first.

    A class with too many is reduced at random; one with too few gets changed copies of its pictures, all of
    them equally often. Copies keep label and group; their names end in ``~1``, ``~2`` ... Raises
    :class:`DatasetError` for a class without pictures.
    """
    limits = changes or Changes()
    chosen: list[int] = []
    copies: list[tuple[int, int]] = []
    for k, name in enumerate(pictures.classes):
        own = np.flatnonzero(pictures.labels == k)
        wanted = counts.get(name, 0)
        if wanted and not len(own):
            raise DatasetError(f"{name} cannot grow to {wanted} pictures because it has none; add some")
        rng = np.random.default_rng([seed, k, 1])
        chosen += sorted(rng.permutation(own)[:wanted].tolist())
        missing = max(0, wanted - len(own))
        order = np.concatenate(
            [rng.permutation(own) for _ in range(-(-missing // max(len(own), 1)))] or [own]
        )
        copies += [(int(i), 1 + n // len(own)) for n, i in enumerate(order[:missing])]
    rng = np.random.default_rng([seed, 2])
    made = [changed(pictures.pixels[i], limits, rng) for i, _ in copies]
    indices = [*chosen, *(i for i, _ in copies)]
    return PictureSet(
        np.concatenate([pictures.pixels[chosen], np.stack(made)]) if made else pictures.pixels[chosen],
        pictures.labels[indices],
        pictures.classes,
        tuple(pictures.groups[i] for i in indices),
        tuple([pictures.names[i] for i in chosen] + [f"{pictures.names[i]}~{n}" for i, n in copies]),
    )


def changed(pixels: NDArray[np.uint8], limits: Changes, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture ``(H, W, C)`` flipped or not, brighter or darker, with more or less contrast."""
    for axis in (0, 1):
        if rng.random() < 0.5:
            pixels = np.flip(pixels, axis)
    mean = float(pixels.mean())
    gain = 1.0 + rng.uniform(-limits.contrast, limits.contrast)
    offset = 255.0 * rng.uniform(-limits.brightness, limits.brightness)
    made = (pixels.astype(np.float32) - mean) * gain + mean + offset
    return np.asarray(np.clip(made, 0, 255).round(), np.uint8)
