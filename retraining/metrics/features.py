"""Features of pictures: what an extractor is, whatever network stands behind it.

Features are kept by the pictures' digests, so a set that is compared many times (the real one) goes through
the network once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import in_channels
from retraining.errors import MetricsError
from station.patching.area import resize_picture

Pixels = NDArray[np.uint8]


_CHUNK = 32
"""Pictures that go through a network at once."""


_KEPT = 50_000
"""Pictures whose features are kept; 100 MB at 512 dimensions."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network behind an extractor."""

    run: Callable[[Pixels], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
    """Pictures ``(N, side, side, channels)`` to features ``(N, dims)`` and class probabilities ``(N, K)``."""
    side: int
    channels: int


class Diversity(Protocol):
    """What :class:`retraining.metrics.lpips.Lpips` is to a comparison."""

    def diversity(self, pixels: Pixels, seed: int) -> float:
        """Mean distance of random pairs of ``(N, H, W, C)``."""
        ...


class Extractor:
    """Features of pictures of any size, remembered; see :func:`open_extractor`."""

    def __init__(self, name: str, network: Network, perceptual: Diversity | None = None) -> None:
        self.name = name
        """Kind, layer and digest of the weights."""
        self.perceptual = perceptual
        """Perceptual distances by the same network, where there are LPIPS heads beside its weights."""
        self._network = network
        self._rows: OrderedDict[bytes, tuple[NDArray[np.float32], NDArray[np.float32] | None]] = OrderedDict()
        blank = np.zeros((1, network.side, network.side, network.channels), np.uint8)
        features, probabilities = network.run(blank)
        self.dims: int = features.shape[1]
        self.classes: int = 0 if probabilities is None else probabilities.shape[1]
        """Number of classes of :meth:`probabilities`; 0 if the network gives none."""
        self.computed = 0
        """Pictures that went through the network so far; the others were remembered."""

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Features ``(N, dims)`` of uint8 ``(N, H, W, 1 or 3)``, BGR or grey."""
        return np.stack([features for features, _ in self._measure(pixels)])

    def probabilities(self, pixels: Pixels) -> NDArray[np.float32]:
        """Class probabilities ``(N, classes)``; raises :class:`MetricsError` where there are none."""
        rows = [p for _, p in self._measure(pixels) if p is not None]
        if not rows:
            raise MetricsError(
                f"{self.name} gives no class probabilities; use a classifier (classifier:PATH)"
            )
        return np.stack(rows)

    def _measure(self, pixels: Pixels) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        check_pixels(pixels)
        keys = digests(pixels)
        new = list({key: n for n, key in enumerate(keys) if key not in self._rows}.items())
        found = {key: self._rows[key] for key in keys if key in self._rows}
        for at in range(0, len(new), _CHUNK):
            part = new[at : at + _CHUNK]
            features, probabilities = self._network.run(
                np.stack([fit(pixels[n], self._network.side, self._network.channels) for _, n in part])
            )
            for row, (key, _) in enumerate(part):
                classes = None if probabilities is None else probabilities[row].copy()
                found[key] = (features[row].copy(), classes)
        self.computed += len(new)
        for key, measured in found.items():
            self._rows[key] = measured
            self._rows.move_to_end(key)
        while len(self._rows) > _KEPT:
            self._rows.popitem(last=False)
        return [found[key] for key in keys]


def check_pixels(pixels: Pixels) -> None:
    """Raises :class:`MetricsError` for anything but uint8 ``(N, H, W, 1 or 3)`` with N > 0."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or len(pixels) == 0:
        raise MetricsError(f"pictures {pixels.shape} {pixels.dtype} must be uint8 (N, H, W, 1 or 3), N > 0")


def digests(pixels: Pixels) -> list[bytes]:
    """A digest a picture of its shape and pixels."""
    shape = repr(pixels.shape[1:]).encode()
    return [hashlib.blake2b(shape + np.ascontiguousarray(p).data, digest_size=16).digest() for p in pixels]


def fit(picture: Pixels, side: int, channels: int) -> Pixels:
    """One picture ``(H, W, C)`` at ``(side, side, channels)``: area-averaged, but interpolated when it grows.

    What grows here is neither inspected nor trained on: it is shown to a published network, whose features
    are by convention those of linearly interpolated pictures.
    """
    held = in_channels(picture[..., 0] if picture.shape[2] == 1 else picture, channels)
    if side <= min(held.shape[:2]) or side < max(held.shape[:2]):
        return resize_picture(held, side, side)
    grown = cv2.resize(held, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown, np.uint8).reshape(side, side, channels)


def mirrors(pixels: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """Pictures ``(N, H, W, C)`` mirrored left to right, upside down, and both."""
    return pixels[:, :, ::-1], pixels[:, ::-1], pixels[:, ::-1, ::-1]


def digest_of(path: Path) -> str:
    """The first 12 digits of a file's SHA-256; raises :class:`MetricsError` when there is no such file."""
    if not path.is_file():
        raise MetricsError(
            f"there are no weights at {path}; nothing is downloaded, so name a file on this machine"
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
