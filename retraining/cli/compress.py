"""``retrain compress``: a compact engine for small devices."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.fine_tune import rendered_sets, run_bars
from retraining.cli.options import (
    AugmentOption,
    CacheOption,
    MixedOption,
    PartsPerClassOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    ResumeOption,
    ThreadsOption,
    chosen_changes,
    counted,
    load_named_recipe,
)
from retraining.cli.stages import network_of
from station.cli.parameters import FOLDER_MADE

if TYPE_CHECKING:
    from retraining.shipping.compressing import Comparison


def compress(
    engine: Annotated[Path, typer.Argument(help="Engine folder to compress; it is not changed.")],
    out: Annotated[
        Path, typer.Option(help="Engine folder to write; its name is the compact engine's."), FOLDER_MADE
    ],
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    fresh: Annotated[
        int, typer.Option(min=10, help="Rendered parts on which the engine's mistakes are looked for.")
    ] = 420,
    known: Annotated[int, typer.Option(min=10, help="Rendered parts with many defects.")] = 640,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training, of 16 patches each.")] = 1500,
    augment: AugmentOption = "flips,brightness,noise",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts for the training.")] = 21,
    test_seed: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Seed of test parts; may be repeated.", show_default="8, 9, 10 and 11"),
    ] = None,
    parts_per_class: PartsPerClassOption = 80,
    mixed: MixedOption = 20,
    threads: ThreadsOption = 0,
    run: Annotated[
        Path,
        typer.Option(help="Run folder: checkpoints, log, curves, weights, the engine before its test."),
        FOLDER_MADE,
    ] = Path("runs/compress"),
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
    resume: ResumeOption = True,
) -> None:
    """Make a smaller, faster engine from one of the network inception-cnn, for small devices.

    Filters are pruned by structure, the network that is left is taught by the whole one (distillation) and
    quantised. Then both judge the same unseen parts as the station would, in INT8. The compact engine is
    written to --out only if it is at least twice as fast, at most 0.3 points less accurate, and lets at most
    one more defective part escape; otherwise the command says what it lacks and ends with code 1.

    The compact engine has a name of its own. A station uses it only if a recipe names it as its `engine`.
    Ctrl-C or SIGTERM stops a run with a checkpoint; the same command continues it.

    Examples:

        retrain compress engines/servo-motor-housing --out engines/servo-motor-housing-compact

        retrain compress engines/servo-motor-housing --out runs/try/compact --steps 50 --test-seed 8

    """
    import torch

    from retraining.errors import TrainingError
    from retraining.evaluation.parts import rendered_test_parts, write_results
    from retraining.shipping.compressing import COMPRESSING, compared, compressible
    from retraining.shipping.compressing import compress as train
    from retraining.shipping.engine import Provenance, ship
    from retraining.surfaces.crops import RandomCrops

    if threads:
        torch.set_num_threads(threads)
    chosen = load_named_recipe(recipe, recipes)
    manifest = compressible(engine)
    if out.name == manifest.name:
        raise TrainingError(
            f"--out {out}: {out.name} is the name of the whole engine, and nobody could tell them apart; "
            f"write to {out.with_name(out.name + '-compact')}"
        )
    if out.exists():
        raise TrainingError(f"--out {out}: it is there already; remove it, or name another folder")
    many, unseen = rendered_sets(chosen, known, fresh, seed, cache, processes)
    plan = replace(
        COMPRESSING, augmentation=chosen_changes(augment), steps=steps, seed=seed + 2990, validate_every=steps
    )
    with run_bars(fresh, steps) as (mined, trained):
        weights = train(
            engine, chosen, many, unseen, run, plan=plan, resume=resume, mined=mined, report=trained
        )
    network = network_of(plan, RandomCrops(many, chosen.patch), weights)
    seeds = test_seed or [8, 9, 10, 11]
    count = parts_per_class * len(chosen.classes) + mixed
    provenance = Provenance(
        network=plan.network,
        data=(
            f"Pruned from engine {manifest.name} {manifest.digest[:12]} and taught by it. {fresh} rendered "
            f"parts (set seed {seed + 1}) with the mistakes that it makes there, and {known} parts with many "
            f"defects (set seed {seed})."
        ),
        training={
            "distillation": f"{steps} steps of {plan.batch} patches, one cycle to {plan.learning_rate:g}, "
            f"{plan.taught_share:.0%} of the loss from the whole network at temperature "
            f"{plan.taught_temperature:g}",
            "changes of patches": augment,
        },
        command=(
            f"retrain compress {engine} --out {out} --seed {seed} --fresh {fresh} --known {known} "
            f"--steps {steps} --augment {augment}"
        ),
    )
    made = run / out.name
    with counted("first test", count) as report:
        ship(
            network, many, replace(chosen, engine=out.name), made, provenance,
            per_class=parts_per_class, mixed=mixed, test_seed=seeds[0], report=report,
        )  # fmt: skip
    parts = (part for one in seeds for part in rendered_test_parts(chosen, parts_per_class, one, mixed))
    with counted("comparing both", count * len(seeds)) as report:
        comparison = compared(
            engine, made, chosen, parts, report=report,
            evaluated=lambda results: write_results(results, run / "parts.csv"),
        )  # fmt: skip
    _conclude(comparison, made, out, seeds)


def _conclude(comparison: Comparison, made: Path, out: Path, seeds: list[int]) -> None:
    """Write the engine to ``out`` if it may stand for the whole one; else say why not, and exit with 1."""
    from station.machine import cores, processor

    table = comparison.markdown()
    print(table)
    if comparison.problems:
        for problem in comparison.problems:
            print(f"not written to {out}: {problem}")
        print(f"it lies in {made}; train longer (--steps), or with more parts (--known, --fresh)")
        raise typer.Exit(1)
    with (made / "card.md").open("a", encoding="utf-8") as card:
        card.write(
            f"\n## Beside the whole engine\n\nTest seeds {', '.join(map(str, seeds))}; both in INT8, on "
            f"{cores()} cores of {processor().model}.\n\n{table}\n"
        )
    shutil.copytree(made, out)
    print(f"\nengine folder: {out}")
