"""How long a part of several frames takes from its frames in memory to its patches.

``python -m station.bench.lamps`` prints it for each width of a recipe with lamps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from station.patching import PatchingError, cut, cut_part
from station.patching.lit import frame_recipe
from station.recipe import Recipe, load_recipe
from station.stereo import channels


@dataclass(frozen=True, slots=True)
class LampsTiming:
    """Medians for one part, ms of processor time of one thread, without the time of other processes."""

    width_px: int
    frames_ms: float
    """Each frame inspected for place and light, all together."""
    channels_ms: float
    """Slopes, then curvature, range and texture as a picture of 8 bits."""
    cut_ms: float
    """Everything, with resize and patches."""
    wall_ms: float
    """The same, as a clock on the wall says."""


def lamps_timing(
    frames: Sequence[NDArray[np.uint8]], recipe: Recipe, width_px: int, rounds: int = 5
) -> LampsTiming:
    """Time the frames of one part, one per lamp. Raises :class:`PatchingError`."""
    stereo = recipe.stereo
    assert stereo is not None, "only a recipe with lamps has several frames"
    single, region = frame_recipe(recipe), cut_part(frames, recipe, width_px).surface.region
    rows, columns = slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)
    product = np.stack([frame[rows, columns] for frame in frames])
    jobs: dict[str, Callable[[], object]] = {
        "frames": lambda: [cut(frame, single, width_px) for frame in frames],
        "channels": lambda: channels(product, stereo).picture(stereo),
        "cut": lambda: cut_part(frames, recipe, width_px),
    }
    busy: dict[str, list[float]] = {name: [] for name in jobs}
    took: list[float] = []
    for _ in range(rounds):
        for name, job in jobs.items():
            begun, processor = time.perf_counter(), time.thread_time()
            job()
            busy[name].append((time.thread_time() - processor) * 1000)
        took.append((time.perf_counter() - begun) * 1000)
    medians = {name: median(values) for name, values in busy.items()}
    return LampsTiming(width_px, medians["frames"], medians["channels"], medians["cut"], median(took))


def main() -> None:
    """Render a housing of each width under the lamps of a recipe, and print what its patches cost."""
    from simulation.rendering.parts import render_part
    from station.machine import processor

    parser = argparse.ArgumentParser(prog="python -m station.bench.lamps", description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", type=Path, default=Path("recipes/servo-motor-housing-stereo.yaml"))
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each width (5)")
    asked = parser.parse_args()
    recipe = load_recipe(asked.recipe)
    if recipe.stereo is None:
        parser.error(f"{asked.recipe} lights a part by no lamps; name a recipe with `stereo`")
    print(f"machine: {processor()}; {recipe.frames} lamps; ms of processor time of one thread")
    print("| width, px | frames inspected | channels | all | all, by the clock |")
    print("|---|---|---|---|---|")
    for width in recipe.product.widths_px:
        frames = render_part(900_000 + width, width=width).frames_under(recipe.stereo.directions)
        try:
            one = lamps_timing(frames, recipe, width, asked.rounds)
        except PatchingError as error:
            parser.error(f"a rendered housing of {width} px is not cut by {asked.recipe}: {error}")
        spent = (one.frames_ms, one.channels_ms, one.cut_ms, one.wall_ms)
        print(f"| {width} | {' | '.join(f'{ms:.0f}' for ms in spent)} |", flush=True)


if __name__ == "__main__":
    main()
