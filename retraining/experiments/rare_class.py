"""A class of which only a few examples exist: what helps to find it on whole parts?

Each row is trained on the same real patches for the same number of steps; what differs is what is added to
the rare class and whether training patches are changed at random. The result is the recall of the rare class
on whole frames, through the station's patching and decision.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from retraining.errors import ExperimentError
from retraining.experiments.common import (
    KID_SCALE,
    Loss,
    Network,
    PairPlan,
    Pixels,
    Side,
    Training,
    as_set,
    classifier_work,
    grow,
    joined,
    load_pictures,
    measured,
    pair_work,
    save_pictures,
    sheet_of,
    unchanged,
)
from retraining.experiments.neu_cls import loss_curve
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Share, Text
from retraining.experiments.smh_parts import (
    cut_parts_task,
    inspect,
    originals_task,
    recipe_for,
    surfaces_of,
    write_parts,
)
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult

if TYPE_CHECKING:
    from retraining.evaluation.parts import PartResult

_HERE = "retraining.experiments.rare_class"
COMPARED = 400
"""Synthetic patches that are compared with the real ones."""
_EXAMPLE_SEEDS = 90_000
"""Where the examples' seeds begin within their set's: behind those of all other parts."""


class Rival(Section):
    """One row of the table: how the rare class is increased."""

    name: Name
    """the row's name in the tables"""
    synthetic: Literal["none", "crop-paste", "pair"]
    """what is added to the rare class: nothing, pasted patches, or those of an adversarial pair"""
    changed: bool
    """whether training patches are mirrored and made lighter or darker at random"""
    loss: Loss
    """the loss; the class-balanced ones weigh rare classes more"""
    balanced: bool
    """balanced: all classes equally often; natural: as often as in the data"""


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each renders its own parts and trains every network once"""
    share: Share
    """the share of Table 4's parts that the other classes have"""
    patch: Side
    """side of a patch, px; the surface is reduced in proportion"""
    examples: Count
    """real parts with one defect of the rare class each"""
    synthetic: Count
    """number of synthetic patches that are added"""
    network: Network
    """the classifier"""
    training: Training
    """how it is trained"""
    pair: PairPlan
    """how generator and critic are trained"""
    test_parts: Count
    """test parts with one defect of the rare class"""
    good_parts: Count
    """good test parts"""
    rivals: Annotated[tuple[Rival, ...], Field(min_length=1)]
    """the rows that are compared"""


class Plan(Experiment):
    """Recall of a rare class."""

    kind: Literal["rare-class"]
    """the kind of experiment"""
    recipe: Name
    """the recipe of the product"""
    rare: Name
    """the rare class"""
    extractor: Text
    """KIND:PATH of the extractor for FID and KID, the path below the data root"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """Parts, examples of the rare class, synthetic patches, test parts, and one classifier per row."""
    leaves = []
    for seed in size.seeds:
        common = {"recipe": plan.recipe, "patch": size.patch, "seed": seed}
        parts = originals_task(plan.recipe, size.patch, size.share, seed)
        rare = Task(
            f"examples/seed-{seed}",
            f"{_HERE}:examples",
            {**common, "rare": plan.rare, "count": size.examples},
            work_s=1.0 * size.examples,
        )
        counts = {plan.rare: size.test_parts, "defect-free": size.good_parts}
        test = cut_parts_task(plan.recipe, size.patch, seed, counts=counts)
        known = {"parts": parts.name, "examples": rare.name, "rare": plan.rare, **common}
        shared = {**known, "count": size.synthetic, "extractor": plan.extractor}
        paste = Task(f"paste/seed-{seed}", f"{_HERE}:paste", shared, (parts, rare), work_s=30)
        learnt = {**shared, **size.pair.model_dump()}
        work = pair_work(size.pair, size.patch, size.synthetic) + 5
        pair = Task(f"gan/seed-{seed}", f"{_HERE}:pair", learnt, (parts, rare), work_s=work)
        made: dict[str, tuple[Task, ...]] = {"none": (), "crop-paste": (paste,), "pair": (pair,)}
        for rival in size.rivals:
            own = made[rival.synthetic]
            parameters = {
                **known,
                "tests": test.name,
                "made": [task.name for task in own],
                "network": size.network,
                "row": rival.name,
                "changed": rival.changed,
                "balanced": rival.balanced,
                "loss": rival.loss,
                **size.training.model_dump(),
            }
            work = classifier_work(size.network, size.patch, size.training) + 20
            name = f"train/{rival.name}/seed-{seed}"
            leaves.append(Task(name, f"{_HERE}:train", parameters, (parts, rare, test, *own), work_s=work))
    return tuple(leaves)


def examples(place: Place, *, recipe: str, patch: int, rare: str, count: int, seed: int) -> TaskResult:
    """The real examples: parts with one defect of the rare class each."""
    import torch

    from retraining.data.dataset import save_dataset
    from retraining.data.rendered_parts import PARTS_A_SEED, PartOrder, render_parts, station_patches
    from retraining.surfaces.rendered import TRAINING_SEEDS

    scaled = recipe_for(place.roots, recipe, patch)
    first = TRAINING_SEEDS + seed * PARTS_A_SEED + _EXAMPLE_SEEDS
    orders = [PartOrder(first + number, rare) for number in range(count)]
    whole = render_parts(
        orders,
        scaled,
        place.folder / "parts",
        processes=torch.get_num_threads(),
        report=lambda done: place.report(done, count, "parts rendered"),
    )
    whole = whole.with_pictures(replace(part, split="train") for part in whole.pictures)
    save_dataset(whole, place.folder / "whole")
    patches = station_patches(whole, scaled)
    patches = patches.with_pictures(p for p in patches.pictures if p.label == rare)
    save_dataset(patches, place.folder / "patches")
    shown = f"Seed {seed}: {count} parts with one defect of {rare} each show it in {len(patches)} patches."
    return TaskResult(notes=(shown,))


def paste(
    place: Place,
    *,
    parts: str,
    examples: str,
    rare: str,
    recipe: str,
    patch: int,
    count: int,
    extractor: str,
    seed: int,
) -> TaskResult:
    """The examples' defects, by their masks, blended onto sound places of the training parts."""
    from retraining.surfaces import join_surfaces
    from retraining.synthesis.pasting import paste_from_surfaces

    others = surfaces_of(place.needs[parts], "train")
    sound = others.select([i for i in range(len(others)) if others.part_class(i) == 0])
    surfaces = join_surfaces(surfaces_of(place.needs[examples], "train"), sound)
    label = surfaces.classes.index(rare)
    pixels = paste_from_surfaces(
        surfaces, count, label, patch, seed, report=lambda done: place.report(done, count, "pasted")
    )
    return _made(place, pixels, _examples(place, examples, patch), "crop-paste", extractor, seed)


