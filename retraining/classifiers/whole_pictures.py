"""A classifier of whole pictures: train on one set, test on another, the figures as a table has them.

    plan = in_epochs(TrainingPlan(network="inception-cnn", batch=32, precision="bf16"), 40, len(train))
    result = train_and_test(plan, train, test, folder)

The test pictures are looked at once, after training; the best weights are chosen on ``validation`` pictures
where they are given, and are the last average otherwise.
"""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from retraining.classifiers.loop import (
    Reporter,
    TrainingError,
    TrainingPlan,
    Validation,
    Validator,
    build_network,
    in_epochs,
    load_weights,
    probabilities,
    train,
)
from retraining.data.dataset import PictureSet
from retraining.data.source import PictureSource
from retraining.runs.distributed import choose_device, is_first
from station.files import write_json

__all__ = [
    "ClassifierResult", "draw_confusion", "in_epochs", "picture_validator", "result_table", "score_pictures",
    "train_and_test", "write_result",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClassifierResult:
    """What a trained classifier makes of the test pictures; shares are 0..1."""

    accuracy: float
    macro_f1: float
    classes: tuple[str, ...]
    precision: tuple[float, ...]
    """By class; 0 where nothing was taken for it."""
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]
    """Test pictures of each class."""
    confusion: tuple[tuple[int, ...], ...]
    """Truth down, prediction across."""
    seconds: float
    """Training, validation included, of this call and of the calls it took up."""
    steps: int
    """Fewer than planned where patience came to its end."""
    weights: Path
    """Of :func:`retraining.classifiers.loop.build_network` for the plan."""


def train_and_test(
    plan: TrainingPlan,
    train_on: PictureSet,
    test_on: PictureSet,
    folder: Path,
    *,
    validation: PictureSet | None = None,
    synthetic: PictureSet | None = None,
    synthetic_share: float = 0.0,
    sampling: str = "natural",
    sound: int | None = None,
    start_from: Path | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> ClassifierResult:
    """Train on ``train_on`` and measure on ``test_on``.

    ``folder`` gets the run's files, ``result.json`` and ``confusion.png``. ``synthetic`` pictures take the
    place of ``synthetic_share`` of each batch; ``sound`` is the index of the class without a defect, where
    there is one; ``start_from`` is a weights file. A plan without class counts gets those of the training
    pictures where its loss asks for them. The same call continues an interrupted run. Raises
    :class:`TrainingError` and :class:`DatasetError`.
    """
    if not len(test_on):
        raise TrainingError("there is no test picture; split the data set again by `retrain data split`")
    if test_on.classes != train_on.classes or test_on.pixels.shape[1:] != train_on.pixels.shape[1:]:
        raise TrainingError("the test pictures must have the classes and the size of the training pictures")
    if "class-balanced" in plan.loss and not plan.class_counts:
        plan = replace(plan, class_counts=tuple(train_on.count().values()))
    source = PictureSource(
        train_on, sampling=sampling, synthetic=synthetic, synthetic_share=synthetic_share, sound=sound
    )
    weights = train(
        plan,
        source,
        folder,
        validate=None if validation is None else picture_validator(validation, plan.precision),
        start_from=start_from,
        resume=resume,
        report=report,
    )
    network = build_network(plan, source)
    network.load_state_dict(load_weights(weights))
    network.to(choose_device(plan.device))
    predicted = probabilities(network, test_on.pixels).argmax(1)
    steps, seconds = _spent(folder / "log.csv")
    result = score_pictures(predicted, test_on, seconds, steps, weights)
    if is_first():
        write_result(result, folder / "result.json")
        draw_confusion(result, folder / "confusion.png")
    return result


def picture_validator(pictures: PictureSet, precision: str = "fp32") -> Validator:
    """Accuracy, less a little for likelihood that is lacking: of two equals the surer network is kept."""

    def validate(network: nn.Module) -> Validation:
        scores = probabilities(network, pictures.pixels, precision=precision)
        right = int((scores.argmax(1) == pictures.labels).sum())
        own = scores[np.arange(len(pictures)), pictures.labels]
        count = len(pictures)
        return Validation(right / count - 0.01 * float(1.0 - own.mean()), f"right {right}/{count}")

    return validate


def score_pictures(
    predicted: NDArray[np.int64], truth: PictureSet, seconds: float, steps: int, weights: Path
) -> ClassifierResult:
    """The figures of predictions ``(N,)`` for the pictures ``truth``."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    numbers = list(range(len(truth.classes)))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth.labels, predicted, labels=numbers, zero_division=0.0
    )
    confusion = confusion_matrix(truth.labels, predicted, labels=numbers)
    present = [k for k in numbers if support[k]]
    return ClassifierResult(
        accuracy=float((predicted == truth.labels).mean()) if len(truth) else math.nan,
        macro_f1=float(np.mean([f1[k] for k in present])) if present else math.nan,
        classes=truth.classes,
        precision=tuple(float(v) for v in precision),
        recall=tuple(float(v) for v in recall),
        f1=tuple(float(v) for v in f1),
        support=tuple(int(v) for v in support),
        confusion=tuple(tuple(int(v) for v in row) for row in confusion),
        seconds=seconds,
        steps=steps,
        weights=weights,
    )


def draw_confusion(result: ClassifierResult, picture: Path) -> None:
    """Truth down, prediction across, shares of each true class as shades and counts as numbers; a PNG."""
    from matplotlib.figure import Figure

    counts = np.array(result.confusion)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = 2.2 + 0.55 * len(result.classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(count), ha="center", va="center", color=shade)
    places = range(len(result.classes))
    axis.set_xticks(places, result.classes, rotation=60, ha="right")
    axis.set_yticks(places, result.classes)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(f"accuracy {result.accuracy:.2%}")
    figure.savefig(picture, dpi=110)


def result_table(result: ClassifierResult) -> str:
    """Precision, recall and F1 by class, and the whole, as a Markdown table."""
    lines = ["| class | precision | recall | F1 | pictures |", "|---|---|---|---|---|"]
    rows = zip(result.classes, result.precision, result.recall, result.f1, result.support, strict=True)
    lines += [f"| {name} | {p:.4f} | {r:.4f} | {f:.4f} | {n} |" for name, p, r, f, n in rows]
    total = sum(result.support)
    lines.append(f"| accuracy {result.accuracy:.2%} | | | macro {result.macro_f1:.4f} | {total} |")
    return "\n".join(lines)


def _spent(log: Path) -> tuple[int, float]:
    """Steps and seconds of a run, by its log."""
    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return len(rows), sum(float(row["seconds"]) for row in rows)


def write_result(result: ClassifierResult, path: Path) -> None:
    """The result as JSON, the weights by their file's name; the file is there whole or not at all."""
    write_json(path, {**asdict(result), "weights": result.weights.name})
