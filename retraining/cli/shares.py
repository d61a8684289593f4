"""``retrain shares``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import chosen_changes, progress_bars


def shares(
    dataset: Annotated[Path, typer.Argument(help="Real pictures, split into train and validation.")],
    synthetic: Annotated[
        Path,
        typer.Argument(
            help="Synthetic pictures (`retrain synthesise`, `paste`), made from training pictures."
        ),
    ],
    tried: Annotated[
        str, typer.Option("--shares", help="Synthetic shares of a batch, with commas; 0 is always tried.")
    ] = "0.13,0.235,0.315,0.38,0.5",
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings of each share; a single one proves nothing.")
    ] = 3,
    network: Annotated[
        str, typer.Option(help="inception-cnn, resnet18 ...; a wrong name lists them all.")
    ] = "inception-cnn",
    side: Annotated[int, typer.Option(min=32, help="px to which pictures are brought.")] = 128,
    channels: Annotated[int, typer.Option(help="1: grey, 3: colour.")] = 1,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the real training pictures.")] = 40,
    batch: Annotated[int, typer.Option(min=2, help="Pictures a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="At the top of the schedule.")] = 1e-3,
    augment: Annotated[
        str, typer.Option(help="Random changes: flips, brightness, noise, turns, shift, zoom; or none.")
    ] = "flips,brightness",
    sampling: Annotated[
        str, typer.Option(help="Classes drawn as the set has them (natural) or balanced.")
    ] = "natural",
    labelled_by: Annotated[
        str, typer.Option(help="Whose labels are trusted, with commas.")
    ] = "person,renderer",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the trainings, shares.json and shares.png.")] = Path(
        "runs/shares"
    ),
) -> None:
    """Find out how many synthetic pictures to train with: the share that validates best on real pictures.

    Every share is trained with all real pictures and as many steps, once a seed, and scored by macro F1 on
    the validation pictures. The test pictures stay untouched: confirm the share on them once, by the command
    that is printed. An interrupted run goes on by the same command.

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
    trusted = tuple(name.strip() for name in labelled_by.split(","))
    train_on, validation = (
        load_pixels(manifest, side, channels, split=split, labelled_by=trusted)
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
        print(f"confirm it once on the test pictures: {shlex.join(map(str, confirmed))}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--shares are numbers with commas, such as 0.2,0.5; not {text!r}") from None
