"""Table 6 of the SMHSI paper: SDG-GAN against DCGAN, one pair per class, by the distance to real patches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from retraining.experiments.common import (
    PairPlan,
    Side,
    distance_cells,
    floor_cells,
    grow,
    measured,
    pair_work,
    quality_cells,
    save_pictures,
    sheet_of,
)
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Share, Text
from retraining.experiments.smh_parts import originals_task
from retraining.experiments.tasks import Curve, Place, Task, TaskResult

_HERE = "retraining.experiments.sdg_gan"


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each renders its own parts and trains every pair once"""
    share: Share
    """the share of Table 4's parts"""
    patch: Side
    """side of a patch, px"""
    classes: Annotated[tuple[Name, ...], Field(min_length=1)]
    """the classes, with one generator and critic each"""
    pairs: Annotated[tuple[PairPlan, ...], Field(min_length=1)]
    """the systems"""
    compared: Count
    """synthetic pictures of each class that are compared with the real ones"""


class Plan(Experiment):
    """SDG-GAN against DCGAN."""

    kind: Literal["sdg-gan"]
    """the kind of experiment"""
    recipe: Name
    """the recipe of the product"""
    extractor: Text
    """KIND:PATH of the extractor for FID and KID, the path below the data root"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """Parts for each seed, and one adversarial pair per class and system."""
    leaves = []
    for seed in size.seeds:
        parts = originals_task(plan.recipe, size.patch, size.share, seed)
        for pair in size.pairs:
            for name in size.classes:
                parameters = {
                    "parts": parts.name,
                    "name": name,
                    "compared": size.compared,
                    "extractor": plan.extractor,
                    "floor": pair is size.pairs[0],
                    **pair.model_dump(),
                    "patch": size.patch,
                    "seed": seed,
                }
                work = pair_work(pair, size.patch, size.compared) + 10
                task_name = f"gan/{pair.system}/{name}/seed-{seed}"
                leaves.append(Task(task_name, f"{_HERE}:pair", parameters, (parts,), work_s=work))
    return tuple(leaves)


def pair(
    place: Place,
    *,
    parts: str,
    name: str,
    compared: int,
    extractor: str,
    floor: bool,
    system: str,
    steps: int,
    batch: int,
    critic_steps: int | None,
    patch: int,
    seed: int,
) -> TaskResult:
    """A pair trained on a class's training patches, its pictures compared with all real ones."""
    from retraining.adversarial.loop import AdversarialPlan
    from retraining.data.dataset import load_dataset, load_pixels

    patches = load_dataset(place.needs[parts] / "patches").select(classes=(name,))
    real, every = load_pixels(patches, patch, 1, "train").pixels, load_pixels(patches, patch, 1).pixels
    plan = AdversarialPlan(
        system=system, size=patch, steps=steps, batch=batch, critic_steps=critic_steps, seed=seed
    )
    grown = grow(place, plan, real, compared)
    curves = pair_curves(place, f"{system}, {name}, seed {seed}")
    if grown.why:
        return TaskResult((), curves, notes=(f"{system}, {name}: no pictures, {grown.why}",))
    save_pictures(place, grown.pixels)
    what = f"{system}, {name}"
    found, notes = measured(place, every, grown.pixels, extractor, seed, what, mirrored=plan.flips)
    cells = distance_cells(found, system, (name,)) + quality_cells(found, system)
    if floor:
        cells += floor_cells(found, (name,))
    sheet = sheet_of(
        place, (real, grown.pixels), f"{system}, {name}, seed {seed}: real above, synthetic below"
    )
    return TaskResult(cells, curves, (sheet,), notes)


def pair_curves(place: Place, label: str) -> tuple[Curve, ...]:
    """The critic's loss over the steps: where it runs away, the pair diverged."""
    import csv

    with (place.folder / "pair" / "log.csv").open(encoding="utf-8") as file:
        rows = [(float(row["step"]), float(row["critic_loss"])) for row in csv.DictReader(file)]
    every = max(1, len(rows) // 200)
    kept = rows[::every]
    x, y = tuple(step for step, _ in kept), tuple(loss for _, loss in kept)
    return (Curve("Critic's loss", label, x, y, "step", "critic's loss"),)
