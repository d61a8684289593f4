"""``retrain classifier``: any network on any data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retraining.cli.options import (
    AugmentOption,
    ChannelsOption,
    DeviceOption,
    EpochsOption,
    LabelledByOption,
    NetworkOption,
    PrecisionOption,
    ResumeOption,
    SamplingOption,
    SideOption,
    ThreadsOption,
    chosen_changes,
    listed,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE, CarefulCommand

if TYPE_CHECKING:
    from retraining.classifiers.plan import TrainingPlan
    from retraining.classifiers.whole_pictures import ClassifierResult
    from retraining.data.dataset import Dataset, PictureSet

_MOVED = {
    "--data": "retrain patches",
    **dict.fromkeys(
        ("--engine", "--parts", "--small-steps", "--steps", "--hard-steps", "--hard-parts", "--test-seed",
         "--parts-per-class", "--mixed", "--tensorrt-int8", "--cache", "--processes", "--recipe", "-r"),
        "retrain engine",
    ),
}  # fmt: skip


class ClassifierCommand(CarefulCommand):
    """``retrain classifier``, whose errors say where an option that it had before has moved to."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; an option of another command is an error that names this command."""
        names = [word.partition("=")[0] for word in args]
        for name in () if ctx.resilient_parsing else names:
            if command := _MOVED.get(name):
                raise typer.BadParameter(
                    f"{name} is an option of `{command}` now; see `{command} --help`", ctx=ctx
                )
        if not ctx.resilient_parsing and not {"--dataset", "--help", "-h"} & set(names):
            raise typer.BadParameter(
                "name a data set by --dataset; `retrain engine` trains on rendered parts", ctx=ctx
            )
        return super().parse_args(ctx, args)


