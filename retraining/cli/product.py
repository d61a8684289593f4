"""``retrain product``: an engine for a station from a person's own labelled pictures."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from retraining.cli.data_options import ClassOfOption
from retraining.cli.options import (
    L2Option,
    LearningRateOption,
    NetworkOption,
    PrecisionOption,
    RecipesOption,
    ResumeOption,
    ThreadsOption,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE, refuse_given
from station.cli.text import told

if TYPE_CHECKING:
    from retraining.classifiers.plan import TrainingPlan
    from retraining.product.making import Product
    from retraining.product.parts import Parts
    from station.recipe import Recipe

_console = Console(stderr=True)
_OF_A_CLASSIFIER = (
    "masks", "class_of", "synthetic", "network", "weights", "steps", "batch", "learning_rate", "l2",
    "escape_rate", "precision", "resume",
)  # fmt: skip


class Until(StrEnum):
    """The stages of a product (:data:`retraining.product.making.STAGES`)."""

    READING = "reading"
    TRAINING = "training"
    THRESHOLDS = "thresholds"
    INT8 = "int8"
    TEST = "test"
    GOLDEN_PARTS = "golden-parts"
    NOVELTY = "novelty"


def product(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(help="A `dataset.json` of whole pictures, or its folder; `retrain data` makes it."),
    ],
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="Recipe of the product, by name or path.")],
    recipes: RecipesOption = Path("recipes"),
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks, bright on the defect. Where a part has several patches, either these or "
            "marks in the data set are needed (`retrain data from-coco --whole` and its like)."
        ),
    ] = None,
    class_of: ClassOfOption = None,
    good_only: Annotated[
        bool,
        typer.Option(
            "--good-only",
            help="Fit on good parts alone; what differs from them is rejected as unknown. Needs the extra "
            "`pretrained`.",
        ),
    ] = False,
    leave_out_refused: Annotated[
        bool,
        typer.Option(
            "--leave-out-refused",
            help="Leave out the pictures that the station would refuse, up to 5 % of all; the card names "
            "them. On the line, their parts are faults.",
        ),
    ] = False,
    synthetic: Annotated[
        Path | None,
        typer.Option(
            help="Data set of synthetic whole parts (`retrain paste --whole`) that are trained on, too; "
            "nothing is validated or tested on them."
        ),
    ] = None,
    network: NetworkOption = "inception-cnn",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Start from these weights: a best.pt, an engine folder, whose classes may be fewer, a "
            "backbone's published file, or `imagenet`."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=0, help="Steps of the training; 0 chooses by the number of parts.")
    ] = 0,
    batch: Annotated[int, typer.Option(min=2, help="Patches per step.")] = 32,
    learning_rate: LearningRateOption = 1e-3,
    l2: L2Option = 1e-5,
    escape_rate: Annotated[
        float,
        typer.Option(min=0.0, max=0.5, help="Escape rate that the thresholds allow on the validation parts."),
    ] = 0.0,
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 1,
    split_seed: Annotated[int, typer.Option(min=0, help="Seed of the split, where the set has none.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder, for the engine too. Default: below runs/, by the name of the recipe."),
        FOLDER_MADE,
    ] = None,
    resume: ResumeOption = True,
    until: Annotated[
        Until,
        typer.Option(
            help="End after this stage and show what there is; the same command with a later one goes on. "
            "`reading` only reads, cuts and splits the pictures."
        ),
    ] = Until.NOVELTY,
) -> None:
    """Train an engine for a product on your own pictures, test it as the station would, and write its folder.

    Every picture is cut by the recipe's own patching. The set is split by group (its own split is kept): the
    network learns on the training parts, thresholds are chosen on the validation parts, and the figures are
    those of the test parts. The run folder then holds the engine, the recipe with its thresholds, and the
    verdict on each test part. `--until` ends after a stage. Ctrl-C or SIGTERM stops a run with a checkpoint.
    In both cases the same command goes on.

    Examples:

        retrain product data/mine --recipe recipes/mine.yaml --masks pictures/masks

        retrain product data/mine --recipe mine --masks masks --class-of 1=scratch --class-of 2=dent

        retrain product data/mine --recipe mine --until reading

        retrain product data/mine --recipe mine --steps 1500 --seed 2 --out runs/mine-2

        retrain product data/mine --recipe mine --good-only

        retrain product data/joined --recipe mine --synthetic data/pasted

    """
    import torch

    from retraining.classifiers.plan import TrainingPlan
    from retraining.data.manifest import file_digest, load_dataset
    from retraining.data.whole_marked import box_note
    from retraining.product.card import model_card, refused_words
    from retraining.product.good_only import split_good
    from retraining.product.making import make_engine, require_same_run, stages_for, train_network
    from retraining.product.parts import read_parts, split_parts, usable, with_synthetic
    from retraining.surfaces.class_masks import ClassMasks
    from station.recipe import find_recipe, load_recipe

    if threads:
        torch.set_num_threads(threads)
    file = find_recipe(recipe, recipes)
    chosen = load_recipe(file)
    if good_only:
        refuse_given(context, _OF_A_CLASSIFIER, "with --good-only")
        if until not in (Until.READING, Until.NOVELTY):
            raise typer.BadParameter("--good-only trains nothing; leave out --until, or say --until reading")
    if masks is None:
        refuse_given(context, ("class_of",), "without --masks")
    manifest = data / "dataset.json" if data.is_dir() else data
    dataset = load_dataset(data, verify=True)
    fitting = usable(dataset, chosen, good_only=good_only)
    own_splits = {picture.split for picture in fitting.pictures}
    if _is_given(context, "split_seed") and "validation" in own_splits and "" not in own_splits:
        raise typer.BadParameter("--split-seed: the data set has its own split, which is kept; leave it out")
    ready = split_good(fitting, split_seed) if good_only else split_parts(fitting, split_seed)
    made_up = load_dataset(synthetic, verify=True) if synthetic is not None else None
    if made_up is not None:
        ready = with_synthetic(ready, made_up)
    with progress_bars() as progress:
        task = progress.add_task("cutting the parts", total=len(ready), status="")
        parts = read_parts(
            ready, chosen, masks, lambda stage, done, total: progress.update(task, completed=done),
            whole=good_only, class_of=ClassMasks.parse(class_of) if class_of else None,
            leave_out_refused=leave_out_refused,
        )  # fmt: skip
    _show(f"left out: {len(dataset) - len(fitting)} pictures that no person labelled")
    if made_up is not None:
        _show(f"among the training parts are {len(made_up)} synthetic ones")
    if parts.refused:
        _show(refused_words(parts))
    for split in ("train", "validation", "test"):
        counts = ", ".join(f"{count} {name}" for name, count in parts.count(split).items())
        _show(f"{split}: {counts}, in {parts.groups(split)} groups")
    boxes = "" if good_only or masks else box_note(fitting)
    if boxes:
        _show(f"note: {boxes}")
    if until == Until.READING:
        return
    folder = out or Path("runs") / chosen.name
    digest = file_digest(manifest)
    described = (
        f"{len(parts.pictures)} pictures of a data set (SHA-256 of its manifest {digest[:16]}). "
        + " ".join(f"{note}." for note in (*dataset.notes, *([boxes] if boxes else [])))
    )
    if made_up is not None:
        described += (
            f" Among the training parts are {len(made_up)} synthetic ones ({made_up.pictures[0].source})."
        )
    if parts.refused:
        described += f"\n\n{refused_words(parts)}"
    command = _typed(context)
    if good_only:
        require_same_run(
            folder,
            {
                "data": digest, "recipe": chosen.digest, "good_only": True, "seed": seed,
                "split_seed": split_seed,
                **({"left_out": len(parts.refused)} if parts.refused else {}),
            },
        )  # fmt: skip
        _fit_good_parts(parts, chosen, folder, seed, digest, command, described)
        return
    base = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, l2=l2, seed=seed, precision=precision
    )
    stages = stages_for(chosen, base, steps, sum(parts.count("train").values()))
    require_same_run(
        folder,
        {
            "data": digest, "recipe": chosen.digest, "marks": parts.marks_digest, "network": network,
            "weights": str(weights or ""), "batch": batch, "learning_rate": learning_rate, "l2": l2,
            "seed": seed, "split_seed": split_seed,
            "steps": [s.plan.steps for s in stages],
        },
    )  # fmt: skip
    with progress_bars() as progress:
        bars = {
            s.patch_px: progress.add_task(f"{s.patch_px}-px patches", total=s.plan.steps, status="")
            for s in stages
        }
        trained = train_network(
            parts, chosen, stages, folder, start_from=weights, resume=resume,
            report=lambda stage, step, line: progress.update(
                bars[stage.patch_px], completed=step, status=line
            ),
        )  # fmt: skip
        if until != Until.TRAINING:
            to_do = list(Until)[2 : list(Until).index(until) + 1]
            task = progress.add_task("engine", total=len(to_do), status="")
            made = make_engine(
                trained, parts, file, chosen, folder, network_name=network, data=(digest,),
                target=escape_rate, until=until,
                report=lambda stage, done: progress.update(task, completed=done, status=stage),
            )  # fmt: skip
            progress.update(task, completed=len(to_do), status="")
    if until == Until.TRAINING:
        run = folder / f"patch-{stages[-1].patch_px}"
        print(f"weights: {run / 'best.pt'}\nhow it learned: {run / 'curves.png'}")
        return
    _tell(made, parts, until)
    if until in (Until.GOLDEN_PARTS, Until.NOVELTY):
        settings = {f"stage {n}, {s.patch_px} px": _described(s.plan) for n, s in enumerate(stages, start=1)}
        card = model_card(chosen, parts, made, settings, command, described)
        (made.engine / "card.md").write_text(card, encoding="utf-8")
        print(f"\nengine: {made.engine}\nrecipe: {made.recipe}")
        print(f"try: station inspect PICTURES --recipe {made.recipe} --engines {made.engine.parent}")


def _tell(made: Product, parts: Parts, until: Until) -> None:
    """What the stages have found; the figures of the test alone once there are any."""
    from retraining.product.card import confusion, figures, honesty, int8_words, novelty_words, thresholds

    if not made.tested:
        print("\n".join(filter(None, [thresholds(made), int8_words(made)])))
        print(f"recipe with these thresholds: {made.recipe}")
        return
    best = made.tested.get("int8", made.tested["fp32"])
    print(figures(made.tested))
    print()
    print(confusion(best, parts.surfaces.classes))
    print()
    print(honesty(best))
    print()
    print("\n".join(filter(None, [made.int8_refusal and int8_words(made), novelty_words(made.novelty)])))
    print(f"verdict on each test part: {made.recipe.parent / 'test-parts.csv'}")


def _fit_good_parts(
    parts: Parts, recipe: Recipe, folder: Path, seed: int, digest: str, command: str, described: str
) -> None:
    from retraining.product.card import good_only_card, good_only_figures
    from retraining.product.good_only import make_good_only

    with progress_bars() as progress:
        task = progress.add_task("features of good parts", total=None, status="")
        made = make_good_only(
            parts, recipe, folder, seed=seed, data=(digest,),
            report=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    (made.engine / "card.md").write_text(
        good_only_card(recipe, parts, made, command, described), encoding="utf-8"
    )
    print(good_only_figures(made))
    print(f"\nengine: {made.engine}\nrecipe: {made.recipe}")
    print(f"try: station inspect PICTURES --recipe {made.recipe} --engines {made.engine.parent}")


def _is_given(context: typer.Context, name: str) -> bool:
    return str(context.get_parameter_source(name)).endswith("COMMANDLINE")


def _typed(context: typer.Context) -> str:
    """The command with every option that shapes the engine, as a person would type it again."""
    words = ["retrain", "product"]
    for parameter in context.command.params:
        name = parameter.name or ""
        if not _is_given(context, name) or name in ("out", "resume", "until", "threads"):
            continue
        value = context.params[name]
        for one in value if isinstance(value, list | tuple) else (value,):
            words += [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
            words += [] if one is True else [str(one)]
    return shlex.join(words)


def _show(line: str) -> None:
    _console.print(told(line))


def _described(plan: TrainingPlan) -> str:
    return (
        f"{plan.steps} steps of {plan.batch} patches, one cycle to {plan.learning_rate:g}, l2 {plan.l2:g}, "
        f"seed {plan.seed}"
    )
