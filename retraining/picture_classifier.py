"""A classifier of whole pictures: train on one set, test on another, the figures as a table has them.

    plan = in_epochs(TrainingPlan(network="inception-cnn", batch=32, precision="bf16"), 40, len(train))
    result = train_and_test(plan, train, test, folder)

The test pictures are looked at once, after training; the best weights are chosen on ``validation`` pictures
where they are given, and are the last average otherwise.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from retraining.classifier import (
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

__all__ = [
    "ClassifierResult", "in_epochs", "picture_validator", "score_pictures", "train_and_test", "write_result",
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
    weights: Path
    """Of :func:`retraining.classifier.build_network` for the plan."""


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
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> ClassifierResult:
    """Train on ``train_on`` and measure on ``test_on``; ``folder`` gets the run and ``result.json``.

    ``synthetic`` pictures take the place of ``synthetic_share`` of each batch; ``sound`` is the index of the
    class without a defect, where there is one. The same call goes on with an interrupted run. Raises
    :class:`TrainingError` and :class:`DatasetError`.
    """
    if test_on.classes != train_on.classes or test_on.pixels.shape[1:] != train_on.pixels.shape[1:]:
        raise TrainingError("the test pictures must have the classes and the size of the training pictures")
    source = PictureSource(
        train_on, sampling=sampling, synthetic=synthetic, synthetic_share=synthetic_share, sound=sound
    )
    began = time.perf_counter()
    weights = train(
        plan,
        source,
        folder,
        validate=None if validation is None else picture_validator(validation),
        resume=resume,
        report=report,
    )
    seconds = time.perf_counter() - began
    network = build_network(plan, source)
    network.load_state_dict(load_weights(weights))
    predicted = probabilities(network, test_on.pixels).argmax(1)
    result = score_pictures(predicted, test_on, seconds, plan.steps, weights)
    write_result(result, folder / "result.json")
    return result


def picture_validator(pictures: PictureSet) -> Validator:
    """Accuracy, less a little for likelihood that is lacking: of two equals the surer network is kept."""

    def validate(network: nn.Module) -> Validation:
        scores = probabilities(network, pictures.pixels)
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


def write_result(result: ClassifierResult, path: Path) -> None:
    """The result as JSON, the weights by their file's name; the file is there whole or not at all."""
    unfinished = path.with_suffix(".part")
    content = {**asdict(result), "weights": result.weights.name}
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
