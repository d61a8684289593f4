"""The ``retrain`` command: the offline workshop."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from retraining.classifier import TrainingPlan, Validator
    from retraining.crops import Source
    from retraining.evaluation import Scorer
    from retraining.surfaces import Surfaces
    from station.recipe import Recipe

app = typer.Typer(
    name="retrain",
    help="Train, evaluate and export the networks that stations run.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_console = Console(stderr=True)

RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Recipe by name or path.")]
RecipesOption = Annotated[Path, typer.Option(help="Folder of recipes, for recipes given by name.")]
PartsOption = Annotated[int, typer.Option(min=10, help="Rendered parts to train on.")]
CacheOption = Annotated[Path, typer.Option(help="Where rendered sets are kept for the next run.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the rendered parts and of the training.")]
TestSeedOption = Annotated[
    int, typer.Option(min=0, help="Seed of the test parts; no training part shares it.")
]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Processes that render.")]


@app.command("classifier")
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
    chosen = _recipe(recipe, recipes)
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
    with _progress() as progress:
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
    with _counted("evaluating", parts_per_class * len(classes) + mixed) as report_part:
        shipped = ship(
            trained, training_set, chosen, engine or out / chosen.engine, provenance,
            per_class=parts_per_class, mixed=mixed, test_seed=test_seed, report=report_part,
        )  # fmt: skip
    print(evaluation_report(list(shipped.results), classes))
    print(f"\nengine folder: {engine or out / chosen.engine}")


@app.command("evaluate")
def evaluate_engines(
    engine: Annotated[
        list[Path] | None, typer.Option(help="Engine folder or ONNX file; may be given several times.")
    ] = None,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    parts_per_class: Annotated[int, typer.Option(min=1, help="Test parts of each class.")] = 80,
    mixed: Annotated[int, typer.Option(min=0, help="Test parts with several kinds of defect.")] = 20,
    seed: TestSeedOption = 7,
    csv: Annotated[Path | None, typer.Option(help="Write one row a part and engine.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw detection against contrast and size (PNG).")
    ] = None,
    backend: Annotated[str, typer.Option(help="Back end for engine folders, or auto.")] = ("onnxruntime-cpu"),
) -> None:
    """Inspect rendered parts with unseen seeds as the station would, and print the tables.

    Of an engine folder both precisions are evaluated, side by side on the same frames.

    Examples:
        retrain evaluate --parts-per-class 80 --seed 7

        retrain evaluate --engine runs/classifier/servo-motor-housing --parts-per-class 10 --csv parts.csv

    """
    from retraining.evaluation import evaluate, rendered_test_parts, write_results
    from retraining.report import draw_detection, evaluation_report

    chosen = _recipe(recipe, recipes)
    scorers = _scorers(engine or [Path("engines") / chosen.engine], backend)
    total = parts_per_class * len(chosen.classes) + mixed
    with _counted("inspecting", total) as report:
        parts = rendered_test_parts(chosen, parts_per_class, seed, mixed)
        results = evaluate(scorers, chosen, parts, report)
    if csv is not None:
        write_results(results, csv)
    if picture is not None:
        draw_detection(results, picture)
    print(evaluation_report(results, tuple(c.name for c in chosen.classes)))


@app.command("commutators")
def commutators(
    data: Annotated[Path, typer.Argument(help="KolektorSDD: a folder with normal/, defect/ and masks/.")],
    recipe: RecipeOption = "commutator",
    recipes: RecipesOption = Path("recipes"),
    seeds: Annotated[int, typer.Option(min=1, help="How many trainings, each with its own seed.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps a training.")] = 300,
    last_training_item: Annotated[int, typer.Option(help="Items up to this number train.")] = 33,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/commutators"),
) -> None:
    """Train on photographs of some commutators and inspect the others, once for each seed.

    The photographs' licence is CC BY-NC-SA: networks trained on them are for your own research only.

    Examples:
        retrain commutators path/to/kolektorsdd --seeds 3

    """
    from retraining.classifier import TrainingPlan
    from retraining.commutators import commutator_table, inspect_commutators

    chosen = _recipe(recipe, recipes)
    with _progress() as progress:
        task = progress.add_task("training", total=steps, status="")
        results = inspect_commutators(
            data, chosen, out, seeds=seeds, last_training_item=last_training_item,
            plan=TrainingPlan(steps=steps),
            engines=True,
            report=lambda step, line: progress.update(task, completed=step, status=line),
        )  # fmt: skip
    print(commutator_table(results))
    first = out / "seed-1"
    print(f"\ntry: station inspect {data} -r {first / f'{chosen.name}.yaml'} --engines {first / 'engines'}")


def main() -> None:
    """Run the command; an error the person can mend is one line on stderr and exit code 2."""
    from deploy.quantise import QuantiseError
    from retraining.classifier import TrainingError
    from retraining.export import ExportError
    from retraining.surfaces import DatasetError
    from station.engines.interface import EngineError
    from station.recipe import RecipeError

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (RecipeError, DatasetError, TrainingError, ExportError, QuantiseError, EngineError) as error:
        print(f"retrain: {error}", file=sys.stderr)
        sys.exit(2)


def _recipe(name: str, folder: Path) -> Recipe:
    from station.recipe import find_recipe, load_recipe

    return load_recipe(find_recipe(name, folder))


def _rendered(recipe: Recipe, parts: int, seed: int, folder: Path, processes: int) -> Surfaces:
    from retraining.rendered import render_surfaces

    with _counted("rendering", parts) as report:
        return render_surfaces(
            recipe, parts, seed, folder, processes=processes, report=lambda done: report(done, "")
        )


def _validation_set(recipe: Recipe, seed: int, folder: Path, processes: int) -> Surfaces:
    from retraining.rendered import VALIDATION, VALIDATION_PARTS, render_surfaces

    return render_surfaces(recipe, VALIDATION_PARTS, seed, folder, mixture=VALIDATION, processes=processes)


def _scorers(paths: list[Path], backend: str) -> dict[str, Scorer]:
    """A scorer for each precision of each engine folder, and for each ONNX file."""
    from retraining.export import onnx_scorer
    from station.engines import open_engine
    from station.engines.store import load_manifest

    found: dict[str, Scorer] = {}
    for path in paths:
        if path.is_file():
            found[path.name] = onnx_scorer(path)
            continue
        manifest = load_manifest(path)
        for precision in ("fp32", "int8"):
            if precision in manifest.files:
                loaded = open_engine(path, backend, precision)
                found[f"{loaded.info.name} {loaded.info.backend} {precision}"] = loaded.scores
    return found


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


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )  # fmt: skip
    with Progress(*columns, console=_console) as progress:
        yield progress


@contextmanager
def _counted(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar; lines of text that are not empty stay above it."""
    with _progress() as progress:
        task = progress.add_task(what, total=total, status="")

        def report(done: int, line: str) -> None:
            progress.update(task, completed=done)
            if line:
                progress.console.print(line, highlight=False)

        yield report
