"""``retrain classifier`` without ``--dataset``: an engine for a station."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from retraining.cli.options import counted, load_named_recipe, progress_bars

if TYPE_CHECKING:
    from torch import nn

    from retraining.classifiers.loop import TrainingPlan, Validator
    from retraining.classifiers.stages import Stage
    from retraining.surfaces import Surfaces
    from retraining.surfaces.crops import Source
    from station.recipe import Recipe


@dataclass(frozen=True, slots=True)
class StationTraining:
    """What was asked for, as ``retrain classifier --help`` describes it."""

    recipe: str
    recipes: Path
    data: Path | None
    engine: Path | None
    parts: int
    small_steps: int
    steps: int
    hard_steps: int
    hard_parts: int
    test_seed: int
    parts_per_class: int
    mixed: int
    tensorrt_int8: bool
    cache: Path
    processes: int
    out: Path
    resume: bool


def train_for_station(asked: StationTraining, base: TrainingPlan) -> None:
    """Train for a recipe's classes and patches, on a folder of patches or on rendered parts."""
    chosen = load_named_recipe(asked.recipe, asked.recipes)
    base = replace(base, validate_every=500)
    if asked.data is not None:
        _on_patches(asked, base, chosen, asked.data)
    else:
        _on_rendered_parts(asked, base, chosen)


def _on_patches(asked: StationTraining, base: TrainingPlan, recipe: Recipe, folder: Path) -> None:
    """Train on ready patches and write ``model.onnx``."""
    from retraining.classifiers.stages import stages
    from retraining.shipping.export import export_onnx
    from retraining.surfaces.crops import PatchFolder

    classes = tuple(c.name for c in recipe.classes)
    source = PatchFolder(folder, classes, recipe.patch.size, recipe.surface.channels)
    plan = stages(recipe.patch.size, base, 0, asked.steps)
    weights = _train(asked, plan, lambda patch_px: source, lambda patch_px: None)
    trained = _trained(plan[-1], source, weights)
    deviation = export_onnx(trained, asked.out / "model.onnx", recipe.patch.size, recipe.surface.channels)
    print(f"exported: {asked.out / 'model.onnx'}, at most {deviation:.1e} from the trained network")


def _on_rendered_parts(asked: StationTraining, base: TrainingPlan, recipe: Recipe) -> None:
    """Train in stages on rendered parts, repeat mistakes on fresh ones, and write an engine folder."""
    from retraining.classifiers.stages import stages
    from retraining.classifiers.validation import part_validator, recipe_at
    from retraining.evaluation.report import evaluation_report
    from retraining.shipping.engine import Provenance, ship
    from retraining.surfaces.crops import RandomCrops

    seed = base.seed
    surfaces = _rendered(recipe, asked.parts, seed, asked.cache / f"set-{seed}", asked.processes)
    held_out = _validation_set(recipe, seed + 1, asked.cache / f"set-{seed + 1}", asked.processes)
    plan = stages(recipe.patch.size, base, asked.small_steps, asked.steps)

    def validator_for(patch_px: int) -> Validator:
        return part_validator(held_out, recipe_at(recipe, patch_px))

    weights = _train(asked, plan, lambda patch_px: RandomCrops(surfaces, patch_px), validator_for)
    if asked.hard_steps:
        last, weights = _on_hard_patches(
            asked, base, plan[-1], weights, surfaces, recipe, validator_for(recipe.patch.size)
        )
        plan = (*plan, last)
    trained = _trained(plan[-1], RandomCrops(surfaces, recipe.patch.size), weights)
    provenance = Provenance(
        network=base.network,
        data=_data_described(asked.parts, seed, asked.hard_parts if asked.hard_steps else 0),
        training={f"stage {n}, {s.patch_px} px": _plan_described(s.plan) for n, s in enumerate(plan, 1)},
        command=(
            f"retrain classifier --seed {seed} --parts {asked.parts} --small-steps {asked.small_steps} "
            f"--steps {asked.steps} --hard-steps {asked.hard_steps} --hard-parts {asked.hard_parts}"
        ),
    )
    folder = asked.engine or asked.out / recipe.engine
    classes = tuple(c.name for c in recipe.classes)
    with counted("evaluating", asked.parts_per_class * len(classes) + asked.mixed) as report_part:
        shipped = ship(
            trained, surfaces, recipe, folder, provenance,
            per_class=asked.parts_per_class, mixed=asked.mixed, test_seed=asked.test_seed,
            tensorrt_int8=asked.tensorrt_int8, report=report_part,
        )  # fmt: skip
    print(evaluation_report(list(shipped.results), classes))
    print(f"\nengine folder: {folder}")


