"""Whole frames that show no part as it is: what light, optics, sensor and transfer can do to any picture.

Each takes a frame, uint8 ``(H, W)``, that it may change, and a generator. The name of a function is a fault
of the switchboard, with ``camera-`` before it. ``rendering/faulty_frames.py`` makes such frames from rendered
parts, for tests that look at one frame; these are for a camera that runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Spoil = Callable[[Pixels, np.random.Generator], Pixels]


@dataclass(frozen=True, slots=True)
class SpoiltFrame:
    """One way to spoil a frame."""

    spoil: Spoil
    hides: bool = True
    """A part that was seen so may not be accepted, whatever it is; else the verdict must only be right."""


def _black(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return rng.integers(0, 4, pixels.shape, dtype=np.uint8)


def _white(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.full_like(pixels, 255)


def _saturated(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=6.0), np.uint8)


def _dark(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=0.06), np.uint8)


def _truncated(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    pixels[int(pixels.shape[0] * rng.uniform(0.3, 0.9)) :] = 0
    return pixels


def _frozen_lines(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The sensor repeats one line for a twentieth to a half of the turn."""
    height = pixels.shape[0]
    first = int(height * rng.uniform(0.1, 0.45))
    pixels[first : first + int(height * rng.uniform(0.05, 0.5))] = pixels[first]
    return pixels


def _repeated_block(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A buffer is delivered twice: one block of lines instead of the next."""
    height = pixels.shape[0]
    block = int(height * rng.uniform(0.1, 0.3))
    first = int(height * rng.uniform(0.1, 0.3))
    pixels[first + block : first + 2 * block] = pixels[first : first + block]
    return pixels


def _flat_grey(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A product without any texture."""
    lit = pixels > 40
    pixels[lit] = int(pixels[lit].mean()) if lit.any() else 0
    return pixels


def _half_product(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A side of the product is black: a narrower one seems to stand there."""
    first, last = _product(pixels)
    pixels[:, int(first + (last - first) * rng.uniform(0.5, 0.95)) : last + 1] = 0
    return pixels


def _pushed_out(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The product stands partly outside the view."""
    first, last = _product(pixels)
    by = int(first + (last - first) * rng.uniform(0.1, 0.6))
    pixels[:, : pixels.shape[1] - by] = pixels[:, by:].copy()
    pixels[:, pixels.shape[1] - by :] = 0
    return pixels


def _wrong_size(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[: pixels.shape[0] // 2])


def _blurred(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(4.0, 12.0))), np.uint8)


def _noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _noise(pixels, rng, float(rng.uniform(5.0, 25.0)))


def _dimmed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=float(rng.uniform(0.3, 0.8))), np.uint8)


def _hot_pixels(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    rows, columns = (rng.integers(0, side, 200) for side in pixels.shape)
    pixels[rows, columns] = 255
    return pixels


def _robot(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The robot has set the part down and still stands in the view when the turn begins."""
    first, last = _product(pixels)
    rows = int(pixels.shape[0] * rng.uniform(0.1, 0.6))
    reach = int(first + (last - first) * rng.uniform(0.1, 0.9))
    arm = rng.normal(rng.uniform(60.0, 180.0), 6.0, (rows, reach))
    pixels[:rows, :reach] = (
        np.clip(arm, 0, 255).astype(np.uint8).reshape(rows, reach, *[1] * (pixels.ndim - 2))
    )
    return pixels


def _standing(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The part does not turn: every line of it shows the same place."""
    lit = np.flatnonzero((pixels > 40).mean(axis=tuple(range(1, pixels.ndim))) > 0.02)
    if lit.size:
        pixels[lit[0] : lit[-1] + 1] = pixels[int(rng.choice(lit))]
    return pixels


def _product(pixels: Pixels) -> tuple[int, int]:
    """The first and the last column of the product."""
    lit = np.flatnonzero(pixels[::32].mean(axis=0) > 25)
    return (int(lit[0]), int(lit[-1])) if lit.size else (0, pixels.shape[1] - 1)


Graded = Callable[[Pixels, np.random.Generator, float], Pixels]


def _light(pixels: Pixels, rng: np.random.Generator, factor: float) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=factor), np.uint8)


def _blur(pixels: Pixels, rng: np.random.Generator, sigma_px: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px), np.uint8)


def _noise(pixels: Pixels, rng: np.random.Generator, levels: float) -> Pixels:
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    noise *= np.float32(levels)
    noise += pixels
    return np.asarray(np.clip(noise, 0, 255), np.uint8)


GRADED: dict[str, Graded] = {
    "camera-light-by": _light,
    "camera-blur-px": _blur,
    "camera-noise-levels": _noise,
}
"""Disturbances of a strength, to find where a station ceases to work; the strength is the switch's value."""

SPOILT_FRAMES: dict[str, SpoiltFrame] = {
    "camera-black": SpoiltFrame(_black),
    "camera-white": SpoiltFrame(_white),
    "camera-saturated": SpoiltFrame(_saturated),
    "camera-dark": SpoiltFrame(_dark),
    "camera-truncated": SpoiltFrame(_truncated),
    "camera-frozen-lines": SpoiltFrame(_frozen_lines),
    "camera-repeated-block": SpoiltFrame(_repeated_block),
    "camera-flat-grey": SpoiltFrame(_flat_grey),
    "camera-half-product": SpoiltFrame(_half_product),
    "camera-pushed-out": SpoiltFrame(_pushed_out),
    "camera-wrong-size": SpoiltFrame(_wrong_size),
    "camera-robot": SpoiltFrame(_robot),
    "camera-standing": SpoiltFrame(_standing),
    "camera-blurred": SpoiltFrame(_blurred, hides=False),
    "camera-noisy": SpoiltFrame(_noisy, hides=False),
    "camera-dimmed": SpoiltFrame(_dimmed, hides=False),
    "camera-hot-pixels": SpoiltFrame(_hot_pixels, hides=False),
}

SPOILT_TRANSFERS = frozenset({"packets-lost", "gentl-short"})
"""What can happen to a frame between camera and station; a part that was seen so may not be accepted."""
