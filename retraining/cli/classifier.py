"""``retrain classifier``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    CacheOption,
    PartsOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    SeedOption,
    TestSeedOption,
    counted,
    load_named_recipe,
    progress_bars,
)

if TYPE_CHECKING:
    from retraining.classifier import TrainingPlan, Validator
    from retraining.crops import Source
    from retraining.surfaces import Surfaces
    from station.recipe import Recipe


def classifier(
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with one sub-folder of patches a class; default: render parts."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder: checkpoints, log, curves, weights.")] = Path(
        "runs/classifier"
    ),
    engine: Annotated[
        Path | None, typer.Option(help="Write an engine folder here after training (rendered data only).")
    ] = None,
    parts: PartsOption = 640,
    small_steps: Annotated[
        int, typer.Option(min=0, help="Steps on 128-px patches first; 0 for none.")
    ] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Steps on the recipe's patches.")] = 520,
    hard_steps: Annotated[
        int, typer.Option(min=0, help="Last steps, on fresh parts and the mistakes made there; 0 for none.")
    ] = 420,
    hard_parts: Annotated[int, typer.Option(min=10, help="Fresh rendered parts for the last steps.")] = 420,
    batch: Annotated[
        int, typer.Option(min=2, help="Patches a step on 128 px; half of it on larger ones.")
    ] = 32,
    learning_rate: Annotated[float, typer.Option(help="At the top of the one-cycle schedule.")] = 1e-3,
    l2: Annotated[
        float, typer.Option(help="L2 penalty on convolution weights (the paper: 0.01, 100 epochs).")
    ] = 1e-5,
    network: Annotated[str, typer.Option(help="inception-cnn or baseline-cnn.")] = "inception-cnn",
    precision: Annotated[
        str, typer.Option(help="auto, fp32 or bf16; auto: bf16 where the processor has it.")
    ] = "auto",
    seed: SeedOption = 1,
    test_seed: TestSeedOption = 7,
    parts_per_class: Annotated[int, typer.Option(min=1, help="Test parts of each class.")] = 80,
    mixed: Annotated[int, typer.Option(min=0, help="Test parts with several kinds of defect.")] = 20,
    tensorrt_int8: Annotated[
        bool, typer.Option("--tensorrt-int8", help="Ship INT8 for TensorRT too; its evaluation is slow.")
    ] = False,
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
    threads: Annotated[int, typer.Option(min=0, help="Threads for training; 0: all cores.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the run folder's checkpoint.")] = True,
) -> None:
    """Train a classifier on rendered parts or on a folder of patches, evaluate it, export it.

    An interrupted run (Ctrl-C, SIGTERM) leaves a checkpoint; the same command goes on from it.

    Examples:
        retrain classifier --engine engines/servo-motor-housing

        retrain classifier --parts 40 --small-steps 50 --steps 20 --hard-steps 0 --out runs/quick

        retrain classifier --data my-patches --recipe my-product --out runs/my-product

    """
    import torch

    from retraining.classifier import TrainingPlan, build_network, load_weights
    from retraining.crops import PatchFolder, RandomCrops
    from retraining.mining import train_on_hard_patches
    from retraining.rendered import FRESH, render_surfaces
    from retraining.stages import Stage, stages, train_in_stages
    from retraining.validation import part_validator, recipe_at

    if threads:
        torch.set_num_threads(threads)
    chosen = load_named_recipe(recipe, recipes)
    classes = tuple(c.name for c in chosen.classes)
    base = TrainingPlan(
        network=network, batch=batch, learning_rate=learning_rate, l2=l2, seed=seed, precision=precision,
        validate_every=500,
    )  # fmt: skip
    source_for: Callable[[int], Source]
    validator_for: Callable[[int], Validator | None]
    if data is not None:
        folder_source = PatchFolder(data, classes, chosen.patch.size, chosen.surface.channels)
        plan = stages(chosen.patch.size, base, 0, steps)
        source_for = lambda patch_px: folder_source  # noqa: E731
        validator_for = lambda patch_px: None  # noqa: E731
        training_set = None
    else:
        training_set = _rendered(chosen, parts, seed, cache / f"set-{seed}", processes)
        held_out = _validation_set(chosen, seed + 1, cache / f"set-{seed + 1}", processes)
        surfaces = training_set
        plan = stages(chosen.patch.size, base, small_steps, steps)
        source_for = lambda patch_px: RandomCrops(surfaces, patch_px)  # noqa: E731
        validator_for = lambda patch_px: part_validator(held_out, recipe_at(chosen, patch_px))  # noqa: E731
    with progress_bars() as progress:
        tasks = {
            s.patch_px: progress.add_task(f"{s.patch_px}-px patches", total=s.plan.steps, status="")
            for s in plan
        }

        def report(stage: Stage, step: int, line: str) -> None:
            progress.update(tasks[stage.patch_px], completed=step, status=line)

        weights = train_in_stages(
            plan, source_for, out, validator_for=validator_for, resume=resume, report=report
        )
        if training_set is not None and hard_steps:
            last = replace(
                plan[-1].plan, steps=hard_steps, learning_rate=learning_rate * 0.25, replay_share=0.25,
                seed=seed + 2000,
            )  # fmt: skip
            fresh = render_surfaces(
                chosen, hard_parts, seed + 3, cache / f"set-{seed + 3}", mixture=FRESH, processes=processes
            )
            task = progress.add_task("hard patches", total=hard_steps, status="looking for mistakes")
            weights = train_on_hard_patches(
                last, weights, training_set, fresh, chosen, out / "hard",
                validate=validator_for(chosen.patch.size), resume=resume,
                report=lambda step, line: progress.update(task, completed=step, status=line),
            )  # fmt: skip
            plan = (*plan, Stage(chosen.patch.size, last))
    print(f"best weights: {weights}")
    trained = build_network(plan[-1].plan, source_for(chosen.patch.size))
    trained.load_state_dict(load_weights(weights))
    if training_set is None:
        from retraining.export import export_onnx

        deviation = export_onnx(trained, out / "model.onnx", chosen.patch.size, chosen.surface.channels)
        print(f"exported: {out / 'model.onnx'}, at most {deviation:.1e} from the trained network")
        return
    from retraining.report import evaluation_report
    from retraining.shipping import Provenance, ship

    provenance = Provenance(
        network=network,
        data=_data_described(parts, seed, hard_parts if hard_steps else 0),
        training={f"stage {n}, {s.patch_px} px": _plan_described(s.plan) for n, s in enumerate(plan, 1)},
        command=(
            f"retrain classifier --seed {seed} --parts {parts} --small-steps {small_steps} --steps {steps} "
            f"--hard-steps {hard_steps} --hard-parts {hard_parts}"
        ),
    )
    with counted("evaluating", parts_per_class * len(classes) + mixed) as report_part:
        ship(
            trained, training_set, chosen, engine or out / chosen.engine, provenance,
            per_class=parts_per_class, mixed=mixed, test_seed=test_seed, tensorrt_int8=tensorrt_int8,
            report=report_part,
            evaluated=lambda results: print(evaluation_report(results, classes)),
        )  # fmt: skip
    print(f"\nengine folder: {engine or out / chosen.engine}")


def _rendered(recipe: Recipe, parts: int, seed: int, folder: Path, processes: int) -> Surfaces:
    from retraining.rendered import render_surfaces

    with counted("rendering", parts) as report:
        return render_surfaces(
            recipe, parts, seed, folder, processes=processes, report=lambda done: report(done, "")
        )


def _validation_set(recipe: Recipe, seed: int, folder: Path, processes: int) -> Surfaces:
    from retraining.rendered import VALIDATION, VALIDATION_PARTS, render_surfaces

    return render_surfaces(recipe, VALIDATION_PARTS, seed, folder, mixture=VALIDATION, processes=processes)


def _data_described(parts: int, seed: int, fresh: int) -> str:
    from retraining.rendered import Mixture
    from simulation.parts import RENDERER_VERSION

    mixture = Mixture()
    low, high = mixture.defects
    later = (
        f" The last stage adds {fresh} fresh parts (set seed {seed + 3}) and repeats the mistakes made there."
    )
    return (
        f"{parts} rendered servo-motor housings of six widths (`simulation.parts`, renderer version "
        f"{RENDERER_VERSION}, set seed {seed}): {mixture.sound_share:.0%} without a defect, the others with "
        f"{low} to {high} defects of mixed kinds; on {mixture.faint_share:.0%} of those every defect is "
        "moderate or marginal. Patches are random crops, half of them sound, half of them on the station's "
        "patch grid, the defect classes in equal parts." + (later if fresh else "")
    )


def _plan_described(plan: TrainingPlan) -> str:
    from retraining.classifier import resolve_precision

    return (
        f"{plan.steps} steps of {plan.batch} patches, AdamW, one cycle to {plan.learning_rate:g}, "
        f"L2 {plan.l2:g}, dropout {plan.dropout:g}, label smoothing {plan.label_smoothing:g}, "
        f"average {plan.ema:g}, {plan.replay_share:.0%} replayed, {resolve_precision(plan.precision)}, "
        f"seed {plan.seed}"
    )
