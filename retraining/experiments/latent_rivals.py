"""LMAN's Tables 2 and 3: does each step from a GAN to the latent mapping GAN help a detector of defects?

Normal and defective windows of the same pictures, few of them defective. Every pair draws as many defects
as make both classes even; every row is trained for the same number of steps. What costs no training stands
beside them. A seed stands for a split, its pairs and its classifiers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from retraining.experiments.common import (
    Network,
    PairPlan,
    Pixels,
    Side,
    Training,
    as_set,
    classifier_work,
    dataset_notes,
    distance_cells,
    floor_cells,
    grow,
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
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Share, Text
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult

if TYPE_CHECKING:
    from retraining.data.dataset import Dataset

_HERE = "retraining.experiments.latent_rivals"
CLASSES = ("normal", "defect")
FREE = ("none", "flips", "balanced", "crop-paste", "smote")
"""Rows that need no pair; the last two add pictures."""


class RivalPlan(PairPlan):
    """A pair, trained as LMAN trains all of them."""

    optimiser: Literal["adam", "rmsprop"]
    """the optimiser of both networks"""
    latent: Count
    """numbers of a latent vector"""


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each splits the windows and trains every pair and classifier once"""
    normal: Count
    """normal windows"""
    defective: Count
    """windows with a defect"""
    network: Network
    """the classifier"""
    training: Training
    """how it is trained, the same for all rows"""
    pairs: Annotated[tuple[RivalPlan, ...], Field(min_length=1)]
    """the systems, each trained on the defects of the training split"""
    compared: Count
    """synthetic pictures that are compared with real ones"""


