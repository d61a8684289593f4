"""LPIPS: how different two pictures look to a network, and so how diverse a set is.

Source: Zhang et al. 2018, equation 1, with the v0.1 heads for SqueezeNet. The heads were fitted on
torchvision's SqueezeNet; whether the Caffe one at hand is the same was not checked, so figures compare with
each other and not with published ones. SynDGAN's Table 2 uses another network (VGG) again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from retraining.errors import MetricsError
from retraining.metrics.features import Pixels, check_pixels
from retraining.metrics.graphs import open_graph, squeezenet_input

HEADS_FILE = "lpips_lin_v0.1_squeeze.pth"
_LAYERS = (
    "conv1_2",
    "fire3/concat_1",
    "fire5/concat_1",
    "fire6/concat_1",
    "fire7/concat_1",
    "fire8/concat_1",
    "fire9/concat_1",
)
"""The ends of the seven slices that the heads were fitted to."""
PAIRS = 200
SMALLEST = 32
_CHUNK = 32


class Lpips:
    """Perceptual distances by SqueezeNet and LPIPS heads from local files; raises :class:`MetricsError`."""

    def __init__(self, squeezenet: Path, heads: Path) -> None:
        self._session = open_graph(squeezenet, _LAYERS)
        self._entry = self._session.get_inputs()[0].name
        try:
            stored = torch.load(heads, map_location="cpu", weights_only=True)
            self._heads = [
                stored[f"lin{n}.model.1.weight"].numpy().reshape(1, -1, 1, 1) for n in range(len(_LAYERS))
            ]
        except Exception as error:  # pickle's, torch's and ours; whatever it is, the file is no use
            raise MetricsError(f"{heads} does not hold LPIPS heads for SqueezeNet ({error})") from error

    def __call__(self, a: Pixels, b: Pixels) -> NDArray[np.float64]:
        """``(N,)``: distance of ``a[n]`` to ``b[n]``, uint8 ``(N, H, W, C)``, at their own size."""
        check_pixels(a)
        if a.shape != b.shape or min(a.shape[1:3]) < SMALLEST:
            raise MetricsError(f"LPIPS needs pairs of at least {SMALLEST} px, not {a.shape} and {b.shape}")
        found = [self._chunk(a[at : at + _CHUNK], b[at : at + _CHUNK]) for at in range(0, len(a), _CHUNK)]
        return np.concatenate(found)

    def diversity(self, pixels: Pixels, seed: int, pairs: int = PAIRS) -> float:
        """Mean distance of ``pairs`` random pairs of different pictures of a set ``(N, H, W, C)``."""
        rng = np.random.default_rng(seed)
        first = rng.integers(len(pixels), size=pairs)
        second = (first + rng.integers(1, len(pixels), size=pairs)) % len(pixels)
        return float(self(pixels[first], pixels[second]).mean())

    def _chunk(self, a: Pixels, b: Pixels) -> NDArray[np.float64]:
        both = np.concatenate([a, b])
        coloured = np.repeat(both, 3, axis=3) if both.shape[3] == 1 else both
        maps = self._session.run(None, {self._entry: squeezenet_input(coloured)})
        total = np.zeros(len(a))
        for features, head in zip(maps, self._heads, strict=True):
            unit = features / np.sqrt(np.square(features).sum(axis=1, keepdims=True) + 1e-8)
            difference = np.square(unit[: len(a)] - unit[len(a) :]) * head
            total += difference.sum(axis=1).mean(axis=(1, 2))
        return total
