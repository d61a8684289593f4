"""Frames that something is wrong with: for tests of the station and for a plant that misbehaves.

``make_faulty`` turns a rendered part into such a frame. Some must be faulted (there is no whole product to
judge), the others are the everyday disturbances in which the product must still be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.rendering.optics import FloatArray, black_frame, compose
from simulation.rendering.parts import RenderedPart
from simulation.truth import FRAME_HEIGHT, FRAME_WIDTH, Box, SimulationError

Generator = np.random.Generator
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FaultyFrame:
    """A disturbed frame and what the station has to make of it."""

    pixels: Pixels
    """uint8 (3648, 5472)."""
    region: Box | None
    """Where the whole product lies; None where there is none to be judged."""
    must_fault: bool


def make_faulty(part: RenderedPart, name: str, seed: int = 0) -> FaultyFrame:
    """The frame of ``part`` with the disturbance ``name`` of ``FAULTS``; raises :class:`SimulationError`."""
    if name not in FAULTS:
        raise SimulationError(f"no disturbance is called {name!r}; use one of {', '.join(FAULTS)}")
    return FAULTS[name](part, np.random.Generator(np.random.SFC64([part.truth.seed, seed, 99])))


def _no_product(part: RenderedPart, rng: Generator) -> FaultyFrame:
    return FaultyFrame(black_frame(rng), None, True)


def _black(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """The light was off: sensor noise and a ghost of the product."""
    pixels = black_frame(rng)
    box = part.truth.region
    inside = pixels[box.y : box.y + box.height, box.x : box.x + box.width]
    inside += (part.frame()[box.y : box.y + box.height, box.x : box.x + box.width] // 50).astype(np.uint8)
    return FaultyFrame(pixels, None, True)


def _saturated(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """Far too much light: the product is white throughout."""
    lit = np.asarray(cv2.convertScaleAbs(part.frame(), alpha=6.0), np.uint8)
    return FaultyFrame(lit, None, True)


def _truncated(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """The turn stopped early: the lower part of the frame saw nothing."""
    pixels, empty = part.frame().copy(), black_frame(rng)
    end = part.truth.region.y + int(part.truth.region.height * rng.uniform(0.3, 0.9))
    pixels[end:] = empty[end:]
    return FaultyFrame(pixels, None, True)


def _cut_at_edge(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """The product stands half outside the camera's view."""
    keep = int(part.truth.width * rng.uniform(0.35, 0.8))
    pixels = black_frame(rng)
    surface = part.surface[:, -keep:]
    y = part.placed.y
    if rng.random() < 0.5:
        pixels[y : y + surface.shape[0], :keep] = surface
    else:
        pixels[y : y + surface.shape[0], -keep:] = part.surface[:, :keep]
    return FaultyFrame(pixels, None, True)


def _two_products(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """Two housings on the jig."""
    pixels = black_frame(rng)
    height, width = part.surface.shape
    gap = int(rng.integers(120, 600))
    left = (FRAME_WIDTH - 2 * width - gap) // 2
    for x, surface in ((left, part.surface), (left + width + gap, part.surface[::-1])):
        pixels[part.placed.y : part.placed.y + height, x : x + width] = surface
    return FaultyFrame(pixels, None, True)


def _hot_pixels(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """White pixels all over, as a hot sensor has them."""
    pixels = part.frame().copy()
    count = 400
    pixels[rng.integers(0, FRAME_HEIGHT, count), rng.integers(0, FRAME_WIDTH, count)] = 255
    return FaultyFrame(pixels, part.truth.region, False)


def _noise(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """Sensor noise of 4 grey levels: a long exposure at high gain."""
    noise = rng.standard_normal((FRAME_HEIGHT, FRAME_WIDTH), dtype=np.float32)
    noise *= np.float32(4.0)
    noise += part.frame()
    return FaultyFrame(np.clip(noise, 0, 255).astype(np.uint8), part.truth.region, False)


def _tilt(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """The product leans by one degree."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    upright = Box(part.placed.x, (FRAME_HEIGHT - part.placed.height) // 2, *part.surface.shape[::-1])
    pixels, box = compose(part.surface, upright, side, rng)
    return FaultyFrame(pixels, box, False)


def _background_dust(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """Lit specks and fibres float beside the product."""
    pixels = part.frame().copy()
    box = part.truth.region
    for _ in range(150):
        x, y = int(rng.integers(4, FRAME_WIDTH - 4)), int(rng.integers(4, FRAME_HEIGHT - 4))
        if box.x - 14 < x < box.x + box.width + 14:
            continue
        grey = int(rng.integers(40, 200))
        cv2.circle(pixels, (x, y), int(rng.integers(1, 5)), grey, -1, cv2.LINE_AA)
    return FaultyFrame(pixels, box, False)


def _uneven_light(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """The bar light is half as bright at one end of the product as at the other."""
    ramp = np.linspace(1.0, 0.5, part.truth.region.width, dtype=np.float32)
    if rng.random() < 0.5:
        ramp = ramp[::-1]
    return FaultyFrame(_lit(part, ramp[None, :]), part.truth.region, False)


def _glare(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """A reflex whitens a band down the product."""
    box = part.truth.region
    x = np.linspace(0, 1, box.width, dtype=np.float32)
    band = 1 + 1.2 * np.exp(-(((x - rng.uniform(0.2, 0.8)) / 0.05) ** 2) / 2)
    return FaultyFrame(_lit(part, band[None, :].astype(np.float32)), box, False)


def _lit(part: RenderedPart, factor: FloatArray) -> Pixels:
    """The part's frame with its product's grey levels multiplied."""
    pixels, box = part.frame().copy(), part.truth.region
    inside = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
    pixels[inside] = np.clip(pixels[inside] * factor, 0, 255).astype(np.uint8)
    return pixels


def _at_edge(part: RenderedPart, rng: Generator) -> FaultyFrame:
    """The product stands whole, but at the very edge of the camera's view."""
    height, width = part.surface.shape
    x = 0 if rng.random() < 0.5 else FRAME_WIDTH - width
    pixels, box = compose(part.surface, Box(x, part.placed.y, width, height), 0.0, rng)
    return FaultyFrame(pixels, box, False)


FAULTS: dict[str, Callable[[RenderedPart, Generator], FaultyFrame]] = {
    "no-product": _no_product,
    "black": _black,
    "saturated": _saturated,
    "truncated": _truncated,
    "cut-at-edge": _cut_at_edge,
    "two-products": _two_products,
    "hot-pixels": _hot_pixels,
    "noise": _noise,
    "tilt": _tilt,
    "background-dust": _background_dust,
    "uneven-light": _uneven_light,
    "glare": _glare,
    "at-edge": _at_edge,
}
"""Every disturbance by name; the first six must be faulted by the station."""