class Plan(Experiment):
    """The steps from a GAN to the latent mapping GAN."""

    kind: Literal["latent-rivals"]
    """the kind of experiment"""
    data: Text
    """the folder with `images/` (one sub-folder per kind) and VOC's `boxes/`, below the data root"""
    kinds: Annotated[tuple[Name, ...], Field(min_length=1)]
    """the sub-folders whose pictures give windows, normal and defective ones alike"""
    extractor: Text
    """KIND:PATH of the extractor for FID and KID, the path below the data root"""
    side: Side
    """side of the windows, px"""
    test_share: Share
    """the share of the windows that is kept for the test"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """One split per seed; for each, one pair per system, pictures without one, and a classifier per row."""
    leaves = []
    for seed in size.seeds:
        split = Task(
            f"split/seed-{seed}",
            f"{_HERE}:split",
            {
                "data": plan.data,
                "kinds": list(plan.kinds),
                "side": plan.side,
                "test_share": plan.test_share,
                "counts": {"normal": size.normal, "defect": size.defective},
                "seed": seed,
            },
            work_s=60,
        )
        missing = max(1, round((size.normal - size.defective) * (1 - plan.test_share)))
        common = {
            "split": split.name,
            "side": plan.side,
            "count": missing,
            "compared": size.compared,
            "extractor": plan.extractor,
            "seed": seed,
        }
        made: dict[str, Task] = {}
        for pair in size.pairs:
            work = pair_work(pair, plan.side, missing)
            name = f"gan/{pair.system}/seed-{seed}"
            own = {**common, **pair.model_dump()}
            made[pair.system] = Task(name, f"{_HERE}:pair", own, (split,), work_s=work)
        for way in ("crop-paste", "smote"):
            own = {**common, "way": way}
            made[way] = Task(f"{way}/seed-{seed}", f"{_HERE}:mix", own, (split,), work_s=20)
        for row in (*FREE, *(pair.system for pair in size.pairs)):
            needed = (made[row],) if row in made else ()
            parameters = {
                "split": split.name,
                "made": [task.name for task in needed],
                "row": row,
                "network": size.network,
                "side": plan.side,
                **size.training.model_dump(),
                "seed": seed,
            }
            work = classifier_work(size.network, plan.side, size.training) + 5
            name = f"train/{row}/seed-{seed}"
            leaves.append(Task(name, f"{_HERE}:train", parameters, (split, *needed), work_s=work))
    return tuple(leaves)


def split(
    place: Place,
    *,
    data: str,
    kinds: list[str],
    side: int,
    test_share: float,
    counts: dict[str, int],
    seed: int,
) -> TaskResult:
    """Windows around the boxes and away from them, as many as asked for, split by picture."""
    from retraining.data.dataset import save_dataset
    from retraining.data.splits import split_by_share

    whole = _windows(place, data, tuple(kinds), side, counts, seed)
    dataset = split_by_share(whole, {"train": 1 - test_share, "test": test_share}, seed)
    save_dataset(dataset, place.folder)
    counted = "; ".join(
        f"{part}: " + ", ".join(f"{n} {name}" for name, n in dataset.count(part).items())
        for part in ("train", "test")
    )
    return TaskResult(notes=(*dataset_notes(data, dataset), f"Seed {seed}, {counted}."))


def pair(
    place: Place,
    *,
    split: str,
    side: int,
    count: int,
    compared: int,
    extractor: str,
    system: str,
    steps: int,
    batch: int,
    critic_steps: int | None,
    optimiser: str,
    latent: int,
    seed: int,
) -> TaskResult:
    """A pair trained on the defects of the training split, and as many defects as the classes need."""
    from retraining.adversarial.loop import AdversarialPlan

    seen, unseen = _defects(place, split, side)
    plan = AdversarialPlan(
        system=system, size=side, latent=latent, optimiser=optimiser, steps=steps, batch=batch,
        critic_steps=critic_steps, seed=seed,
    )  # fmt: skip
    grown = grow(place, plan, seen, count)
    if grown.why:
        save_pictures(place, grown.pixels)
        return TaskResult(notes=(f"{system}, seed {seed}: no pictures, {grown.why}",))
    return _compared(place, system, seen, unseen, grown.pixels, compared, extractor, seed)


def mix(
    place: Place, *, split: str, side: int, count: int, compared: int, extractor: str, way: str, seed: int
) -> TaskResult:
    """The rivals without learning: defects pasted onto normal windows, or laid on top of each other."""
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.synthesis.pasting import paste_from_pictures
    from retraining.synthesis.smote import smote

    seen, unseen = _defects(place, split, side)
    if way == "smote":
        pixels = smote(seen, count, seed)
    else:
        known = load_dataset(place.needs[split]).select(classes=("normal",))
        clean = load_pixels(known, side, 1, "train").pixels
        pixels = paste_from_pictures(seen, clean, count, seed)
    return _compared(place, way, seen, unseen, pixels, compared, extractor, seed, floor=way == "smote")


def train(
    place: Place,
    *,
    split: str,
    made: list[str],
    row: str,
    network: str,
    side: int,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> TaskResult:
    """A classifier on the real windows and what the row adds; accuracy, and the F-score of defects."""
    from retraining.classifiers.loop import TrainingPlan
    from retraining.classifiers.whole_pictures import train_and_test
    from retraining.data.dataset import join, load_dataset, load_pixels

    dataset = load_dataset(place.needs[split])
    train_on, test_on = (load_pixels(dataset, side, 1, part) for part in ("train", "test"))
    for task in made:
        drawn = as_set(load_pictures(place.needs[task]), CLASSES.index("defect"), CLASSES, task)
        train_on = join(train_on, drawn)
    plan = TrainingPlan(
        network=network, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, replay_share=0.0,
        augmentation=mirrored() if row == "flips" else unchanged(),
    )  # fmt: skip
    found = train_and_test(
        plan, train_on, test_on, place.folder / "run",
        sampling="balanced" if row == "balanced" else "natural",
        report=lambda step, line: place.report(step, steps, line),
    )  # fmt: skip
    defect = CLASSES.index("defect")
    cells = (
        TableCell("detection", row, "accuracy", found.accuracy),
        TableCell("detection", row, "f-score", found.f1[defect]),
        TableCell("detection", row, "recall", found.recall[defect]),
    )
    return TaskResult(cells, (loss_curve(place, row),))


def _windows(
    place: Place, data: str, kinds: tuple[str, ...], side: int, counts: dict[str, int], seed: int
) -> Dataset:
    """The windows drawn from ``kinds``, relabelled ``normal`` and ``defect``, duplicates in one group."""
    from dataclasses import replace

    import numpy as np

    from retraining.data.boxes import VocBoxes
    from retraining.data.duplicates import group_duplicates
    from retraining.errors import ExperimentError

    root = place.roots.data_set(data)
    found = VocBoxes(
        root / "images", root / "boxes", sound="normal", sound_windows=4, side=side, seed=seed
    ).read()
    rng = np.random.default_rng(seed)
    kept = []
    for name, count in counts.items():
        own = [
            replace(picture, label=name)
            for picture in found.pictures
            if picture.path.split("/")[0] in kinds and (picture.label == "normal") == (name == "normal")
        ]
        if len(own) < count:
            raise ExperimentError(
                f"{data} has {len(own)} {name} windows of {side} px, and {count} are asked for"
            )
        kept += [own[at] for at in sorted(rng.permutation(len(own))[:count])]
    windows = replace(found, classes=CLASSES, pictures=tuple(kept), notes=())
    return group_duplicates(windows, reach=0)


def _defects(place: Place, split: str, side: int) -> tuple[Pixels, Pixels]:
    """Defective windows to learn from, and those of the test."""
    from retraining.data.dataset import load_dataset, load_pixels

    own = load_dataset(place.needs[split]).select(classes=("defect",))
    return load_pixels(own, side, 1, "train").pixels, load_pixels(own, side, 1, "test").pixels


def _compared(
    place: Place,
    source: str,
    seen: Pixels,
    unseen: Pixels,
    pixels: Pixels,
    compared: int,
    extractor: str,
    seed: int,
    *,
    floor: bool = False,
) -> TaskResult:
    """Figures against real defects that nothing has learnt from."""
    save_pictures(place, pixels)
    found, notes = measured(place, unseen, pixels[:compared], extractor, seed, source, mirrored=True)
    cells = distance_cells(found, source, ("distance",)) + quality_cells(found, source)
    if floor:
        cells += floor_cells(found, ("distance",))
    sheet = sheet_of(place, (seen, pixels), f"{source}, seed {seed}: real above, synthetic below")
    return TaskResult(cells, (), (sheet,), notes)
