"""Tables 9 and 10 and Figure 11 of the SMHSI paper: its network beside well-known ones, by cross-validation.

Folds are made of real parts. Whatever grows a fold's training patches, augmentation or a generator, sees that
fold's training patches alone, and the held-out patches are real. Each fold's network also inspects the same
whole test parts through the station's patching and decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from retraining.experiments.common import (
    FullTraining,
    Network,
    PairPlan,
    Side,
    as_set,
    classifier_work,
    grow,
    load_pictures,
    pair_work,
    save_pictures,
    sheet_of,
    training_plan,
)
from retraining.experiments.neu_cls import loss_curve
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Share
from retraining.experiments.smh_parts import cut_parts_task, inspect, originals_task, recipe_for, write_parts
from retraining.experiments.smh_versions import DEFECTS
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult

if TYPE_CHECKING:
    from retraining.data.dataset import PictureSet

_HERE = "retraining.experiments.smh_networks"
CLASSES = ("defect-free", *DEFECTS)


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each renders its own parts and makes its own folds"""
    share: Share
    """the share of Table 4's parts"""
    test_share: Share
    """the share of Table 5's parts"""
    patch: Side
    """side of a patch, px"""
    folds: Annotated[int, Field(ge=2, le=20)]
    """folds of the cross-validation"""
    grown_by: Literal["augmentation", "sdg-gan"]
    """what the classes grow by, within each fold"""
    per_defect: Count
    """patches of each class of defect, real and grown together, over all folds"""
    pair: PairPlan
    """how the pair of each class and fold is trained"""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]
    """the classifiers"""
    training: FullTraining
    """how each is trained"""


class Plan(Experiment):
    """Networks compared by cross-validation."""

    kind: Literal["smh-networks"]
    """the kind of experiment"""
    recipe: Name
    """the recipe of the product"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """Parts and test parts for each seed; in each fold one pair per class and one classifier per network."""
    leaves = []
    for seed in size.seeds:
        parts = originals_task(plan.recipe, size.patch, size.share, seed)
        test = cut_parts_task(plan.recipe, size.patch, seed, share=size.test_share)
        for fold in range(1, size.folds + 1):
            common = {
                "parts": parts.name,
                "patch": size.patch,
                "folds": size.folds,
                "fold": fold,
                "per_defect": size.per_defect,
                "seed": seed,
            }
            grown = tuple(_grown(size, common, parts, name) for name in DEFECTS)
            for network in size.networks:
                own = {
                    **common,
                    "tests": test.name,
                    "recipe": plan.recipe,
                    "made": {str(task.parameters["name"]): task.name for task in grown},
                    "network": network,
                    **size.training.settings(),
                }
                work = classifier_work(network, size.patch, size.training) + 20
                name = f"train/{network}/fold-{fold}/seed-{seed}"
                leaves.append(Task(name, f"{_HERE}:train", own, (parts, test, *grown), work_s=work))
    return tuple(leaves)


def _grown(size: Size, common: dict[str, Any], parts: Task, name: str) -> Task:
    own = {**common, "name": name, "grown_by": size.grown_by, **size.pair.model_dump()}
    work = 5 if size.grown_by == "augmentation" else pair_work(size.pair, size.patch, size.per_defect)
    where = f"fold-{common['fold']}/seed-{common['seed']}"
    return Task(f"grown/{name}/{where}", f"{_HERE}:grown", own, (parts,), work_s=work)


def grown(
    place: Place,
    *,
    parts: str,
    patch: int,
    folds: int,
    fold: int,
    per_defect: int,
    name: str,
    grown_by: str,
    system: str,
    steps: int,
    batch: int,
    critic_steps: int | None,
    seed: int,
) -> TaskResult:
    """What a class lacks in a fold, made from the training patches of that fold alone."""
    from retraining.adversarial.loop import AdversarialPlan
    from retraining.data.growth import grow as grow_pictures

    seen, _ = _fold(place, parts, patch, folds, fold, seed)
    own = seen.of_class(CLASSES.index(name))
    missing = max(0, round(per_defect * (1 - 1 / folds)) - len(own))
    if grown_by == "augmentation":
        wanted = grow_pictures(as_set(own.pixels, 0, (name,), name), {name: len(own) + missing}, seed)
        save_pictures(place, wanted.pixels[len(own) :])
        return TaskResult()
    plan = AdversarialPlan(
        system=system, size=patch, steps=steps, batch=batch, critic_steps=critic_steps, seed=seed + fold
    )
    made = grow(place, plan, own.pixels, missing)
    save_pictures(place, made.pixels)
    if made.why:
        return TaskResult(notes=(f"{system}, {name}, fold {fold}: no pictures, {made.why}",))
    caption = f"{system}, {name}, fold {fold}, seed {seed}: real above, synthetic below"
    return TaskResult(sheets=(sheet_of(place, (own.pixels, made.pixels), caption),))


def train(
    place: Place,
    *,
    parts: str,
    tests: str,
    recipe: str,
    made: dict[str, str],
    patch: int,
    folds: int,
    fold: int,
    per_defect: int,
    network: str,
    settings: dict[str, Any],
    seed: int,
) -> TaskResult:
    """A network trained on all folds but one, measured on the held-out patches and on whole test parts."""
    from retraining.classifiers.loop import build_network, load_weights, probabilities
    from retraining.classifiers.whole_pictures import train_and_test
    from retraining.data.dataset import join
    from retraining.data.source import PictureSource

    seen, held = _fold(place, parts, patch, folds, fold, seed)
    for name, task in made.items():
        pictures = load_pictures(place.needs[task])
        seen = join(seen, as_set(pictures, CLASSES.index(name), seen.classes, task))
    plan = training_plan(network, settings, seed + fold)
    found = train_and_test(
        plan, seen, held, place.folder / "run", sound=0,
        report=lambda step, line: place.report(step, plan.steps, line),
    )  # fmt: skip
    trained = build_network(plan, PictureSource(seen, sound=0))
    trained.load_state_dict(load_weights(found.weights))
    scaled = recipe_for(place.roots, recipe, patch)
    results = inspect(
        place.needs[tests], "patches", scaled, network, lambda pixels: probabilities(trained, pixels)
    )
    write_parts(place, results)
    right = sum(result.right for result in results)
    cells = [
        TableCell("folds", network, f"fold-{fold}", found.accuracy),
        TableCell("folds", network, "mean", found.accuracy),
        TableCell("parts", network, "accuracy", right / max(1, len(results)), (right, len(results))),
    ]
    for name in CLASSES:
        own = [result for result in results if result.truth == name]
        named = sum(result.found == name for result in own)
        cells.append(TableCell("by-class", network, name, named / max(1, len(own)), (named, len(own))))
    return TaskResult(tuple(cells), (loss_curve(place, f"{network}, fold {fold}"),))


def _fold(
    place: Place, parts: str, patch: int, count: int, fold: int, seed: int
) -> tuple[PictureSet, PictureSet]:
    """Real patches to learn from, and the held-out ones; the patches of a part are in one fold."""
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.data.splits import folds

    every = load_pixels(load_dataset(place.needs[parts] / "patches"), patch, 1)
    held = folds(every.labels, every.groups, count, seed) == fold - 1
    return every.select(~held), every.select(held)
