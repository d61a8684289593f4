"""``retrain patches``: a recipe's classifier from a folder of ready patches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    L2Option,
    LearningRateOption,
    NetworkOption,
    PrecisionOption,
    RecipeOption,
    RecipesOption,
    ResumeOption,
    ThreadsOption,
    load_named_recipe,
)
from retraining.cli.stages import network_of, run_stages
from station.cli.parameters import FOLDER_MADE


def patches(
    folder: Annotated[
        Path, typer.Argument(help="Folder with one sub-folder of patches per class, named as in the recipe.")
    ],
    recipe: RecipeOption,
    recipes: RecipesOption = Path("recipes"),
    network: NetworkOption = "inception-cnn",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training.")] = 520,
    batch: Annotated[int, typer.Option(min=2, help="Patches per step.")] = 32,
    learning_rate: LearningRateOption = 1e-3,
    l2: L2Option = 1e-5,
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 1,
    out: Annotated[
        Path, typer.Option(help="Run folder: checkpoints, log, curves, model.onnx."), FOLDER_MADE
    ] = Path("runs/patches"),
    resume: ResumeOption = True,
) -> None:
    """Train a classifier for a recipe on a folder of ready patches, and write it as model.onnx.

    Classes, patch size and channels are those of the recipe. Ctrl-C or SIGTERM stops a run with a checkpoint;
    the same command continues it.

    Examples:

        retrain patches my-patches --recipe my-product --out runs/my-product

    """
    import torch

    from retraining.classifiers.patch_sizes import plan_stages
    from retraining.classifiers.plan import TrainingPlan
    from retraining.shipping.export import export_onnx
    from retraining.surfaces.crops import PatchFolder

    if threads:
        torch.set_num_threads(threads)
    chosen = load_named_recipe(recipe, recipes)
    side, channels = chosen.patch.size, chosen.surface.channels
    white = chosen.product.sixteen_bit_white
    source = PatchFolder(folder, tuple(c.name for c in chosen.classes), side, channels, white)
    base = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, l2=l2, seed=seed, precision=precision,
        validate_every=500,
    )  # fmt: skip
    stages = plan_stages(side, base, 0, steps)
    weights = run_stages(stages, lambda patch_px: source, lambda patch_px: None, out, resume)
    trained = network_of(stages[-1].plan, source, weights)
    deviation = export_onnx(trained, out / "model.onnx", side, channels)
    print(
        f"exported: {out / 'model.onnx'}; its scores differ from the trained network's by at most "
        f"{deviation:.1e}"
    )
