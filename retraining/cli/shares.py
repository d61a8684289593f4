"""``retrain shares``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    AugmentOption,
    ChannelsOption,
    DeviceOption,
    EpochsOption,
    LabelledByOption,
    LearningRateOption,
    NetworkOption,
    SamplingOption,
    SideOption,
    chosen_changes,
    listed,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE


def shares(
    dataset: Annotated[
        Path, typer.Argument(help="Data set of real pictures, split into train and validation.")
    ],
    synthetic: Annotated[
        Path,
        typer.Argument(
            help="Data set of synthetic pictures (`retrain synthesise`, `retrain paste`), made from training "
            "pictures only."
        ),
    ],
    tried: Annotated[
        str,
        typer.Option(
            "--shares", help="Synthetic shares of a batch to try, separated by commas; 0 is always tried."
        ),
    ] = "0.13,0.235,0.315,0.38,0.5",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each share; one alone proves nothing.")] = 3,
    network: NetworkOption = "inception-cnn",
    side: SideOption = 128,
    channels: ChannelsOption = 1,
    epochs: EpochsOption = 40,
    batch: Annotated[int, typer.Option(min=2, help="Pictures per step.")] = 32,
    learning_rate: LearningRateOption = 1e-3,
    augment: AugmentOption = "flips,brightness",
    sampling: SamplingOption = "natural",
    labelled_by: LabelledByOption = "person,renderer",
    device: DeviceOption = "auto",
    out: Annotated[
        Path, typer.Option(help="Folder for the trainings, shares.json and shares.png."), FOLDER_MADE
    ] = Path("runs/shares"),
) -> None:
    """Find the share of synthetic pictures with which a classifier does best on real validation pictures.

    Each share is trained once per seed, with all real pictures and with the same number of steps, and is
    scored by macro F1 on the validation pictures. The test pictures are not used; the command prints how to
    confirm the best share on them once. The same command continues an interrupted run.

    Examples:

        retrain shares data/smh data/synthetic --network inception-cnn --side 128

        retrain shares data/neu data/pasted --network resnet18 --side 64 --shares 0.2,0.5,0.8 --seeds 5

    """
    from retraining.classifiers.plan import TrainingPlan, in_epochs
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.errors import TrainingError
    from retraining.synthesis.shares import shares_table, validate_shares

    manifest = load_dataset(dataset)
    missing = {"train", "validation"} - {p.split for p in manifest.pictures}
    if missing:
        raise TrainingError(
            f"{dataset} has no split called {' or '.join(sorted(missing))}; make it by `retrain data split`"
        )
    train_on, validation = (
        load_pixels(manifest, side, channels, split=split, labelled_by=listed(labelled_by))
        for split in ("train", "validation")
    )
    made = load_pixels(load_dataset(synthetic), side, channels, labelled_by=("synthetic",))
    plan = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, device=device,
        augmentation=chosen_changes(augment),
    )  # fmt: skip
    plan = in_epochs(plan, epochs, len(train_on))
    wanted = sorted({0.0, *_numbers(tried)})
    with progress_bars() as progress:
        bars = {
            share: progress.add_task(f"share {share:.1%}", total=seeds * plan.steps, status="")
            for share in wanted
        }
        curve = validate_shares(
            plan, train_on, validation, made, out,
            shares=wanted, seeds=range(1, seeds + 1), sampling=sampling,
            report=lambda share, seed, step, line: progress.update(
                bars[share], completed=(seed - 1) * plan.steps + step, status=f"seed {seed} {line}"
            ),
        )  # fmt: skip
    print(shares_table(curve))
    print(f"\ncurve: {out / 'shares.png'}")
    if curve.best:
        confirmed = ["retrain", "classifier", "--dataset", dataset, "--synthetic", synthetic]
        confirmed += ["--synthetic-share", f"{curve.best:g}", "--network", network, "--side", side]
        confirmed += ["--channels", channels, "--epochs", epochs, "--batch", batch, "--augment", augment]
        confirmed += ["--learning-rate", learning_rate, "--sampling", sampling, "--labelled-by", labelled_by]
        print(f"to confirm it once on the test pictures: {shlex.join(map(str, confirmed))}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"--shares takes numbers separated by commas, such as 0.2,0.5; not {text!r}"
        ) from None