def classifier(
    dataset: Annotated[Path, typer.Option(help="A `dataset.json`, or its folder; `retrain data` makes one.")],
    network: NetworkOption = "inception-cnn",
    side: SideOption = 128,
    channels: ChannelsOption = 1,
    epochs: EpochsOption = 40,
    folds: Annotated[
        int,
        typer.Option(
            min=0, help="Number of folds of a cross-validation by group, without the test pictures."
        ),
    ] = 0,
    batch: Annotated[int, typer.Option(min=2, help="Pictures per step, over all processes.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate of the schedule.")] = 1e-3,
    l2: Annotated[
        float, typer.Option(help="L2 penalty on convolution weights (the paper: 0.01 over 100 epochs).")
    ] = 1e-5,
    augment: AugmentOption = "flips,brightness",
    loss: Annotated[
        str,
        typer.Option(help="cross-entropy, class-balanced, focal or class-balanced-focal."),
    ] = "cross-entropy",
    focal_gamma: Annotated[
        float, typer.Option(min=0, help="Gamma of the focal losses; 0 gives the cross-entropy.")
    ] = 2.0,
    balance_beta: Annotated[
        float, typer.Option(min=0, max=1, help="Beta of the class-balanced losses.")
    ] = 0.999,
    optimiser: Annotated[str, typer.Option(help="adamw or adam.")] = "adamw",
    weight_decay: Annotated[
        float, typer.Option(min=0, help="Weight decay of all weights; with adamw, set --l2 to 0.")
    ] = 0.0,
    schedule: Annotated[str, typer.Option(help="Learning rate: one-cycle or constant.")] = "one-cycle",
    patience: Annotated[
        int,
        typer.Option(min=0, help="Stop after this many epochs without a better validation; 0: never."),
    ] = 0,
    sampling: SamplingOption = "natural",
    sound: Annotated[str, typer.Option(help="Name of the class without a defect, if there is one.")] = "",
    labelled_by: LabelledByOption = "person,renderer",
    synthetic: Annotated[
        Path | None,
        typer.Option(
            help="Data set of synthetic pictures (`retrain synthesise`, `retrain paste`), made from training "
            "pictures only."
        ),
    ] = None,
    synthetic_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of each batch that is synthetic.")
    ] = 0.38,
    weights: Annotated[
        Path | None,
        typer.Option(help="Start from these weights: a best.pt, or a backbone's published weights."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too.")] = False,
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training and of the folds.")] = 1,
    out: Annotated[
        Path, typer.Option(help="Run folder: checkpoints, log, curves, weights, results."), FOLDER_MADE
    ] = Path("runs/classifier"),
    resume: ResumeOption = True,
) -> None:
    """Train a classifier of whole pictures on a data set, test it, and print its figures.

    The network is trained on the split "train" and tested once on the split "test". With `--patience` the
    split "validation" decides when to stop. With `--folds` it is cross-validated instead.

    Ctrl-C or SIGTERM stops a run with a checkpoint; the same command continues it. Several processes share
    the batch under `torchrun`.

    Examples:

        retrain classifier --dataset data/neu --network resnet18 --side 64 --epochs 60 --loss focal

        retrain classifier --dataset data/smh --folds 10 --synthetic runs/samples

        torchrun --nproc-per-node 4 --no-python retrain classifier --dataset data/smh --batch 64

    """
    import torch

    from retraining.classifiers.plan import TrainingPlan
    from retraining.data.dataset import load_dataset
    from retraining.errors import TrainingError
    from retraining.runs.distributed import is_first

    if threads:
        torch.set_num_threads(threads)
    plan = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, l2=l2,
        augmentation=chosen_changes(augment), loss=loss, focal_gamma=focal_gamma, balance_beta=balance_beta,
        optimiser=optimiser, weight_decay=weight_decay, schedule=schedule, patience=patience, device=device,
        seed=seed, precision=precision,
    )  # fmt: skip
    manifest = load_dataset(dataset)
    read = _Reader(side, channels, listed(labelled_by))
    extra = _Extra(
        None if synthetic is None else replace(read, labelled_by=("synthetic",))(load_dataset(synthetic)),
        synthetic_share if synthetic else 0.0, sampling, _index_of(sound, manifest), weights, resume,
    )  # fmt: skip
    if folds:
        if onnx:
            raise TrainingError("--onnx needs one network, and --folds trains several; give one of the two")
        _cross_validate(plan, manifest, read, extra, folds, epochs, out)
        return
    result = _train_and_test(plan, manifest, read, extra, epochs, out)
    if not is_first():
        return
    _show(result, out)
    if onnx:
        _export(plan, result, read, out / "model.onnx")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Loads pictures of a data set at one size."""

    side: int
    channels: int
    labelled_by: tuple[str, ...]

    def __call__(self, manifest: Dataset, split: str | None = None) -> PictureSet:
        from retraining.data.dataset import load_pixels

        return load_pixels(manifest, self.side, self.channels, split=split, labelled_by=self.labelled_by)


@dataclass(frozen=True, slots=True)
class _Extra:
    """What one training and every fold of a cross-validation take beside plan and pictures."""

    synthetic: PictureSet | None
    synthetic_share: float
    sampling: str
    sound: int | None
    start_from: Path | None
    resume: bool


def _train_and_test(
    plan: TrainingPlan, manifest: Dataset, read: _Reader, extra: _Extra, epochs: float, out: Path
) -> ClassifierResult:
    from retraining.classifiers.whole_pictures import in_epochs, train_and_test
    from retraining.errors import TrainingError

    splits = {p.split for p in manifest.pictures}
    if not {"train", "test"} <= splits:
        raise TrainingError(
            "the data set is not split into train and test; split it by `retrain data split`, or use --folds"
        )
    train_on, test_on = read(manifest, "train"), read(manifest, "test")
    validation = read(manifest, "validation") if "validation" in splits else None
    if plan.patience and validation is None:
        raise TrainingError("--patience needs a split called validation; see `retrain data split`")
    an_epoch = max(1, round(len(train_on) / plan.batch))
    plan = replace(in_epochs(plan, epochs, len(train_on)), validate_every=an_epoch)
    with _progress(1) as show:
        return train_and_test(
            plan, train_on, test_on, out, validation=validation, synthetic=extra.synthetic,
            synthetic_share=extra.synthetic_share, sampling=extra.sampling, sound=extra.sound,
            start_from=extra.start_from, resume=extra.resume,
            report=lambda step, line: show(1, step, plan.steps, line),
        )  # fmt: skip


def _cross_validate(
    plan: TrainingPlan, manifest: Dataset, read: _Reader, extra: _Extra, folds: int, epochs: float, out: Path
) -> None:
    from retraining.classifiers.cross_validation import cross_validate
    from retraining.runs.distributed import is_first

    pictures = read(manifest.with_pictures(p for p in manifest.pictures if p.split != "test"))
    with _progress(folds) as show:
        found = cross_validate(
            plan, pictures, folds, out, seed=plan.seed, epochs=epochs, synthetic=extra.synthetic,
            synthetic_share=extra.synthetic_share, sampling=extra.sampling, sound=extra.sound,
            start_from=extra.start_from, resume=extra.resume,
            report=lambda fold, step, line: show(fold, step, 0, line),
        )  # fmt: skip
    if is_first():
        print(found.table())
        print(f"\nfolds: {out}")


def _index_of(sound: str, manifest: Dataset) -> int | None:
    from retraining.errors import TrainingError

    if not sound:
        return None
    if sound not in manifest.classes:
        raise TrainingError(f"no class is called {sound!r}; --sound is one of {', '.join(manifest.classes)}")
    return manifest.classes.index(sound)


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[int, int, int, str], None]]:
    """One bar per run, shown by the first process only; takes run, step, steps (0: not known) and a line."""
    from retraining.runs.distributed import is_first

    if not is_first():
        yield lambda run, step, steps, line: None
        return
    with progress_bars() as progress:
        bars = {}

        def show(run: int, step: int, steps: int, line: str) -> None:
            if run not in bars:
                name = "training" if runs == 1 else f"fold {run} of {runs}"
                bars[run] = progress.add_task(name, total=steps or None, status="")
            progress.update(bars[run], completed=step, status=line)

        yield show


def _show(result: ClassifierResult, out: Path) -> None:
    from retraining.classifiers.whole_pictures import result_table

    print(result_table(result))
    print(f"\n{result.steps} steps in {result.seconds:.0f} s; weights, curves and confusion matrix: {out}")


def _export(plan: TrainingPlan, result: ClassifierResult, read: _Reader, target: Path) -> None:
    from models.classifiers import CLASSIFIERS
    from retraining.classifiers.weights import load_weights
    from retraining.shipping.export import export_onnx

    network = CLASSIFIERS[plan.network](len(result.classes), read.channels, read.side, plan.dropout)
    network.load_state_dict(load_weights(result.weights))
    deviation = export_onnx(network, target, read.side, read.channels)
    print(f"exported: {target}; its scores differ from the trained network's by at most {deviation:.1e}")
