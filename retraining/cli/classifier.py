"""``retrain classifier``: on a data set, or for a station on rendered parts or a folder of patches."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

_set = partial(typer.Option, rich_help_panel="With --dataset")
_station = partial(typer.Option, rich_help_panel="Without --dataset: an engine for a station")


def classifier(
    context: typer.Context,
    dataset: Annotated[
        Path | None,
        _set(help="A dataset.json, or its folder (`retrain data` writes them)."),
    ] = None,
    side: Annotated[int, _set(min=32, help="px to which pictures are brought.")] = 128,
    channels: Annotated[int, _set(help="1: grey, 3: colour.")] = 1,
    epochs: Annotated[float, _set(min=0.01, help="Passes over the training pictures.")] = 40,
    folds: Annotated[
        int,
        _set(min=0, help="Cross-validate by group, all pictures but the test split."),
    ] = 0,
    augment: Annotated[
        str,
        _set(help="Random changes: flips, brightness, noise, turns, shift, zoom, with commas; or none."),
    ] = "flips,brightness",
    loss: Annotated[
        str,
        _set(help="cross-entropy, class-balanced, focal or class-balanced-focal."),
    ] = "cross-entropy",
    focal_gamma: Annotated[float, _set(min=0, help="Of the focal losses; 0: cross-entropy.")] = 2.0,
    balance_beta: Annotated[float, _set(min=0, max=1, help="Of the class-balanced losses.")] = 0.999,
    optimiser: Annotated[str, _set(help="adamw or adam.")] = "adamw",
    weight_decay: Annotated[float, _set(min=0, help="Of all weights; with adamw instead of --l2.")] = 0.0,
    schedule: Annotated[str, _set(help="one-cycle or constant.")] = "one-cycle",
    patience: Annotated[
        int,
        _set(min=0, help="Epochs without a better validation, then stop; 0: never."),
    ] = 0,
    sampling: Annotated[
        str,
        _set(help="Classes drawn as the set has them (natural) or balanced."),
    ] = "natural",
    sound: Annotated[str, _set(help="The class without a defect, where there is one.")] = "",
    labelled_by: Annotated[str, _set(help="Whose labels are trusted, with commas.")] = "person,renderer",
    synthetic: Annotated[
        Path | None,
        _set(help="Synthetic pictures (`retrain synthesise`, `paste`), made from training pictures only."),
    ] = None,
    synthetic_share: Annotated[
        float, _set(min=0, max=1, help="Share of each batch that is synthetic.")
    ] = 0.38,
    weights: Annotated[
        Path | None,
        _set(help="Begin with a best.pt, or a backbone's published weights."),
    ] = None,
    onnx: Annotated[bool, _set("--onnx", help="Write model.onnx too.")] = False,
    device: Annotated[str, _set(help="auto, cpu or cuda.")] = "auto",
    recipe: Annotated[
        str, _station("--recipe", "-r", help="Recipe by name or path.")
    ] = "servo-motor-housing",
    recipes: Annotated[Path, _station(help="Folder of recipes, for recipes given by name.")] = Path(
        "recipes"
    ),
    data: Annotated[
        Path | None,
        _station(help="Folder with one sub-folder of patches a class; default: render parts."),
    ] = None,
    engine: Annotated[
        Path | None,
        _station(help="Write an engine folder here after training (rendered data only)."),
    ] = None,
    parts: Annotated[int, _station(min=10, help="Rendered parts to train on.")] = 640,
    small_steps: Annotated[int, _station(min=0, help="Steps on 128-px patches first; 0 for none.")] = 1000,
    steps: Annotated[int, _station(min=1, help="Steps on the recipe's patches.")] = 520,
    hard_steps: Annotated[
        int,
        _station(min=0, help="Last steps, on fresh parts and the mistakes made there; 0 for none."),
    ] = 420,
    hard_parts: Annotated[int, _station(min=10, help="Fresh rendered parts for the last steps.")] = 420,
    test_seed: Annotated[
        int, _station(min=0, help="Seed of the test parts; no training part shares it.")
    ] = 7,
    parts_per_class: Annotated[int, _station(min=1, help="Test parts of each class.")] = 80,
    mixed: Annotated[int, _station(min=0, help="Test parts with several kinds of defect.")] = 20,
    tensorrt_int8: Annotated[
        bool,
        _station("--tensorrt-int8", help="Ship INT8 for TensorRT too; its evaluation is slow."),
    ] = False,
    cache: Annotated[Path, _station(help="Where rendered sets are kept for the next run.")] = Path(
        "var/surfaces"
    ),
    processes: Annotated[int, _station(min=1, help="Processes that render.")] = 2,
    network: Annotated[
        str, typer.Option(help="inception-cnn, resnet18 ...; a wrong name lists them all.")
    ] = "inception-cnn",
    batch: Annotated[
        int, typer.Option(min=2, help="Pictures a step; for a station on 128 px, half of it on larger ones.")
    ] = 32,
    learning_rate: Annotated[float, typer.Option(help="At the top of the schedule.")] = 1e-3,
    l2: Annotated[
        float, typer.Option(help="L2 penalty on convolution weights (the paper: 0.01, 100 epochs).")
    ] = 1e-5,
    precision: Annotated[
        str, typer.Option(help="auto, fp32 or bf16; auto: bf16 where the processor has it.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the training, of folds and of rendered parts.")] = 1,
    out: Annotated[Path, typer.Option(help="Run folder: checkpoints, log, curves, weights, results.")] = Path(
        "runs/classifier"
    ),
    threads: Annotated[int, typer.Option(min=0, help="Threads for training; 0: all cores.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the run folder's checkpoint.")] = True,
) -> None:
    """Train a classifier, test it, write its figures.

    With --dataset: any network on any data set; trained on the split "train", tested on "test", stopped by
    "validation" (--patience), or cross-validated (--folds). Without: an engine for a station, on rendered
    parts or on a folder of patches.

    An interrupted run (Ctrl-C, SIGTERM) leaves a checkpoint; the same command goes on from it.

    Examples:
        retrain classifier --dataset data/neu --network resnet18 --side 64 --epochs 60 --loss focal

        retrain classifier --dataset data/smh --folds 10 --synthetic runs/samples --synthetic-share 0.38

        torchrun --nproc-per-node 4 --no-python retrain classifier --dataset data/smh --network resnet50

        retrain classifier --engine engines/servo-motor-housing

        retrain classifier --parts 40 --small-steps 50 --steps 20 --hard-steps 0 --out runs/quick

        retrain classifier --data my-patches --recipe my-product --out runs/my-product

    """
    import torch

    from retraining.classifiers.plan import TrainingPlan

    _refuse_strangers(context, dataset is not None)
    if threads:
        torch.set_num_threads(threads)
    plan = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, l2=l2, seed=seed, precision=precision
    )
    if dataset is not None:
        from retraining.cli.classifier_dataset import DatasetTraining, train_on_dataset

        train_on_dataset(
            DatasetTraining(
                dataset=dataset, side=side, channels=channels, epochs=epochs, folds=folds, augment=augment,
                loss=loss, focal_gamma=focal_gamma, balance_beta=balance_beta, optimiser=optimiser,
                weight_decay=weight_decay, schedule=schedule, patience=patience, sampling=sampling,
                sound=sound, labelled_by=labelled_by, synthetic=synthetic, synthetic_share=synthetic_share,
                weights=weights, onnx=onnx, device=device, out=out, resume=resume,
            ),
            plan,
        )  # fmt: skip
        return
    from retraining.cli.classifier_station import StationTraining, train_for_station

    train_for_station(
        StationTraining(
            recipe=recipe, recipes=recipes, data=data, engine=engine, parts=parts, small_steps=small_steps,
            steps=steps, hard_steps=hard_steps, hard_parts=hard_parts, test_seed=test_seed,
            parts_per_class=parts_per_class, mixed=mixed, tensorrt_int8=tensorrt_int8, cache=cache,
            processes=processes, out=out, resume=resume,
        ),
        plan,
    )  # fmt: skip


def _refuse_strangers(context: typer.Context, on_dataset: bool) -> None:
    """Options of the other way must not be ignored in silence."""
    panel = (_station if on_dataset else _set).keywords["rich_help_panel"]
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        strange = getattr(param, "rich_help_panel", None) == panel and param.name != "dataset"
        if strange and source is not None and source.name == "COMMANDLINE":
            wrong = "cannot be used with --dataset" if on_dataset else "needs --dataset"
            raise typer.BadParameter(f"{param.opts[0]} {wrong}")
