"""How long patching takes on this machine: search, resize and the whole, beside OpenCV's resize."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from station.patching import cut, find_product
from station.patching.area import resize_area
from station.recipe import Recipe

FRAME = (3648, 5472)
"""The frame's height and width, px, where the product leaves room."""


@dataclass(frozen=True, slots=True)
class PatchingTiming:
    """Medians for one product width, ms; one thread."""

    width_px: int
    find_ms: float
    resize_ms: float
    cut_ms: float
    """Everything: search, resize, patches, checks."""
    opencv_ms: float
    """cv2.resize INTER_AREA of the same region, one thread, beside it in the same run."""
    cut_cpu_ms: float
    """Like ``cut_ms``, but in processor time, without the time of other processes."""
    opencv_cpu_ms: float


def patching_timings(recipe: Recipe, rounds: int = 15, seed: int = 0) -> list[PatchingTiming]:
    """Time every width of the recipe on noise-textured products in a dark frame, interleaved."""
    return [_time_width(recipe, width, rounds, seed) for width in recipe.product.widths_px]


def _time_width(recipe: Recipe, width: int, rounds: int, seed: int) -> PatchingTiming:
    rng = np.random.default_rng((seed, width))
    product, surface = recipe.product, recipe.surface
    height = product.height_px
    tail = () if surface.channels == 1 else (surface.channels,)
    if product.background == "none":
        frame = rng.integers(70, 140, (height, width, *tail), dtype=np.uint8)
        x = y = 0
    else:
        frame = np.full((max(FRAME[0], height + 64), max(FRAME[1], width + 64), *tail), 4, dtype=np.uint8)
        y, x = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
        frame[y : y + height, x : x + width] = rng.integers(70, 140, (height, width, *tail), dtype=np.uint8)
    starts_x = np.full(height, x, dtype=np.uint32)
    starts_y = np.full(width, y, dtype=np.uint32)
    region = frame[y : y + height, x : x + width]
    size = (surface.width, surface.height)
    jobs: dict[str, Callable[[], object]] = {
        "find": lambda: find_product(frame, recipe),
        "resize": lambda: resize_area(frame, starts_x, starts_y, size[1], size[0], surface.channels),
        "cut": lambda: cut(frame, recipe, width),
        "opencv": lambda: cv2.resize(region, size, interpolation=cv2.INTER_AREA),
    }
    took: dict[str, list[float]] = {name: [] for name in jobs}
    busy: dict[str, list[float]] = {name: [] for name in jobs}
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for _ in range(rounds):
            for name, job in jobs.items():
                begin, processor = time.perf_counter(), time.thread_time()
                job()
                took[name].append((time.perf_counter() - begin) * 1000)
                busy[name].append((time.thread_time() - processor) * 1000)
    finally:
        cv2.setNumThreads(threads)
    median = {name: statistics.median(values) for name, values in took.items()}
    return PatchingTiming(
        width,
        median["find"],
        median["resize"],
        median["cut"],
        median["opencv"],
        statistics.median(busy["cut"]),
        statistics.median(busy["opencv"]),
    )
