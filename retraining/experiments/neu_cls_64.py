"""NEU-CLS-64 by the PE-GAN paper's protocol: does a classifier gain from synthetic pictures?

200 pictures a class, seven of ten to train on; for each source of synthetic pictures 600 more a class, and
the same number of training steps whatever the source. Plain flips and crop-and-paste stand beside the GANs.
A seed stands for a choice of pictures, a split, the pairs and the trainings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from retraining.experiments.common import (
    Network,
    PairPlan,
    Side,
    Training,
    as_set,
    classifier_work,
    dataset_notes,
    distance_cells,
    floor_cells,
    grouped,
    grow,
    joined,
    load_pictures,
    measured,
    mirrored,
    pair_work,
    quality_cells,
    save_pictures,
    sheet_of,
    unchanged,
)
from retraining.experiments.neu_cls import loss_curve
from retraining.experiments.on_backgrounds import (
    Backgrounds,
    TranslatorRow,
    onto_backgrounds,
    translator_tasks,
)
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Share, Text
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult

if TYPE_CHECKING:
    from retraining.experiments.common import Pixels

_HERE = "retraining.experiments.neu_cls_64"
PASTE = "crop-paste"
FLIPS = "flips"
PASTE_AND_FLIPS = "crop-paste-flips"
ON_BACKGROUNDS = "background-paste"
MIRRORED = (FLIPS, PASTE_AND_FLIPS)
"""Sources whose pictures the classifier sees mirrored at random."""


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each chooses pictures, splits them, and trains every network once"""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]
    """the classifiers"""
    training: Training
    """how each classifier is trained, the same for all sources"""
    pairs: tuple[PairPlan, ...]
    """the systems whose pictures are tried, with one adversarial pair per class each"""
    translators: tuple[TranslatorRow, ...] = ()
    """the translators whose pictures are tried, and pasting onto the same backgrounds beside them"""
    synthetic_per_class: Count
    """synthetic pictures of each class"""
    compared: Count
    """synthetic pictures of each class that are compared with the real ones"""


class Plan(Experiment):
    """Classifiers with and without synthetic pictures."""

    kind: Literal["neu-cls-64"]
    """the kind of experiment"""
    data: Text
    """the folder with one sub-folder of pictures per class, below the data root"""
    extractor: Text
    """KIND:PATH of the extractor for FID and KID, the path below the data root"""
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    """the classes, sub-folders of the data"""
    per_class: Count
    """real pictures of each class"""
    test_share: Share
    """the share of them that is kept for the test"""
    join_overlaps: bool
    """whether neighbouring crops that share a part of the surface stay in one split; the paper does not
    say"""
    side: Side
    """side of the pictures, px"""
    flips_for_pairs: bool
    """whether generators are also trained on mirrored pictures"""
    backgrounds: Backgrounds | None = None
    """where strip without a defect comes from; null without translators"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """One split per seed; for each, pasted pictures, one adversarial pair per class and system, and one
    classifier per network and source of pictures.
    """
    leaves = []
    for seed in size.seeds:
        split = Task(
            f"split/seed-{seed}",
            f"{_HERE}:split",
            {
                "data": plan.data,
                "classes": list(plan.classes),
                "per_class": plan.per_class,
                "test_share": plan.test_share,
                "join_overlaps": plan.join_overlaps,
                "seed": seed,
            },
            work_s=15,
        )
        made = {
            pair.system: tuple(_pair(plan, size, pair, split, name, seed) for name in plan.classes)
            for pair in size.pairs
        }
        pasted = tuple(_paste(plan, size, split, name, seed) for name in plan.classes)
        sources = {"none": (), FLIPS: (), **made, PASTE: pasted, PASTE_AND_FLIPS: pasted}
        if plan.backgrounds is not None and size.translators:
            sources |= _on_backgrounds(plan, plan.backgrounds, size, split, seed)
        for network in size.networks:
            for source, own in sources.items():
                leaves.append(_classifier(plan, size, network, source, split, own, seed))
    return tuple(leaves)


def _on_backgrounds(
    plan: Plan, asked: Backgrounds, size: Size, split: Task, seed: int
) -> dict[str, tuple[Task, ...]]:
    """The tasks that give each class's pictures, by translator, and by pasting onto the same backgrounds."""
    grounds, trained = translator_tasks(
        asked, size.translators, plan.classes, split, side=plan.side, flips=plan.flips_for_pairs, seed=seed
    )
    ways: dict[str, dict[str, Task] | None] = {**trained, ON_BACKGROUNDS: None}
    return {
        source: tuple(_moved(plan, size, split, grounds, by, source, name, seed) for name in plan.classes)
        for source, by in ways.items()
    }


