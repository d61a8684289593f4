"""Rendered servo-motor housings in experiments: training parts, and test parts as the station cuts them.

Test parts are rendered and cut once, by the station's own patching, and kept as patches beside the truth;
every network's verdict on them is the station's own decision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retraining.experiments.common import dataset_notes
from retraining.experiments.tasks import Place, Roots, Task, TaskResult
from station.files import write_json
from station.recipe import PatchGrid, Recipe, SurfaceSize, find_recipe, load_recipe

if TYPE_CHECKING:
    from retraining.data.rendered_parts import PartOrder
    from retraining.evaluation.parts import PartResult
    from retraining.surfaces import Surfaces
    from simulation.truth import PartTruth
    from station.engines.interface import Scorer

_HERE = "retraining.experiments.smh_parts"


def recipe_for(roots: Roots, name: str, patch: int) -> Recipe:
    """The recipe with patches of ``patch`` px, the surface reduced with them: same view, fewer pixels."""
    recipe = load_recipe(find_recipe(name, roots.recipes))
    if patch == recipe.patch.size:
        return recipe
    size = recipe.surface
    height, width = (side * patch // recipe.patch.size for side in (size.height, size.width))
    surface = SurfaceSize(height=height, width=width, channels=size.channels)
    grid = PatchGrid(size=patch, overlap_px=recipe.patch.overlap_px * patch // recipe.patch.size)
    return recipe.model_copy(update={"surface": surface, "patch": grid})


def whole_recipe(recipe: Recipe, rows: int = 2) -> Recipe:
    """The recipe with the surface brought to ``rows`` patches, one above the other: O-TA's 512 x 256."""
    side = recipe.patch.size
    surface = SurfaceSize(height=rows * side, width=side, channels=recipe.surface.channels)
    return recipe.model_copy(update={"surface": surface})


def originals(place: Place, *, recipe: str, patch: int, share: float, seed: int) -> TaskResult:
    """The parts of Table 4, rendered and split by part, and their patches before any grows."""
    import torch

    from retraining.data.dataset import save_dataset
    from retraining.data.smh import original_patches, render_originals

    scaled = recipe_for(place.roots, recipe, patch)
    parts = render_originals(
        scaled,
        place.folder / "parts",
        share=share,
        seed=seed,
        processes=torch.get_num_threads(),
        report=lambda done: place.report(done, round(349 * share), "parts rendered"),
    )
    save_dataset(parts, place.folder / "whole")
    patches = original_patches(parts, scaled, share=share, seed=seed)
    save_dataset(patches, place.folder / "patches")
    counted = ", ".join(f"{count} {name}" for name, count in patches.count().items())
    return TaskResult(notes=(f"Real patches, seed {seed}: {counted}.", *dataset_notes("patches", patches)))


def surfaces_of(folder: Path, split: str) -> Surfaces:
    """The whole surfaces of a split with their masks."""
    from retraining.data.dataset import load_dataset
    from retraining.data.pixels import picture_pixels
    from retraining.data.rendered_parts import read_mask
    from retraining.surfaces import Surfaces

    parts = load_dataset(folder / "whole").select(split=split)
    pixels = np.stack([picture_pixels(parts, picture, 1) for picture in parts.pictures])
    masks = np.stack([read_mask(parts, picture.path) for picture in parts.pictures])
    return Surfaces(pixels, masks, parts.classes, tuple(picture.name for picture in parts.pictures))


