"""``retrain segmenter``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    ChannelsOption,
    DeviceOption,
    PrecisionOption,
    ResumeOption,
    ThreadsOption,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE


def segmenter(
    dataset: Annotated[Path, typer.Option(help="A `dataset.json`, or its folder; `retrain data` makes one.")],
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks named like their pictures, bright on the defect."),
    ] = None,
    sound: Annotated[str, typer.Option(help="The class without defects, whose pictures need no mask.")] = "",
    network: Annotated[str, typer.Option(help="deeplabv3plus, pan or unet.")] = "deeplabv3plus",
    encoder: Annotated[str, typer.Option(help="resnet18, resnet50 or mobilenet_v2.")] = "resnet18",
    side: Annotated[
        int, typer.Option(min=32, help="Side to which pictures are resized, px; a multiple of 32.")
    ] = 192,
    channels: ChannelsOption = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training.")] = 1500,
    batch: Annotated[int, typer.Option(min=2, help="Pictures per step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate of the one cycle.")] = 1e-3,
    flips: Annotated[bool, typer.Option(help="Mirror training pictures at random.")] = True,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder."), FOLDER_MADE] = Path(
        "runs/segmenter"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, batches and changes.")] = 1,
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    threads: ThreadsOption = 0,
    resume: ResumeOption = True,
) -> None:
    """Train a network that marks the pixels of defects, and test it.

    The data set is one of whole pictures, split into train and test. It prints the intersection over union
    per picture with its 95 % interval, and the confusion of pixels; `overlays/` shows every test picture:
    green was missed, red is a false alarm, yellow was found. Ctrl-C or SIGTERM stops a run with a
    checkpoint; the same command continues it.

    Examples:

        retrain data from-masks pictures pictures/masks --sound good --out data/mine

        retrain data split data/mine --out data/mine-split

        retrain segmenter --dataset data/mine-split --masks pictures/masks --sound good

        retrain segmenter --dataset data/mine-split --masks pictures/masks --sound good --network pan

    """
    import torch

    from retraining.data.dataset import load_dataset
    from retraining.segmenters.loop import SegmenterPlan, open_segmenter, train_segmenter
    from retraining.segmenters.pictures import load_masked
    from retraining.segmenters.testing import score_table, try_segmenter

    plan = SegmenterPlan(
        network=network, encoder=encoder, channels=channels, steps=steps, batch=batch,
        learning_rate=learning_rate, flips=flips, seed=seed, precision=precision, device=device,
        checkpoint_every=checkpoint_every,
    )  # fmt: skip
    if threads:
        torch.set_num_threads(threads)
    manifest = load_dataset(dataset)
    train_on = load_masked(manifest, masks, side, channels, "train", sound=sound)
    test_on = load_masked(manifest, masks, side, channels, "test", sound=sound)
    with progress_bars() as progress:
        task = progress.add_task(network, total=steps, status="")

        def report(step: int, line: str) -> None:
            progress.update(task, completed=step, status=line)

        weights = train_segmenter(
            plan, train_on, out, about={"dataset": str(dataset)}, resume=resume, report=report
        )
    _, trained = open_segmenter(weights)
    typer.echo(score_table(try_segmenter(trained, test_on, out)))
    typer.echo(f"{weights}; overlays in {out / 'overlays'}, the worst of them in {out / 'worst.png'}")
