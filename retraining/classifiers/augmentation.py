"""Random changes of training patches that leave their class as it is.

They are made patch by patch in one thread: beside a training step, which uses all cores, that costs less
than the same on whole batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NOISE_POOL = 1 << 22
"""Normal numbers that are drawn once; the noise of a patch begins anywhere among them."""
_SHARP_PX = 0.25
"""A smaller blur changes less than the rounding to grey levels."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Ranges of the random changes; zero or False switches one off."""

    flips: bool = True
    """Left-right and up-down: a part may lie either way round and the bar light may stand on either side,
    so light and dark flanks may change places."""
    gain: float = 0.12
    """Brightness is multiplied by 1 +- gain."""
    offset: float = 0.04
    """Brightness (0..1) is shifted by +- offset."""
    noise: float = 0.006
    """Standard deviation (0..1) of added noise is drawn from 0..noise."""
    blur: float = 0.0
    """Blurred by a Gaussian of a sigma from 0 to so many px, small ones more often (its root is uniform)."""
    quarter_turns: bool = False
    """Turned by 0, 90, 180 or 270 degrees; for square patches whose texture has no direction."""
    shift: float = 0.0
    """Moved by up to this share of the sides, the border mirrored."""
    zoom: float = 0.0
    """Enlarged by a factor of 1..1 + zoom, the middle kept (a random crop, brought back to size)."""

    def __post_init__(self) -> None:
        if not (0 <= self.gain < 1 and 0 <= self.offset <= 1 and 0 <= self.noise <= 1):
            raise ValueError("gain, offset and noise are shares of the brightness, from 0 to 1")
        if not 0 <= self.blur <= 10:
            raise ValueError("blur is from 0 to 10 px")
        if not (0 <= self.shift <= 0.5 and 0 <= self.zoom <= 1):
            raise ValueError("shift is from 0 to 0.5, zoom from 0 to 1")


PLAIN = Augmentation(flips=False, gain=0.0, offset=0.0, noise=0.0)
"""No change at all."""


_NAMED: Mapping[str, Mapping[str, float | bool]] = MappingProxyType(
    {
        "flips": {"flips": True},
        "brightness": {"gain": 0.12, "offset": 0.04},
        "noise": {"noise": 0.006},
        "light": {"gain": 0.45, "offset": 0.04},
        "grain": {"noise": 0.032},
        "blur": {"blur": 1.5},
        "turns": {"quarter_turns": True},
        "shift": {"shift": 0.1},
        "zoom": {"zoom": 0.2},
    }
)
CHANGES = tuple(_NAMED)
"""The kinds of change by name."""


def augmentation(names: Iterable[str]) -> Augmentation:
    """The changes of some kinds (:data:`CHANGES`) at their usual strength; raises ``ValueError``."""
    chosen: dict[str, Any] = {}
    for name in names:
        if name not in _NAMED:
            raise ValueError(f"no change is called {name!r}; choose among {', '.join(CHANGES)}")
        chosen |= _NAMED[name]
    return replace(PLAIN, **chosen)


def as_batch(
    pixels: NDArray[np.uint8], rng: np.random.Generator | None = None, changes: Augmentation | None = None
) -> Tensor:
    """uint8 ``(N, H, W, C)`` -> float 0..1 ``(N, C, H, W)``, channels last; changed when ``rng`` is given."""
    if rng is None or changes is None:
        batch = np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    else:
        batch = _changed(pixels, rng, changes)
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _changed(
    pixels: NDArray[np.uint8], rng: np.random.Generator, changes: Augmentation
) -> NDArray[np.float32]:
    """Float 0..1 ``(N, H, W, C)``. A change that is switched off draws nothing, gain and offset excepted."""
    count, height, width, channels = pixels.shape
    flips = rng.random((2, count)) < 0.5 if changes.flips else np.zeros((2, count), bool)
    gain = np.float32(1 / 255) * _between(rng, 1 - changes.gain, 1 + changes.gain, count)
    offset = _between(rng, -changes.offset, changes.offset, count)
    turns = rng.integers(0, 4, (count,)) if changes.quarter_turns else np.zeros(count, np.int64)
    moved = bool(changes.shift or changes.zoom)
    places = rng.uniform(-1, 1, (count, 3)) if moved else np.zeros((count, 3))
    sigma = _between(rng, 0.0, changes.noise, count if changes.noise else 0)
    begins = rng.integers(0, _NOISE_POOL - height * width * channels + 1, len(sigma))
    blurs = (
        changes.blur * _between(rng, 0.0, 1.0, count) ** 2 if changes.blur else np.zeros(count, np.float32)
    )
    if changes.quarter_turns and height != width:
        raise ValueError(f"patches of {height} x {width} px cannot be turned by a quarter")
    batch = np.empty(pixels.shape, np.float32)
    for row in range(count):
        patch = pixels[row]
        if moved:
            patch = _moved(patch, places[row], changes)
        if turns[row]:
            patch = np.rot90(patch, int(turns[row]))
        patch = patch[:: -1 if flips[0, row] else 1, :: -1 if flips[1, row] else 1]
        if blurs[row] > _SHARP_PX:
            patch = _blurred(patch, float(blurs[row]))
        target = batch[row]
        np.multiply(patch, gain[row], out=target, dtype=np.float32)
        target += offset[row]
        if len(sigma):
            noise = _noise_pool()[begins[row] : begins[row] + target.size]
            target += (noise * sigma[row]).reshape(target.shape)
        np.clip(target, 0.0, 1.0, out=target)
    return batch


def _between(rng: np.random.Generator, low: float, high: float, count: int) -> NDArray[np.float32]:
    drawn: NDArray[np.float64] = rng.uniform(low, high, (count,))
    return drawn.astype(np.float32)


def _moved(patch: NDArray[np.uint8], place: NDArray[np.float64], changes: Augmentation) -> NDArray[np.uint8]:
    """The patch enlarged about its middle and shifted; ``place`` are three numbers of -1..1."""
    height, width = patch.shape[:2]
    factor = 1.0 + changes.zoom * (place[2] + 1) / 2
    dx, dy = changes.shift * width * place[0], changes.shift * height * place[1]
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = np.array([[factor, 0.0, x - factor * x + dx], [0.0, factor, y - factor * y + dy]])
    moved = cv2.warpAffine(
        np.ascontiguousarray(patch), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.uint8).reshape(patch.shape)


def _blurred(patch: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    blurred = cv2.GaussianBlur(np.ascontiguousarray(patch), (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.uint8).reshape(patch.shape)


@lru_cache(maxsize=1)
def _noise_pool() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(_NOISE_POOL, dtype=np.float32)
