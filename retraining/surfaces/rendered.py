"""Training surfaces rendered by the simulation: many defects per part, and parts with none.

A part's seed follows from the set's seed and the part's number, and the test sets of
:mod:`retraining.evaluation` use seeds from another range, so that no test part was ever trained on.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from retraining.errors import DatasetError
from retraining.surfaces.training_set import Surfaces, describe_surfaces, load_surfaces, resize_mask
from simulation.rendering.parts import RENDERER_VERSION, RenderedPart, render_part
from simulation.truth import CLASS_NAMES, PRODUCT_WIDTHS, SimulationError
from station.patching import Region, cut_region
from station.patching.lit import lit_patches
from station.recipe import Recipe

TRAINING_SEEDS = 100_000_000
"""Parts for training have seeds from here on; those for tests lie below."""
GOLDEN_SEEDS = 99_990_000
"""Parts for golden parts and their like: the last set of test seeds, kept out of every test."""
_MAX_PARTS = 100_000


@dataclass(frozen=True, slots=True)
class Mixture:
    """What the training parts carry."""

    sound_share: float = 0.3
    """Share of parts without a defect; sound patches lie between the defects of the others, too."""
    faint_share: float = 0.35
    """Share of the other parts whose defects are all moderate or marginal; the rest has every level."""
    defects: tuple[int, int] = (3, 7)
    """Defects per part."""
    one_kind: bool = False
    """Whether all defects of a part are of one kind, so that the parts of a kind can be left out."""


VALIDATION = Mixture(sound_share=0.4, faint_share=0.35, defects=(1, 1))
"""Validation parts have one defect at most, as test parts do."""
VALIDATION_PARTS = 60
FRESH = Mixture(sound_share=0.45, faint_share=0.4, defects=(1, 4))
"""Parts on which a trained network's mistakes are looked for: more of them sound, more of them faint."""


def training_part(seed: int, mixture: Mixture, widths: Sequence[int] = PRODUCT_WIDTHS) -> RenderedPart:
    """One part of a training set; a part too small for its defects gets fewer."""
    kind, level, count = drawn_part(seed, mixture)
    for fewer in range(count, 0, -1):
        try:
            return render_part(seed, kind=kind, defects_per_part=fewer, level=level, widths=widths)
        except SimulationError:
            continue
    return render_part(seed, widths=widths)


def drawn_part(seed: int, mixture: Mixture) -> tuple[str, str | None, int]:
    """What a part of a training set is to carry, before it is rendered: kind, level and number of defects."""
    rng = np.random.default_rng([seed, 7])
    if rng.random() < mixture.sound_share:
        return CLASS_NAMES[0], None, 0
    level = None
    if rng.random() < mixture.faint_share:
        level = "moderate" if rng.random() < 0.6 else "marginal"
    low, high = mixture.defects
    count = int(rng.integers(low, high + 1))
    return str(rng.choice(CLASS_NAMES[1:])) if mixture.one_kind else "mixed", level, count


def render_surfaces(
    recipe: Recipe,
    parts: int,
    seed: int,
    folder: Path,
    *,
    mixture: Mixture | None = None,
    processes: int = 2,
    report: Callable[[int], None] = lambda done: None,
) -> Surfaces:
    """Render ``parts`` parts into ``folder``, or read them from there when they are complete.

    The same seed gives the same set whatever the number of processes. Raises :class:`DatasetError`.
    """
    check_renderable(recipe)
    if not 1 <= parts <= _MAX_PARTS:
        raise DatasetError(f"{parts} parts cannot be rendered as one set; use 1 to {_MAX_PARTS}")
    if (folder / "surfaces.json").is_file():
        ready = load_surfaces(folder)
        if len(ready) != parts or ready.names[0] != _part_name(_part_seed(seed, 0)):
            raise DatasetError(
                f"{folder} holds another set ({len(ready)} parts from {ready.names[0]}); remove it, or "
                "name another --cache"
            )
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    size = recipe.surface
    pixels = open_memmap(
        folder / "pixels.npy", "w+", np.uint8, (parts, size.height, size.width, size.channels)
    )
    masks = open_memmap(folder / "masks.npy", "w+", np.uint8, (parts, size.height, size.width))
    seeds = [_part_seed(seed, number) for number in range(parts)]
    render = partial(_surface_of, mixture=mixture or Mixture(), recipe=recipe)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for number, (surface, mask) in enumerate(pool.imap(render, seeds, chunksize=4)):
            pixels[number] = surface
            masks[number] = mask
            report(number + 1)
    pixels.flush()
    masks.flush()
    describe_surfaces(folder, CLASS_NAMES, tuple(_part_name(s) for s in seeds))
    return load_surfaces(folder)


def check_renderable(recipe: Recipe) -> None:
    """Raise :class:`DatasetError` unless the recipe's classes are those that the simulation renders."""
    names = tuple(c.name for c in recipe.classes)
    if names != CLASS_NAMES or (recipe.surface.channels != 1 and recipe.stereo is None):
        raise DatasetError(
            f"the recipe {recipe.name} has {', '.join(names)} in {recipe.surface.channels} channel(s); the "
            f"simulation renders {', '.join(CLASS_NAMES)} in 1, or under the lamps of `stereo`. Train on "
            "pictures instead, by `retrain patches` or `retrain classifier`"
        )


def frames_of(part: RenderedPart, recipe: Recipe) -> list[NDArray[np.uint8]]:
    """What the camera sees of a part: one frame, or one under each lamp of the recipe."""
    return [part.frame()] if recipe.stereo is None else part.frames_under(recipe.stereo.directions)


def _surface_of(seed: int, mixture: Mixture, recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return station_surface(training_part(seed, mixture, recipe.product.widths_px), recipe)


def _part_seed(seed: int, number: int) -> int:
    return TRAINING_SEEDS + seed * _MAX_PARTS + number


def _part_name(seed: int) -> str:
    return f"renderer-{RENDERER_VERSION}-seed-{seed}"


def station_surface(part: RenderedPart, recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The part's surface ``(H, W, C)`` at the recipe's size, and its mask ``(H, W)``."""
    height, width = part.surface.shape
    if recipe.stereo is not None:
        patches = lit_patches(part.under(recipe.stereo.directions), recipe)
    else:
        patches = cut_region(part.surface, Region(0, 0, width, height), recipe)
    return patches.surface.pixels, resize_mask(part.mask, recipe.surface.height, recipe.surface.width)