def _moved(
    plan: Plan,
    size: Size,
    split: Task,
    grounds: Task,
    by: dict[str, Task] | None,
    source: str,
    name: str,
    seed: int,
) -> Task:
    trained = None if by is None else by[name]
    parameters = {
        **_common(plan, size, split, name, seed), "source": source, "backgrounds": grounds.name,
        "trained": "" if trained is None else trained.name, "mirrored": plan.flips_for_pairs,
    }  # fmt: skip
    needs = (split, grounds) if trained is None else (split, grounds, trained)
    return Task(f"onto/{source}/{name}/seed-{seed}", f"{_HERE}:onto", parameters, needs, work_s=30)


def _paste(plan: Plan, size: Size, split: Task, name: str, seed: int) -> Task:
    parameters = {
        **_common(plan, size, split, name, seed),
        "source": PASTE,
    }
    return Task(f"paste/{name}/seed-{seed}", f"{_HERE}:paste", parameters, (split,), work_s=8)


def _pair(plan: Plan, size: Size, pair: PairPlan, split: Task, name: str, seed: int) -> Task:
    parameters = {
        **_common(plan, size, split, name, seed),
        "source": pair.system,
        "steps": pair.steps,
        "batch": pair.batch,
        "critic_steps": pair.critic_steps,
        "flips": plan.flips_for_pairs,
    }
    work = pair_work(pair, plan.side, size.synthetic_per_class) + 3
    task_name = f"gan/{pair.system}/{name}/seed-{seed}"
    return Task(task_name, f"{_HERE}:pair", parameters, (split,), work_s=work)


def _common(plan: Plan, size: Size, split: Task, name: str, seed: int) -> dict[str, object]:
    return {
        "split": split.name,
        "name": name,
        "side": plan.side,
        "count": size.synthetic_per_class,
        "compared": size.compared,
        "extractor": plan.extractor,
        "seed": seed,
    }


def _classifier(
    plan: Plan, size: Size, network: str, source: str, split: Task, made: tuple[Task, ...], seed: int
) -> Task:
    parameters = {
        "split": split.name,
        "made": {task.parameters["name"]: task.name for task in made},
        "network": network,
        "source": source,
        "side": plan.side,
        "steps": size.training.steps,
        "batch": size.training.batch,
        "learning_rate": size.training.learning_rate,
        "seed": seed,
    }
    work = classifier_work(network, plan.side, size.training) + 8
    name = f"train/{network}/{source}/seed-{seed}"
    return Task(name, f"{_HERE}:train", parameters, (split, *made), work_s=work)


def split(
    place: Place,
    *,
    data: str,
    classes: list[str],
    per_class: int,
    test_share: float,
    join_overlaps: bool,
    seed: int,
) -> TaskResult:
    """The manifest of the pictures drawn, with their split."""
    from retraining.data.dataset import save_dataset
    from retraining.data.splits import split_by_count

    whole = grouped(place.roots.data_set(data), tuple(classes), join_overlaps)
    test = round(per_class * test_share)
    dataset = split_by_count(whole, {"train": per_class - test, "test": test}, seed)
    save_dataset(dataset, place.folder)
    return TaskResult(notes=dataset_notes(data, dataset))


def pair(
    place: Place,
    *,
    split: str,
    name: str,
    source: str,
    side: int,
    steps: int,
    batch: int,
    critic_steps: int | None,
    flips: bool,
    count: int,
    compared: int,
    extractor: str,
    seed: int,
) -> TaskResult:
    """One pair of one class: its pictures, and how far they are from real ones."""
    from retraining.adversarial.loop import AdversarialPlan

    real = _real(place, split, name, side)
    plan = AdversarialPlan(
        system=source,
        size=side,
        steps=steps,
        batch=batch,
        critic_steps=critic_steps,
        flips=flips,
        seed=seed,
    )
    grown = grow(place, plan, real["train"], count)
    if grown.why:
        save_pictures(place, grown.pixels)
        return TaskResult(notes=(f"{source}, {name}: no pictures, {grown.why}",))
    return _compared(place, source, name, real, grown.pixels, compared, extractor, seed, mirrored=flips)


