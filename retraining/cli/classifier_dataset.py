"""``retrain classifier --dataset``: any network on any data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from retraining.cli.options import chosen_changes, progress_bars

if TYPE_CHECKING:
    from retraining.classifiers.plan import TrainingPlan
    from retraining.classifiers.whole_pictures import ClassifierResult
    from retraining.data.dataset import Dataset, PictureSet


@dataclass(frozen=True, slots=True)
class DatasetTraining:
    """What was asked for, as ``retrain classifier --help`` describes it."""

    dataset: Path
    side: int
    channels: int
    epochs: float
    folds: int
    augment: str
    loss: str
    focal_gamma: float
    balance_beta: float
    optimiser: str
    weight_decay: float
    schedule: str
    patience: int
    sampling: str
    sound: str
    labelled_by: str
    synthetic: Path | None
    synthetic_share: float
    weights: Path | None
    onnx: bool
    device: str
    out: Path
    resume: bool


def train_on_dataset(asked: DatasetTraining, base: TrainingPlan) -> None:
    """Train and test, or cross-validate; raises :class:`TrainingError` and :class:`DatasetError`."""
    from retraining.classifiers.cross_validation import cross_validate
    from retraining.data.dataset import load_dataset
    from retraining.errors import TrainingError
    from retraining.runs.distributed import is_first

    manifest = load_dataset(asked.dataset)
    plan = _plan(asked, base)
    synthetic = _synthetic(asked)
    sound = _sound(asked, manifest)
    if not asked.folds:
        result = _train_and_test(asked, plan, manifest, synthetic, sound)
        if is_first():
            _tell(asked, plan, result)
        return
    if asked.onnx:
        raise TrainingError("--onnx is for one training; leave it out with --folds")
    pictures = _load(asked, _outside_test(manifest), None)
    with _progress(asked.folds) as tell:
        found = cross_validate(
            plan, pictures, asked.folds, asked.out, seed=plan.seed, epochs=asked.epochs,
            synthetic=synthetic, synthetic_share=asked.synthetic_share if synthetic else 0.0,
            sampling=asked.sampling, sound=sound, start_from=asked.weights, resume=asked.resume,
            report=lambda fold, step, line: tell(fold, step, 0, line),
        )  # fmt: skip
    if is_first():
        print(found.table())
        print(f"\nfolds: {asked.out}")


def _train_and_test(
    asked: DatasetTraining,
    plan: TrainingPlan,
    manifest: Dataset,
    synthetic: PictureSet | None,
    sound: int | None,
) -> ClassifierResult:
    from retraining.classifiers.whole_pictures import in_epochs, train_and_test
    from retraining.errors import TrainingError

    splits = {p.split for p in manifest.pictures}
    if not {"train", "test"} <= splits:
        raise TrainingError(
            f"{asked.dataset} is not split into train and test; do so by `retrain data split`, or use --folds"
        )
    train_on, test_on = _load(asked, manifest, "train"), _load(asked, manifest, "test")
    validation = _load(asked, manifest, "validation") if "validation" in splits else None
    if asked.patience and validation is None:
        raise TrainingError("--patience needs a split called validation; see `retrain data split`")
    an_epoch = max(1, round(len(train_on) / plan.batch))
    plan = replace(in_epochs(plan, asked.epochs, len(train_on)), validate_every=an_epoch)
    with _progress(1) as tell:
        return train_and_test(
            plan, train_on, test_on, asked.out, validation=validation, synthetic=synthetic,
            synthetic_share=asked.synthetic_share if synthetic else 0.0, sampling=asked.sampling,
            sound=sound, start_from=asked.weights, resume=asked.resume,
            report=lambda step, line: tell(1, step, plan.steps, line),
        )  # fmt: skip


def _plan(asked: DatasetTraining, base: TrainingPlan) -> TrainingPlan:
    return replace(
        base, augmentation=chosen_changes(asked.augment), loss=asked.loss, focal_gamma=asked.focal_gamma,
        balance_beta=asked.balance_beta, optimiser=asked.optimiser, weight_decay=asked.weight_decay,
        schedule=asked.schedule, patience=asked.patience, device=asked.device,
    )  # fmt: skip


def _load(asked: DatasetTraining, manifest: Dataset, split: str | None) -> PictureSet:
    from retraining.data.dataset import load_pixels

    trusted = tuple(name.strip() for name in asked.labelled_by.split(","))
    return load_pixels(manifest, asked.side, asked.channels, split=split, labelled_by=trusted)


def _outside_test(manifest: Dataset) -> Dataset:
    return manifest.with_pictures(p for p in manifest.pictures if p.split != "test")


def _synthetic(asked: DatasetTraining) -> PictureSet | None:
    from retraining.data.dataset import load_dataset, load_pixels

    if asked.synthetic is None:
        return None
    made = load_dataset(asked.synthetic)
    return load_pixels(made, asked.side, asked.channels, labelled_by=("synthetic",))


def _sound(asked: DatasetTraining, manifest: Dataset) -> int | None:
    from retraining.errors import TrainingError

    if not asked.sound:
        return None
    if asked.sound not in manifest.classes:
        raise TrainingError(f"no class is called {asked.sound!r}; there are {', '.join(manifest.classes)}")
    return manifest.classes.index(asked.sound)


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[int, int, int, str], None]]:
    """A bar a run, shown by the first process alone; told run, step, steps (0: not known) and a line."""
    from retraining.runs.distributed import is_first

    if not is_first():
        yield lambda run, step, steps, line: None
        return
    with progress_bars() as progress:
        bars = {}

        def tell(run: int, step: int, steps: int, line: str) -> None:
            if run not in bars:
                name = "training" if runs == 1 else f"fold {run} of {runs}"
                bars[run] = progress.add_task(name, total=steps or None, status="")
            progress.update(bars[run], completed=step, status=line)

        yield tell


def _tell(asked: DatasetTraining, plan: TrainingPlan, result: ClassifierResult) -> None:
    from retraining.classifiers.whole_pictures import result_table

    print(result_table(result))
    print(f"\n{result.steps} steps in {result.seconds:.0f} s; weights, curves and confusion: {asked.out}")
    if asked.onnx:
        from models.classifiers import CLASSIFIERS
        from retraining.classifiers.weights import load_weights
        from retraining.shipping.export import export_onnx

        network = CLASSIFIERS[plan.network](len(result.classes), asked.channels, asked.side, plan.dropout)
        network.load_state_dict(load_weights(result.weights))
        deviation = export_onnx(network, asked.out / "model.onnx", asked.side, asked.channels)
        print(f"exported: {asked.out / 'model.onnx'}, at most {deviation:.1e} from the trained network")