def pair(
    place: Place,
    *,
    parts: str,
    examples: str,
    rare: str,
    recipe: str,
    patch: int,
    count: int,
    extractor: str,
    system: str,
    steps: int,
    batch: int,
    critic_steps: int | None,
    seed: int,
) -> TaskResult:
    """A pair trained on the examples' patches alone, with differentiable augmentation: they are few."""
    from retraining.adversarial.loop import AdversarialPlan

    real = _examples(place, examples, patch)
    plan = AdversarialPlan(
        system=system,
        size=patch,
        steps=steps,
        batch=batch,
        critic_steps=critic_steps,
        diffaugment="mild",
        seed=seed,
    )
    grown = grow(place, plan, real, count)
    if grown.why:
        raise ExperimentError(f"{system} made no pictures of {rare}: {grown.why}")
    return _made(place, grown.pixels, real, system, extractor, seed)


def train(
    place: Place,
    *,
    parts: str,
    examples: str,
    tests: str,
    made: list[str],
    rare: str,
    row: str,
    changed: bool,
    balanced: bool,
    loss: str,
    network: str,
    steps: int,
    batch: int,
    learning_rate: float,
    recipe: str,
    patch: int,
    seed: int,
) -> TaskResult:
    """One rival: the same real patches, and what it adds; measured on whole frames."""
    from retraining.classifiers.augmentation import Augmentation
    from retraining.classifiers.loop import TrainingPlan, build_network, load_weights, probabilities
    from retraining.classifiers.whole_pictures import train_and_test
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.data.source import PictureSource

    others = load_pixels(load_dataset(place.needs[parts] / "patches"), patch, 1)
    label = others.classes.index(rare)
    real = load_pixels(load_dataset(place.needs[examples] / "patches"), patch, 1)
    sets = [others.select(others.labels != label), real]
    sets += [as_set(load_pictures(place.needs[task]), label, others.classes, task) for task in made]
    whole = joined(sets)
    plan = TrainingPlan(
        network=network,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        replay_share=0.0,
        augmentation=Augmentation() if changed else unchanged(),
        loss=loss,
        class_counts=tuple(whole.count().values()),
    )
    found = train_and_test(
        plan,
        whole,
        real,
        place.folder / "run",
        sampling="balanced" if balanced else "natural",
        sound=0,
        report=lambda step, line: place.report(step, steps, line),
    )
    trained = build_network(plan, PictureSource(whole, sound=0))
    trained.load_state_dict(load_weights(found.weights))
    scaled = recipe_for(place.roots, recipe, patch)
    results = inspect(
        place.needs[tests], "patches", scaled, row, lambda pixels: probabilities(trained, pixels)
    )
    write_parts(place, results)
    return TaskResult(_cells(results, row, rare), (loss_curve(place, row),))


def _cells(results: list[PartResult], row: str, rare: str) -> tuple[TableCell, ...]:
    """Parts of the rare class named and rejected, and good parts rejected."""
    own = [r for r in results if r.truth == rare]
    good = [r for r in results if not r.defective]
    counts = {
        "recall": (sum(r.found == rare for r in own), len(own)),
        "rejected": (sum(not r.escaped for r in own), len(own)),
        "overkill": (sum(r.overkilled for r in good), len(good)),
    }
    return tuple(TableCell("recall", row, column, k / max(1, n), (k, n)) for column, (k, n) in counts.items())


def _examples(place: Place, examples: str, patch: int) -> Pixels:
    from retraining.data.dataset import load_dataset, load_pixels

    return load_pixels(load_dataset(place.needs[examples] / "patches"), patch, 1).pixels


def _made(place: Place, pixels: Pixels, real: Pixels, source: str, extractor: str, seed: int) -> TaskResult:
    """Keep the pictures, and compare them with the few real ones."""
    save_pictures(place, pixels)
    found, notes = measured(place, real, pixels[:COMPARED], extractor, seed, source, mirrored=True)
    sheet = sheet_of(place, (real, pixels), f"{source}, seed {seed}: real above, synthetic below")
    if found is None:
        return TaskResult((), (), (sheet,), notes)
    values = {"fid": found.fid, "kid": KID_SCALE * found.kid, "copies": 100 * found.copies}
    cells = tuple(TableCell("pictures", source, column, value) for column, value in values.items())
    return TaskResult(cells, (), (sheet,), notes)
