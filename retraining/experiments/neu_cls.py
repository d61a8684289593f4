"""NEU-CLS: classifiers from scratch on whole pictures, duplicates kept on one side of the split.

A seed stands for a split and a training, so that the deviation over seeds holds both.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from retraining.experiments.common import (
    Batch,
    Network,
    Rate,
    Side,
    Training,
    classifier_work,
    dataset_notes,
    grouped,
)
from retraining.experiments.plan import Experiment, Section, Seeds, Share, Text
from retraining.experiments.tasks import Curve, Place, TableCell, Task, TaskResult

_HERE = "retraining.experiments.neu_cls"


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each has one split and one training per network"""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]
    """the networks that are compared"""
    side: Side
    """side to which the pictures are resized, px"""
    epochs: Annotated[float, Field(gt=0.0, le=1000.0)]
    """passes over the training pictures"""
    batch: Batch
    """pictures per step"""
    learning_rate: Rate
    """highest learning rate of the one-cycle schedule"""


class Plan(Experiment):
    """Classifiers from scratch on a folder of pictures."""

    kind: Literal["neu-cls"]
    """the kind of experiment"""
    data: Text
    """the folder with one sub-folder of pictures per class, below the data root"""
    test_share: Share
    """the share of each class that is kept for the test"""
    join_overlaps: bool
    """whether neighbouring crops that share a part of the surface stay in one split"""
    pictures: Annotated[int, Field(ge=2)]
    """number of pictures, for the estimate of the time left"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """One split per seed, and for each split one training per network."""
    leaves = []
    for seed in size.seeds:
        split = Task(
            f"split/seed-{seed}",
            f"{_HERE}:split",
            {
                "data": plan.data,
                "test_share": plan.test_share,
                "join_overlaps": plan.join_overlaps,
                "seed": seed,
            },
            work_s=20,
        )
        steps = round(size.epochs * plan.pictures * (1 - plan.test_share) / size.batch)
        for network in size.networks:
            parameters = {
                "split": split.name,
                "network": network,
                "side": size.side,
                "epochs": size.epochs,
                "batch": size.batch,
                "learning_rate": size.learning_rate,
                "seed": seed,
            }
            training = Training(steps=steps, batch=size.batch, learning_rate=size.learning_rate)
            work = classifier_work(network, size.side, training) + 10
            leaves.append(
                Task(f"train/{network}/seed-{seed}", f"{_HERE}:train", parameters, (split,), work_s=work)
            )
    return tuple(leaves)


def split(place: Place, *, data: str, test_share: float, join_overlaps: bool, seed: int) -> TaskResult:
    """A manifest with its split, duplicates on one side."""
    from retraining.data.dataset import save_dataset
    from retraining.data.splits import split_by_share

    whole = grouped(place.roots.data_set(data), (), join_overlaps)
    dataset = split_by_share(whole, {"train": 1 - test_share, "test": test_share}, seed)
    save_dataset(dataset, place.folder)
    return TaskResult(notes=dataset_notes(data, dataset))


def train(
    place: Place,
    *,
    split: str,
    network: str,
    side: int,
    epochs: float,
    batch: int,
    learning_rate: float,
    seed: int,
) -> TaskResult:
    """A training from scratch: flips and brightness, no synthetic pictures."""
    from retraining.classifiers.loop import TrainingPlan
    from retraining.classifiers.whole_pictures import in_epochs, train_and_test
    from retraining.data.dataset import load_dataset, load_pixels

    dataset = load_dataset(place.needs[split])
    train_on, test_on = (load_pixels(dataset, side, 1, part) for part in ("train", "test"))
    base = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, seed=seed, replay_share=0.0
    )
    plan = in_epochs(base, epochs, len(train_on))
    found = train_and_test(
        plan,
        train_on,
        test_on,
        place.folder / "run",
        report=lambda step, line: place.report(step, plan.steps, line),
    )
    cells = [
        TableCell("accuracy", network, "accuracy", found.accuracy),
        TableCell("accuracy", network, "macro-f1", found.macro_f1),
        TableCell("errors", network, "errors", 1 - found.accuracy, _wrong(found.confusion)),
    ]
    cells += [
        TableCell("recall", network, name, value)
        for name, value in zip(found.classes, found.recall, strict=True)
    ]
    return TaskResult(tuple(cells), (loss_curve(place, f"{network}, seed {seed}"),))


def loss_curve(place: Place, label: str, plot: str = "Cross-entropy of the training pictures") -> Curve:
    """The training's cross-entropy, averaged over a fiftieth of the steps."""
    import csv

    import numpy as np

    with (place.folder / "run" / "log.csv").open(encoding="utf-8") as file:
        rows = [(float(row["step"]), float(row["cross_entropy"])) for row in csv.DictReader(file)]
    parts = np.array_split(np.array(rows), min(50, len(rows)))
    return Curve(
        plot,
        label,
        tuple(float(p[:, 0].mean()) for p in parts),
        tuple(float(p[:, 1].mean()) for p in parts),
        "step",
        "cross-entropy",
    )


def _wrong(confusion: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
    """How many test pictures were taken for another class, of how many."""
    right = sum(row[k] for k, row in enumerate(confusion))
    every = sum(map(sum, confusion))
    return every - right, every
