"""``retrain translator`` and ``retrain translate``: defects onto backgrounds, and away from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retraining.cli.options import (
    ChannelsOption,
    DeviceOption,
    PrecisionOption,
    ResumeOption,
    ThreadsOption,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE, refuse_given

if TYPE_CHECKING:
    from retraining.data.dataset import Dataset
    from retraining.surfaces.class_masks import ClassMasks


def translator(
    context: typer.Context,
    dataset: Annotated[Path, typer.Option(help="A `dataset.json`, or its folder; `retrain data` makes one.")],
    background: Annotated[str, typer.Option(help="The class without defects.")],
    system: Annotated[
        str,
        typer.Option(
            help="pe-gan, pe-gan-free (its networks, StarGAN's targets), star-gan or cycle-gan; where masks "
            "say where a defect is: syndgan, syndgan-w-plus or masked-unet."
        ),
    ] = "pe-gan",
    class_names: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class of defect to learn; may be repeated. Default: all."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the pictures: 32, 64, 128 or 256 px.")] = 64,
    channels: ChannelsOption = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the generator.")] = 4000,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures per step, for most systems an even number.")
    ] = None,
    critic_steps: Annotated[
        int | None, typer.Option(help="Steps of the critic per step of the generator (pe-gan, star-gan).")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of the generator.")] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks named like their pictures (syndgan, masked-unet). Default: the marks of "
            "the data set, or the masks beside rendered parts."
        ),
    ] = None,
    class_of: Annotated[
        list[str] | None,
        typer.Option(
            help="Class of a value or colour in the masks, VALUE=CLASS or '#RRGGBB=CLASS'; may be repeated. "
            "Default: a mask is bright on the defect, which is of its picture's class."
        ),
    ] = None,
    pretraining: Annotated[
        int | None, typer.Option(min=0, help="Steps in which SyNDGAN's decoder learns alone, before.")
    ] = None,
    diffaugment: Annotated[
        str,
        typer.Option(help="What the critics of syndgan and masked-unet see changed: none, mild or paper."),
    ] = "paper",
    widest: Annotated[
        int, typer.Option(min=1, help="Most filters of a layer (syndgan, masked-unet); fewer are faster.")
    ] = 512,
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
    """Train a network that puts defects onto backgrounds: anywhere, or where a mask says.

    The data set has one class of backgrounds, without a defect, and one class per kind of defect. An option
    that is not given has the value of the system's paper. Ctrl-C or SIGTERM stops a run with a checkpoint;
    the same command continues it. `samples/` shows backgrounds on the left, and what becomes of them.

    `retrain translate` makes a synthetic set of it. Where the system draws by masks, `retrain synthesise
    --masks` does.

    Examples:

        retrain translator --dataset data/neu-64 --background background --steps 4000

        retrain translator --dataset data/mine --background good --system cycle-gan --class dent

        retrain translator --dataset data/marked --background good --system syndgan --out runs/syn

    """
    import torch

    from retraining.data.dataset import load_dataset
    from retraining.errors import TrainingError
    from retraining.surfaces.class_masks import ClassMasks
    from retraining.translators.drawn import named_colours, open_drawer
    from retraining.translators.plan import MASKED, SYSTEMS

    if system not in (*SYSTEMS, *MASKED):
        known = ", ".join((*SYSTEMS, *MASKED))
        raise TrainingError(f"no system is called {system!r}; choose one of {known}")
    if threads:
        torch.set_num_threads(threads)
    manifest = load_dataset(dataset)
    meant = ClassMasks.parse(class_of or [])
    if strangers := sorted(set(meant.names) - set(manifest.classes)):
        raise TrainingError(
            f"--class-of names {', '.join(strangers)}; the data set has {', '.join(manifest.classes)}"
        )
    if class_names:
        manifest = _chosen(manifest, background, class_names)
    common: dict[str, Any] = {
        "system": system, "size": size, "channels": channels, "steps": steps, "flips": flips, "seed": seed,
        "precision": precision, "device": device, "sheet_every": sheet_every,
        "checkpoint_every": checkpoint_every,
    }  # fmt: skip
    asked = {"batch": batch, "learning_rate": learning_rate}
    common |= {name: value for name, value in asked.items() if value is not None}
    ends: dict[str, Any] = {"about": {"dataset": str(dataset)}, "resume": resume}
    if system in MASKED:
        refuse_given(context, ("critic_steps",), f"with --system {system}")
        own = {"widest": widest, "diffaugment": diffaugment}
        own |= {} if pretraining is None else {"pretraining": pretraining}
        if class_of and masks is None:
            raise typer.BadParameter("--class-of says what masks mean; name their folder by --masks")
        meaning = meant if class_of else None
        count, weights = _by_masks(manifest, background, split, masks, meaning, common | own, out, ends)
        colours = named_colours(open_drawer(weights).colours)
        hint = f"paint masks in its colours ({colours}), then `retrain synthesise {out} --masks FOLDER`"
    else:
        unused = ("masks", "class_of", "pretraining", "diffaugment", "widest")
        refuse_given(context, unused, f"with --system {system}")
        count, weights = _between(manifest, background, split, critic_steps, common, out, ends)
        hint = f"`retrain translate {out}` makes a synthetic set"
    typer.echo(f"{count} real pictures, {weights}; look at {out / 'samples'}; {hint}")


def _chosen(manifest: Dataset, background: str, names: list[str]) -> Dataset:
    """The pictures of some classes and of the background, with these classes only."""
    from dataclasses import replace

    from retraining.errors import TrainingError

    if unknown := sorted({background, *names} - set(manifest.classes)):
        raise TrainingError(
            f"no class is called {', '.join(unknown)}; choose of {', '.join(manifest.classes)}"
        )
    classes = tuple(name for name in manifest.classes if name in (background, *names))
    return replace(manifest.select(classes=classes), classes=classes)


def _between(
    manifest: Dataset,
    background: str,
    split: str,
    critic_steps: int | None,
    settings: dict[str, Any],
    out: Path,
    ends: dict[str, Any],
) -> tuple[int, Path]:
    """Train between domains; how many pictures there were, and the weights."""
    from retraining.cli.gan import training_part
    from retraining.data.dataset import load_pixels
    from retraining.translators.domains import train_translator
    from retraining.translators.plan import SYSTEMS, TranslatorPlan

    settings.setdefault("batch", SYSTEMS[settings["system"]].batch)
    plan = TranslatorPlan(critic_steps=critic_steps, **settings)
    pictures = load_pixels(manifest, plan.size, plan.channels, split=training_part(manifest, split))
    with progress_bars() as progress:
        task = progress.add_task(plan.system, total=plan.total_steps, status="")

        def report(step: int, line: str) -> None:
            progress.update(task, completed=step, status=line)

        return len(pictures), train_translator(plan, pictures, background, out, report=report, **ends)


def _by_masks(
    manifest: Dataset,
    background: str,
    split: str,
    masks: Path | None,
    class_of: ClassMasks | None,
    settings: dict[str, Any],
    out: Path,
    ends: dict[str, Any],
) -> tuple[int, Path]:
    """Train to draw where masks say; how many pictures there were, and the weights."""
    from retraining.cli.gan import training_part
    from retraining.translators.masked import train_masked
    from retraining.translators.pictures import load_masked_classes
    from retraining.translators.plan import MaskedPlan

    plan = MaskedPlan(**settings)
    pictures = load_masked_classes(
        manifest, plan.size, plan.channels, background=background, split=training_part(manifest, split),
        masks=masks, class_of=class_of,
    )  # fmt: skip
    with progress_bars() as progress:
        task = progress.add_task(plan.system, total=plan.total_steps, status="")

        def report(step: int, line: str) -> None:
            progress.update(task, completed=step, status=line)

        return len(pictures), train_masked(plan, pictures, out, report=report, **ends)


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
    from retraining.translators.trained import open_translator

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
