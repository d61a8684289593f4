"""``retrain gan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from station.cli.text import told

if TYPE_CHECKING:
    from rich.progress import TaskID

    from retraining.data.dataset import Dataset


def gan(
    dataset: Annotated[Path, typer.Option(help="A `dataset.json`, or its folder; `retrain data` makes one.")],
    class_names: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class to train a generator for, or all; may be repeated."),
    ] = None,
    system: Annotated[
        str,
        typer.Option(
            help="gan, dcgan, lsgan, wgan-gp, sdg-gan, latent-mapping, stylegan2 or stylegan2-small."
        ),
    ] = "sdg-gan",
    size: Annotated[int, typer.Option(help="Side of the pictures: 32, 64, 128 or 256 px.")] = 64,
    channels: ChannelsOption = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the generator.")] = 2000,
    batch: Annotated[int, typer.Option(min=2, help="Pictures per step, over all processes.")] = 64,
    latent: Annotated[int | None, typer.Option(help="Length of the latent vector.")] = None,
    mapping_layers: Annotated[
        int | None, typer.Option(help="Layers of the mapping network (latent-mapping only).")
    ] = None,
    mapping_rate: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the mapping network, as a share of the generator's (latent-mapping only)."
        ),
    ] = None,
    optimiser: Annotated[str | None, typer.Option(help="adam or rmsprop, of both networks.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of both networks.")] = None,
    critic_steps: Annotated[
        int | None, typer.Option(help="Steps of the critic per step of the generator.")
    ] = None,
    ema: Annotated[
        float, typer.Option(help="Decay of the averaged generator that is kept; 0 keeps the last one.")
    ] = 0.999,
    flips: Annotated[bool, typer.Option(help="Mirror real pictures at random.")] = True,
    diffaugment: Annotated[
        str,
        typer.Option(
            help="Change real and drawn pictures at random before the critic, for few real pictures: none, "
            "mild, or as far as the paper (paper)."
        ),
    ] = "none",
    split: Annotated[
        str, typer.Option(help="Split of the data set to train on; auto: train, if it is split.")
    ] = "auto",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets one run folder per class."), FOLDER_MADE
    ] = Path("runs/gan"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, batches and latent vectors.")] = 1,
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    sheet_every: Annotated[int, typer.Option(min=1, help="Steps between sheets of samples.")] = 250,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    threads: ThreadsOption = 0,
    resume: ResumeOption = True,
) -> None:
    """Train a generator and its critic for one class of pictures, or for each class.

    An option that is not given has the value of the system's paper. If the training of one class collapses or
    diverges, this is reported and the other classes are trained all the same. Ctrl-C or SIGTERM stops a run
    with a checkpoint; the same command continues it. Several processes share the batch under `torchrun`.

    Examples:

        retrain gan --dataset data/neu --class scratches --system dcgan --steps 3000

        retrain gan --dataset data/smh --class all --system sdg-gan --size 256 --batch 16 --out runs/sdg

        retrain gan --dataset data/neu --class pa --system wgan-gp --optimiser rmsprop

        torchrun --nproc-per-node 4 --no-python retrain gan --dataset data/smh --class pits --size 256

    """
    import torch

    from retraining.adversarial.loop import AdversarialPlan, train_pair
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.errors import CollapseError, DivergedError, TrainingError
    from retraining.runs.distributed import choose_device, open_world

    plan = AdversarialPlan(
        system=system, size=size, channels=channels, latent=latent, mapping_layers=mapping_layers,
        mapping_rate=mapping_rate, optimiser=optimiser, learning_rate=learning_rate,
        critic_steps=critic_steps, steps=steps, batch=batch, ema=ema,
        flips=flips, diffaugment=diffaugment, seed=seed, precision=precision, device=device,
        sheet_every=sheet_every, checkpoint_every=checkpoint_every,
    )  # fmt: skip
    if threads:
        torch.set_num_threads(threads)
    manifest = load_dataset(dataset)
    part = training_part(manifest, split)
    names = chosen_classes(manifest, class_names or [])
    pictures = load_pixels(manifest.select(classes=names), size, channels, split=part)
    failed: list[str] = []
    with open_world(choose_device(device)) as world, progress_bars() as progress:
        for name in names:
            own = pictures.of_class(pictures.classes.index(name))
            task = progress.add_task(name, total=steps, status="", visible=world.first)
            about = {"class": name, "classes": list(manifest.classes), "dataset": str(dataset)}

            def report(step: int, line: str, task: TaskID = task) -> None:
                progress.update(task, completed=step, status=line)

            try:
                weights = train_pair(
                    plan, own.pixels, out / name, about=about | {"split": part or ""}, resume=resume,
                    report=report,
                )  # fmt: skip
            except (CollapseError, DivergedError) as error:
                failed.append(f"{name}: {error}")
                continue
            if world.first:
                news = f"{name}: {len(own)} real pictures, {weights}"
                progress.console.print(told(news))
    if failed:
        raise TrainingError("; ".join(failed))


def training_part(dataset: Dataset, asked: str) -> str | None:
    """The split to load: ``auto`` is ``train`` where the data set is split, otherwise all of it (None)."""
    if asked != "auto":
        return asked or None
    return "train" if any(p.split for p in dataset.pictures) else None


def chosen_classes(dataset: Dataset, asked: list[str]) -> list[str]:
    """The classes that ``--class`` names, every one for ``all``; raises :class:`TrainingError`."""
    from retraining.errors import TrainingError

    if asked == ["all"]:
        return list(dataset.classes)
    if not asked or set(asked) - set(dataset.classes):
        raise TrainingError(f"--class is one of {', '.join(dataset.classes)}, or all")
    return list(dict.fromkeys(asked))