def _train(
    asked: StationTraining,
    plan: tuple[Stage, ...],
    source_for: Callable[[int], Source],
    validator_for: Callable[[int], Validator | None],
) -> Path:
    from retraining.classifiers.stages import train_in_stages

    with progress_bars() as progress:
        tasks = {
            s.patch_px: progress.add_task(f"{s.patch_px}-px patches", total=s.plan.steps, status="")
            for s in plan
        }

        def report(stage: Stage, step: int, line: str) -> None:
            progress.update(tasks[stage.patch_px], completed=step, status=line)

        weights = train_in_stages(
            plan, source_for, asked.out, validator_for=validator_for, resume=asked.resume, report=report
        )
    print(f"best weights: {weights}")
    return weights


def _on_hard_patches(
    asked: StationTraining,
    base: TrainingPlan,
    before: Stage,
    weights: Path,
    known: Surfaces,
    recipe: Recipe,
    validate: Validator,
) -> tuple[Stage, Path]:
    """The last stage and its weights."""
    from retraining.classifiers.hard_patches import train_on_hard_patches
    from retraining.classifiers.stages import Stage
    from retraining.surfaces.rendered import FRESH, render_surfaces

    last = replace(
        before.plan, steps=asked.hard_steps, learning_rate=base.learning_rate * 0.25, replay_share=0.25,
        seed=base.seed + 2000,
    )  # fmt: skip
    fresh = render_surfaces(
        recipe, asked.hard_parts, base.seed + 3, asked.cache / f"set-{base.seed + 3}", mixture=FRESH,
        processes=asked.processes,
    )  # fmt: skip
    with progress_bars() as progress:
        task = progress.add_task("hard patches", total=asked.hard_steps, status="looking for mistakes")
        weights = train_on_hard_patches(
            last, weights, known, fresh, recipe, asked.out / "hard", validate=validate, resume=asked.resume,
            report=lambda step, line: progress.update(task, completed=step, status=line),
        )  # fmt: skip
    print(f"best weights: {weights}")
    return Stage(recipe.patch.size, last), weights


def _trained(stage: Stage, source: Source, weights: Path) -> nn.Module:
    from retraining.classifiers.loop import build_network, load_weights

    network = build_network(stage.plan, source)
    network.load_state_dict(load_weights(weights))
    return network


def _rendered(recipe: Recipe, parts: int, seed: int, folder: Path, processes: int) -> Surfaces:
    from retraining.surfaces.rendered import render_surfaces

    with counted("rendering", parts) as report:
        return render_surfaces(
            recipe, parts, seed, folder, processes=processes, report=lambda done: report(done, "")
        )


def _validation_set(recipe: Recipe, seed: int, folder: Path, processes: int) -> Surfaces:
    from retraining.surfaces.rendered import VALIDATION, VALIDATION_PARTS, render_surfaces

    with counted("rendering the validation parts", VALIDATION_PARTS) as report:
        return render_surfaces(
            recipe, VALIDATION_PARTS, seed, folder, mixture=VALIDATION, processes=processes,
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
    from retraining.classifiers.loop import resolve_precision

    return (
        f"{plan.steps} steps of {plan.batch} patches, AdamW, one cycle to {plan.learning_rate:g}, "
        f"L2 {plan.l2:g}, dropout {plan.dropout:g}, label smoothing {plan.label_smoothing:g}, "
        f"average {plan.ema:g}, {plan.replay_share:.0%} replayed, {resolve_precision(plan.precision)}, "
        f"seed {plan.seed}"
    )
