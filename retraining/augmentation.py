"""Random changes of training patches that leave their class as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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


def as_batch(
    pixels: NDArray[np.uint8], rng: np.random.Generator | None = None, changes: Augmentation | None = None
) -> Tensor:
    """uint8 ``(N, H, W, C)`` -> float 0..1 ``(N, C, H, W)``, channels last; changed when ``rng`` is given."""
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float().div_(255.0)
    if rng is None or changes is None:
        return batch.contiguous(memory_format=torch.channels_last)
    count = len(pixels)
    if changes.flips:
        for axis in (2, 3):
            chosen = torch.from_numpy(rng.random(count) < 0.5)
            batch[chosen] = batch[chosen].flip(axis)
    gain = torch.from_numpy(rng.uniform(1 - changes.gain, 1 + changes.gain, count)).float()
    offset = torch.from_numpy(rng.uniform(-changes.offset, changes.offset, count)).float()
    batch = batch * gain.view(-1, 1, 1, 1) + offset.view(-1, 1, 1, 1)
    if changes.noise:
        sigma = torch.from_numpy(rng.uniform(0, changes.noise, count)).float()
        noise = torch.from_numpy(rng.standard_normal(batch.shape, dtype=np.float32))
        batch += noise * sigma.view(-1, 1, 1, 1)
    return batch.clamp_(0.0, 1.0).contiguous(memory_format=torch.channels_last)