def cut_parts(
    place: Place,
    *,
    recipe: str,
    patch: int,
    whole: bool,
    counts: Mapping[str, int] | None,
    share: float,
    seed: int,
) -> TaskResult:
    """Test parts as the station cuts them: Table 5's, or ``counts`` of a class with one defect each.

    With ``whole`` also as O-TA sees them: the surface brought to two patches, joined to one picture again.
    """
    import torch

    from retraining.data.smh import table_5_orders
    from retraining.evaluation.part_runs import in_processes

    scaled = recipe_for(place.roots, recipe, patch)
    recipes = {"patches": scaled} | ({"whole": whole_recipe(scaled)} if whole else {})
    orders = table_5_orders(seed, share=share) if counts is None else _orders(counts, seed)
    cut_part = partial(_cut_part, orders=orders, recipes=recipes)
    truths, cuts = [], dict[str, list[NDArray[np.uint8]]]({name: [] for name in recipes})
    for number, (truth, views) in in_processes(cut_part, range(len(orders)), torch.get_num_threads()):
        truths.append(
            {"truth": truth.to_json(), "faults": {k: v for k, v in views.items() if isinstance(v, str)}}
        )
        for name, own in recipes.items():
            shape = (own.patch_count, own.patch.size, own.patch.size, own.surface.channels)
            view = views[name]
            cuts[name].append(np.zeros(shape, np.uint8) if isinstance(view, str) else view)
        place.report(number + 1, len(orders), "parts cut")
    for name, found in cuts.items():
        np.save(place.folder / f"{name}.npy", np.stack(found))
    write_json(place.folder / "truths.json", truths)
    return TaskResult()


def originals_task(recipe: str, patch: int, share: float, seed: int) -> Task:
    """The task of :func:`originals`."""
    parameters = {"recipe": recipe, "patch": patch, "share": share, "seed": seed}
    return Task(f"parts/seed-{seed}", f"{_HERE}:originals", parameters, work_s=90 * share)


def cut_parts_task(
    recipe: str,
    patch: int,
    seed: int,
    *,
    whole: bool = False,
    counts: Mapping[str, int] | None = None,
    share: float = 1.0,
) -> Task:
    """The task of :func:`cut_parts`."""
    parameters = {"recipe": recipe, "patch": patch, "seed": seed, "whole": whole, "share": share}
    parts = sum(counts.values()) if counts else 130 * share
    own = {**parameters, "counts": dict(counts) if counts else None}
    return Task(f"tests/seed-{seed}", f"{_HERE}:cut_parts", own, work_s=0.3 * parts)


def inspect(folder: Path, view: str, recipe: Recipe, engine: str, score: Scorer) -> list[PartResult]:
    """The station's verdict on every test part, ``view`` being ``patches`` or ``whole``.

    A whole surface counts as one patch.
    """
    from retraining.evaluation.parts import part_result
    from simulation.truth import PartTruth
    from station.decision import decide, fault

    patches = np.load(folder / f"{view}.npy", mmap_mode="r")
    decided_by = recipe if view == "patches" else whole_recipe(recipe, rows=1)
    results = []
    for number, entry in enumerate(json.loads((folder / "truths.json").read_text(encoding="utf-8"))):
        seen = np.array(patches[number])
        if view == "whole":
            seen = seen.reshape(1, -1, *seen.shape[2:])
        problem = entry["faults"].get(view)
        verdict = fault(problem, recipe) if problem else decide(score(seen), decided_by)
        results.append(part_result(engine, PartTruth.from_json(entry["truth"]), verdict))
    return results


def write_parts(place: Place, results: list[PartResult]) -> None:
    """Keep one line per part."""
    write_json(place.folder / "parts.json", [asdict(result) for result in results])


def _orders(counts: Mapping[str, int], seed: int) -> list[PartOrder]:
    from retraining.data.rendered_parts import PartOrder

    first = seed * 10_000
    return [
        PartOrder(first + 1000 * k + number, name)
        for k, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]


def _cut_part(
    number: int, orders: list[PartOrder], recipes: Mapping[str, Recipe]
) -> tuple[PartTruth, dict[str, NDArray[np.uint8] | str]]:
    from station.patching import PatchingError, cut

    part = orders[number].render()
    views: dict[str, NDArray[np.uint8] | str] = {}
    for name, recipe in recipes.items():
        try:
            views[name] = cut(part.frame(), recipe).pixels
        except PatchingError as error:
            views[name] = str(error)
    return part.truth, views
