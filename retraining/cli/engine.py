"""``retrain engine``: an engine for a station, trained on rendered parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    CacheOption,
    L2Option,
    LearningRateOption,
    MixedOption,
    NetworkOption,
    PartsPerClassOption,
    PrecisionOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    ResumeOption,
    TestSeedOption,
    ThreadsOption,
    counted,
    load_named_recipe,
    progress_bars,
)
from retraining.cli.stages import network_of, run_stages
from station.cli.parameters import FOLDER_MADE

if TYPE_CHECKING:
    from retraining.classifiers.loop import TrainingPlan, Validator
    from retraining.surfaces import Surfaces
    from retraining.surfaces.rendered import Mixture
    from station.recipe import Recipe


def engine(
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    target: Annotated[
        Path | None,
        typer.Option("--engine", help="Engine folder to write. Default: below the run folder."),
        FOLDER_MADE,
    ] = None,
    network: NetworkOption = "inception-cnn",
    parts: Annotated[int, typer.Option(min=10, help="Rendered parts to train on.")] = 640,
    small_steps: Annotated[
        int, typer.Option(min=0, help="Steps of the first stage, on 128-px patches; 0 leaves it out.")
    ] = 1000,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of the second stage, on the recipe's patches.")
    ] = 520,
    hard_steps: Annotated[
        int,
        typer.Option(
            min=0,
            help="Steps of the last stage, on fresh parts and the mistakes made there; 0 leaves it out.",
        ),
    ] = 420,
    hard_parts: Annotated[int, typer.Option(min=10, help="Fresh rendered parts for the last stage.")] = 420,
    batch: Annotated[
        int, typer.Option(min=2, help="Patches per step of the first stage; the others take half of it.")
    ] = 32,
    learning_rate: LearningRateOption = 1e-3,
    l2: L2Option = 1e-5,
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training and of the rendered parts.")] = 1,
    test_seed: TestSeedOption = 7,
    parts_per_class: PartsPerClassOption = 80,
    mixed: MixedOption = 20,
    tensorrt_int8: Annotated[
        bool,
        typer.Option("--tensorrt-int8", help="Write INT8 for TensorRT too; its evaluation is slow."),
    ] = False,
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
    out: Annotated[
        Path, typer.Option(help="Run folder: checkpoints, log, curves, weights."), FOLDER_MADE
    ] = Path("runs/engine"),
    resume: ResumeOption = True,
) -> None:
    """Train a network on rendered parts, test it as the station would, and write an engine folder.

    The training has three stages: small patches, the recipe's patches, and fresh parts with the mistakes that
    the network makes on them. Whole parts are tested through the station's own patching and decision. Ctrl-C
    or SIGTERM stops a run with a checkpoint; the same command continues it.

    Examples:

        retrain engine --engine engines/servo-motor-housing

        retrain engine --parts 40 --small-steps 50 --steps 20 --hard-steps 0 --out runs/quick

    """
    import torch

    from retraining.classifiers.patch_sizes import Stage, plan_stages
    from retraining.classifiers.plan import TrainingPlan
    from retraining.classifiers.validation import part_validator, recipe_at
    from retraining.evaluation.report import evaluation_report
    from retraining.shipping.engine import Provenance, ship
    from retraining.surfaces.crops import RandomCrops
    from retraining.surfaces.rendered import FRESH, VALIDATION, VALIDATION_PARTS

    if threads:
        torch.set_num_threads(threads)
    chosen = load_named_recipe(recipe, recipes)
    side = chosen.patch.size

    def rendered(what: str, count: int, set_seed: int, mixture: Mixture | None = None) -> Surfaces:
        return _render(what, chosen, count, set_seed, cache / f"set-{set_seed}", processes, mixture)

    surfaces = rendered("rendering", parts, seed)
    held_out = rendered("rendering the validation parts", VALIDATION_PARTS, seed + 1, VALIDATION)

    def validator_for(patch_px: int) -> Validator:
        return part_validator(held_out, recipe_at(chosen, patch_px))

    base = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, l2=l2, seed=seed, precision=precision,
        validate_every=500,
    )  # fmt: skip
    stages = plan_stages(side, base, small_steps, steps)

    def crops(patch_px: int) -> RandomCrops:
        return RandomCrops(surfaces, recipe_at(chosen, patch_px).patch)

    weights = run_stages(stages, crops, validator_for, out, resume)
    if hard_steps:
        last = replace(
            stages[-1].plan, steps=hard_steps, learning_rate=learning_rate * 0.25, replay_share=0.25,
            seed=seed + 2000,
        )  # fmt: skip
        fresh = rendered("rendering fresh parts", hard_parts, seed + 3, FRESH)
        weights = _train_on_mistakes(
            last, weights, surfaces, fresh, chosen, validator_for(side), out / "hard", resume
        )
        stages = (*stages, Stage(side, last))
    trained = network_of(stages[-1].plan, RandomCrops(surfaces, chosen.patch), weights)
    provenance = Provenance(
        network=network,
        data=_data_described(parts, seed, hard_parts if hard_steps else 0),
        training={f"stage {n}, {s.patch_px} px": _plan_described(s.plan) for n, s in enumerate(stages, 1)},
        command=(
            f"retrain engine --seed {seed} --parts {parts} --small-steps {small_steps} --steps {steps} "
            f"--hard-steps {hard_steps} --hard-parts {hard_parts}"
        ),
    )
    folder = target or out / chosen.engine
    classes = tuple(c.name for c in chosen.classes)
    with counted("evaluating", parts_per_class * len(classes) + mixed) as report:
        shipped = ship(
            trained, surfaces, chosen, folder, provenance, per_class=parts_per_class, mixed=mixed,
            test_seed=test_seed, tensorrt_int8=tensorrt_int8, report=report,
        )  # fmt: skip
    print(evaluation_report(list(shipped.results), classes))
    print(f"\nengine folder: {folder}")


def _train_on_mistakes(
    plan: TrainingPlan,
    weights: Path,
    known: Surfaces,
    fresh: Surfaces,
    recipe: Recipe,
    validate: Validator,
    folder: Path,
    resume: bool,
) -> Path:
    """The weights of the last stage."""
    from retraining.classifiers.hard_patches import train_on_hard_patches

    with progress_bars() as progress:
        task = progress.add_task("hard patches", total=plan.steps, status="looking for mistakes")
        weights = train_on_hard_patches(
            plan, weights, known, fresh, recipe, folder, validate=validate, resume=resume,
            report=lambda step, line: progress.update(task, completed=step, status=line),
        )  # fmt: skip
    print(f"best weights: {weights}")
    return weights


def _render(
    what: str, recipe: Recipe, parts: int, seed: int, folder: Path, processes: int, mixture: Mixture | None
) -> Surfaces:
    from retraining.surfaces.rendered import render_surfaces

    with counted(what, parts) as report:
        return render_surfaces(
            recipe, parts, seed, folder, mixture=mixture, processes=processes,
            report=lambda done: report(done, ""),
        )  # fmt: skip


def _data_described(parts: int, seed: int, fresh: int) -> str:
    from retraining.surfaces.rendered import Mixture
    from simulation.rendering.parts import RENDERER_VERSION

    mixture = Mixture()
    low, high = mixture.defects
    later = (
        f" The last stage adds {fresh} fresh parts (set seed {seed + 3}) and repeats the mistakes made there."
    )
    return (
        f"{parts} rendered servo-motor housings of six widths (`simulation.rendering.parts`, renderer "
        f"version {RENDERER_VERSION}, set seed {seed}): {mixture.sound_share:.0%} without a defect, the "
        f"others with {low} to {high} defects of mixed kinds; on {mixture.faint_share:.0%} of those every "
        "defect is moderate or marginal. Patches are random crops, half of them sound, half of them on the "
        "station's patch grid, the defect classes in equal parts." + (later if fresh else "")
    )


def _plan_described(plan: TrainingPlan) -> str:
    precision = "the faster of fp32 and bf16" if plan.precision == "auto" else plan.precision
    return (
        f"{plan.steps} steps of {plan.batch} patches, AdamW, one cycle to {plan.learning_rate:g}, "
        f"L2 {plan.l2:g}, dropout {plan.dropout:g}, label smoothing {plan.label_smoothing:g}, "
        f"average {plan.ema:g}, {plan.replay_share:.0%} replayed, {precision}, "
        f"seed {plan.seed}"
    )