def paste(
    place: Place,
    *,
    split: str,
    name: str,
    source: str,
    side: int,
    count: int,
    compared: int,
    extractor: str,
    seed: int,
) -> TaskResult:
    """The rival without learning: parts of one training picture of the class blended onto another."""
    from retraining.synthesis.pasting import paste_from_pictures

    real = _real(place, split, name, side)
    pixels = paste_from_pictures(
        real["train"], None, count, seed, report=lambda done: place.report(done, count, "")
    )
    return _compared(place, source, name, real, pixels, compared, extractor, seed, floor=True)


def onto(
    place: Place,
    *,
    split: str,
    backgrounds: str,
    trained: str,
    name: str,
    source: str,
    side: int,
    count: int,
    compared: int,
    extractor: str,
    mirrored: bool,
    seed: int,
) -> TaskResult:
    """A class on the backgrounds: by a translator, or the middles of training pictures pasted onto them."""
    from retraining.synthesis.pasting import paste_from_pictures

    real = _real(place, split, name, side)
    if trained:
        pixels = onto_backgrounds(
            place, trained=trained, backgrounds=backgrounds, name=name, count=count, seed=seed
        )
    else:
        pixels = paste_from_pictures(real["train"], load_pictures(place.needs[backgrounds]), count, seed)
    return _compared(place, source, name, real, pixels, compared, extractor, seed, mirrored=mirrored)


def train(
    place: Place,
    *,
    split: str,
    made: dict[str, str],
    network: str,
    source: str,
    side: int,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> TaskResult:
    """A classifier on real pictures and those of one source, all alike; the paper adds them likewise."""
    from retraining.classifiers.loop import TrainingPlan
    from retraining.classifiers.whole_pictures import train_and_test
    from retraining.data.dataset import load_dataset, load_pixels

    dataset = load_dataset(place.needs[split])
    train_on, test_on = (load_pixels(dataset, side, 1, part) for part in ("train", "test"))
    sets = [
        as_set(load_pictures(place.needs[task]), train_on.classes.index(name), train_on.classes, task)
        for name, task in made.items()
    ]
    synthetic = joined(sets) if any(len(part) for part in sets) else None
    share = len(synthetic) / (len(synthetic) + len(train_on)) if synthetic is not None else 0.0
    plan = TrainingPlan(
        network=network,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        replay_share=0.0,
        augmentation=mirrored() if source in MIRRORED else unchanged(),
    )
    found = train_and_test(
        plan,
        train_on,
        test_on,
        place.folder / "run",
        synthetic=synthetic,
        synthetic_share=share,
        report=lambda step, line: place.report(step, steps, line),
    )
    return TaskResult(
        (TableCell("accuracy", source, network, found.accuracy),),
        (loss_curve(place, source, f"Cross-entropy while training {network}"),),
    )


def _real(place: Place, split: str, name: str, side: int) -> dict[str, Pixels]:
    """The real pictures of a class: ``train``, and ``all`` with those of the test."""
    from retraining.data.dataset import load_dataset, load_pixels

    dataset = load_dataset(place.needs[split]).select(classes=(name,))
    return {
        "train": load_pixels(dataset, side, 1, "train").pixels,
        "all": load_pixels(dataset, side, 1).pixels,
    }


def _compared(
    place: Place,
    source: str,
    name: str,
    real: dict[str, Pixels],
    pixels: Pixels,
    compared: int,
    extractor: str,
    seed: int,
    *,
    mirrored: bool = False,
    floor: bool = False,
) -> TaskResult:
    """Figures against all real pictures of the class, as many on either side as there are."""
    save_pictures(place, pixels)
    fake, what = pixels[:compared], f"{source}, {name}"
    found, notes = measured(place, real["all"], fake, extractor, seed, what, mirrored=mirrored)
    columns: Iterable[str] = (name, "mean")
    cells = distance_cells(found, source, columns) + quality_cells(found, source)
    if floor:
        cells += floor_cells(found, columns)
    caption = f"{source}, {name}, seed {seed}: real above, synthetic below"
    sheet = sheet_of(place, (real["train"], pixels), caption)
    return TaskResult(cells, (), (sheet,), notes)
