"""k-fold cross-validation of a classifier, folds by group: part, tile, commutator, cluster of duplicates.

Each fold has its own run folder (``fold-1``, ``fold-2`` ...), so the same call continues an interrupted
cross-validation.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retraining.classifiers.plan import TrainingPlan, in_epochs
from retraining.classifiers.whole_pictures import ClassifierResult, train_and_test
from retraining.data.dataset import PictureSet
from retraining.data.splits import folds
from retraining.errors import TrainingError
from retraining.runs.distributed import is_first
from station.files import write_json


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """The results of all folds, the first fold first."""

    folds: tuple[ClassifierResult, ...]

    @property
    def accuracy(self) -> tuple[float, float]:
        """Mean and standard deviation over the folds."""
        return _mean_and_deviation([fold.accuracy for fold in self.folds])

    @property
    def macro_f1(self) -> tuple[float, float]:
        """Mean and standard deviation over the folds."""
        return _mean_and_deviation([fold.macro_f1 for fold in self.folds])

    def table(self) -> str:
        """A row a fold, as Markdown."""
        lines = ["| fold | pictures | accuracy | macro F1 |", "|---|---|---|---|"]
        for number, fold in enumerate(self.folds, 1):
            lines.append(f"| {number} | {sum(fold.support)} | {fold.accuracy:.2%} | {fold.macro_f1:.4f} |")
        (accuracy, spread), (f1, f1_spread) = self.accuracy, self.macro_f1
        lines.append(f"| mean | | {accuracy:.2%} ± {spread:.2%} | {f1:.4f} ± {f1_spread:.4f} |")
        return "\n".join(lines)


def cross_validate(
    plan: TrainingPlan,
    pictures: PictureSet,
    count: int,
    folder: Path,
    *,
    seed: int = 1,
    epochs: float | None = None,
    synthetic: PictureSet | None = None,
    synthetic_share: float = 0.0,
    sampling: str = "natural",
    sound: int | None = None,
    start_from: Path | None = None,
    resume: bool = True,
    report: Callable[[int, int, str], None] = lambda fold, step, line: None,
) -> CrossValidation:
    """Train ``count`` times on all folds but one and test on that; writes ``folds.json`` into ``folder``.

    ``seed`` makes the folds. ``epochs`` passes over the training pictures of a fold replace the plan's steps.
    Synthetic pictures take part in every fold's training; the result is too good if they were made
    from pictures of the fold that is held out. ``report`` is given the fold from 1 on. Raises
    :class:`TrainingError` and :class:`DatasetError`.
    """
    if plan.patience:
        raise TrainingError("a cross-validation has no validation pictures to stop by; leave patience at 0")
    held = folds(pictures.labels, pictures.groups, count, seed)
    results = []
    for fold in range(count):
        train_on, test_on = pictures.select(held != fold), pictures.select(held == fold)

        def show(step: int, line: str, fold: int = fold) -> None:
            report(fold + 1, step, line)

        results.append(
            train_and_test(
                plan if epochs is None else in_epochs(plan, epochs, len(train_on)),
                train_on,
                test_on,
                folder / f"fold-{fold + 1}",
                synthetic=synthetic,
                synthetic_share=synthetic_share,
                sampling=sampling,
                sound=sound,
                start_from=start_from,
                resume=resume,
                report=show,
            )
        )
    found = CrossValidation(tuple(results))
    if is_first():
        _write(found, folder / "folds.json", seed)
    return found


def _mean_and_deviation(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _write(found: CrossValidation, path: Path, seed: int) -> None:
    content = {
        "seed": seed,
        "accuracy": found.accuracy,
        "macro_f1": found.macro_f1,
        "folds": [{"accuracy": fold.accuracy, "macro_f1": fold.macro_f1} for fold in found.folds],
    }
    write_json(path, content)
