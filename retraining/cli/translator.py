"""``retrain translator`` and ``retrain translate``: defects onto backgrounds, and away from them."""

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


def translator(
    dataset: Annotated[Path, typer.Option(help="A `dataset.json`, or its folder; `retrain data` makes one.")],
    background: Annotated[str, typer.Option(help="The class without defects.")],
    system: Annotated[
        str, typer.Option(help="pe-gan, pe-gan-free (its networks, StarGAN's targets) or star-gan.")
    ] = "pe-gan",
    size: Annotated[int, typer.Option(help="Side of the pictures: 32, 64, 128 or 256 px.")] = 64,
    channels: ChannelsOption = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the generator.")] = 4000,
    batch: Annotated[int, typer.Option(min=2, help="Pictures per step, an even number.")] = 16,
    critic_steps: Annotated[
        int | None, typer.Option(help="Steps of the critic per step of the generator.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of both networks.")] = None,
    flips: Annotated[bool, typer.Option(help="Mirror pictures at random.")] = True,
    split: Annotated[
        str, typer.Option(help="Split of the data set to train on; auto: train, if it is split.")
    ] = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder."), FOLDER_MADE] = Path(
        "runs/translator"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, batches and targets.")] = 1,
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    sheet_every: Annotated[int, typer.Option(min=1, help="Steps between sheets of samples.")] = 250,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    threads: ThreadsOption = 0,
    resume: ResumeOption = True,
) -> None:
    """Train one network that puts every class of defect onto backgrounds, and removes it again.

    The data set has one class of backgrounds, without a defect, and one class per kind of defect. An option
    that is not given has the value of the system's paper. Ctrl-C or SIGTERM stops a run with a checkpoint;
    the same command continues it. `samples/` shows backgrounds on the left, and what becomes of them.

    Examples:

        retrain translator --dataset data/neu-64 --background background --steps 4000

        retrain translator --dataset data/mine --background good --system star-gan --out runs/star

    """
    import torch

    from retraining.cli.gan import training_part
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.translators.loop import train_translator
    from retraining.translators.plan import TranslatorPlan

    plan = TranslatorPlan(
        system=system, size=size, channels=channels, steps=steps, batch=batch, critic_steps=critic_steps,
        learning_rate=learning_rate, flips=flips, seed=seed, precision=precision, device=device,
        sheet_every=sheet_every, checkpoint_every=checkpoint_every,
    )  # fmt: skip
    if threads:
        torch.set_num_threads(threads)
    manifest = load_dataset(dataset)
    pictures = load_pixels(manifest, size, channels, split=training_part(manifest, split))
    with progress_bars() as progress:
        task = progress.add_task(system, total=steps, status="")

        def report(step: int, line: str) -> None:
            progress.update(task, completed=step, status=line)

        weights = train_translator(
            plan, pictures, background, out, about={"dataset": str(dataset)}, resume=resume, report=report
        )
    typer.echo(f"{len(pictures)} real pictures, {weights}; look at {out / 'samples'}")


def translate(
    run: Annotated[Path, typer.Argument(help="Run folder of `retrain translator`.")],
    dataset: Annotated[Path, typer.Option(help="The data set with the backgrounds to translate.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 600,
    class_names: Annotated[
        list[str] | None, typer.Option("--class", help="Class to make; may be repeated. Default: all.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the data set to take backgrounds from; auto: train, if it is split.")
    ] = "auto",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the synthetic data set."), FOLDER_MADE
    ] = Path("data/translated"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of backgrounds.")] = 1,
) -> None:
    """Make a synthetic data set: defects of each class on real backgrounds.

    Every background is used once per class before any is used again: the network draws no variety of its
    own, so more pictures than backgrounds are only mirror images. The set says that no person labelled it.

    Examples:

        retrain translate runs/translator --dataset data/neu-64 --count 600 --out data/synthetic

        retrain translate runs/translator --dataset data/neu-64 --class scratches --count 200

    """
    from retraining.cli.gan import training_part
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.data.manifest import file_digest
    from retraining.data.synthetic import write_synthetic
    from retraining.errors import TrainingError
    from retraining.translators.drawing import on_backgrounds
    from retraining.translators.loop import open_translator

    weights = run / "translator.pt"
    trained = open_translator(weights)
    defects = [name for name in trained.classes if name != trained.background]
    names = class_names or defects
    if unknown := sorted(set(names) - set(defects)):
        raise TrainingError(f"--class is one of {', '.join(defects)}, not {', '.join(unknown)}")
    manifest = load_dataset(dataset)
    if trained.background not in manifest.classes:
        raise TrainingError(
            f"{dataset} has no class {trained.background}, which the translator learnt as its background; "
            "name a data set that has it"
        )
    plan = trained.plan
    grounds = load_pixels(
        manifest.select(classes=(trained.background,)), plan.size, plan.channels,
        split=training_part(manifest, split),
    ).pixels  # fmt: skip
    made = {}
    with progress_bars() as progress:
        task = progress.add_task("classes", total=len(names), status="")
        for number, name in enumerate(names):
            made[name] = on_backgrounds(trained, grounds, name, count, seed)
            progress.update(task, completed=number + 1, status=name)
    written = write_synthetic(out, made, file_digest(weights)[:12], trained.classes)
    typer.echo(f"{len(written)} pictures on {len(grounds)} backgrounds: {out / 'dataset.json'}")
