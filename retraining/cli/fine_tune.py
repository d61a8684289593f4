"""``retrain fine-tune``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    AugmentOption,
    CacheOption,
    MixedOption,
    PartsPerClassOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    ResumeOption,
    chosen_changes,
    counted,
    load_named_recipe,
    progress_bars,
)
from retraining.cli.stages import network_of
from station.cli.parameters import FOLDER_MADE

if TYPE_CHECKING:
    from retraining.surfaces import Surfaces
    from station.recipe import Recipe


def fine_tune(
    engine: Annotated[Path, typer.Argument(help="Engine folder to start from; it is not changed.")],
    out: Annotated[Path, typer.Option(help="Engine folder to write."), FOLDER_MADE],
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    fresh: Annotated[
        int, typer.Option(min=10, help="Rendered parts on which mistakes are looked for.")
    ] = 640,
    known: Annotated[
        int, typer.Option(min=10, help="Rendered parts with many defects, trained on beside the fresh ones.")
    ] = 300,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training, of 16 patches each.")] = 640,
    augment: AugmentOption = "flips,brightness,noise",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the parts; use one that was not trained on yet.")
    ] = 11,
    test_seed: Annotated[int, typer.Option(min=0, help="Seed of the test parts.")] = 10,
    parts_per_class: PartsPerClassOption = 80,
    mixed: MixedOption = 20,
    run: Annotated[
        Path, typer.Option(help="Run folder: checkpoints, log, curves, weights."), FOLDER_MADE
    ] = Path("runs/fine-tune"),
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
    resume: ResumeOption = True,
) -> None:
    """Train an existing engine further, on fresh rendered parts and on the mistakes that it makes there.

    The engine itself inspects the fresh parts to find its mistakes. The old engine folder stays as it is; the
    new one is tested on test parts through the station's own patching and decision.

    Examples:

        retrain fine-tune engines/servo-motor-housing --out runs/fine-tune/servo-motor-housing

    """
    from retraining.errors import TrainingError
    from retraining.evaluation.report import evaluation_report
    from retraining.shipping.engine import Provenance, ship
    from retraining.shipping.fine_tuning import FINE_TUNING
    from retraining.shipping.fine_tuning import fine_tune as train
    from retraining.surfaces.crops import RandomCrops
    from station.engines.folder import load_manifest

    chosen = load_named_recipe(recipe, recipes)
    manifest = load_manifest(engine)
    classes = tuple(c.name for c in chosen.classes)
    if out.name != manifest.name or out.resolve() == engine.resolve():
        raise TrainingError(
            f"--out {out}: an engine folder has the name of its engine and must not replace the old one; "
            f"write to {out / manifest.name}"
        )
    many, unseen = rendered_sets(chosen, known, fresh, seed, cache, processes)
    plan = replace(
        FINE_TUNING,
        augmentation=chosen_changes(augment),
        steps=steps,
        seed=seed + 2990,
        validate_every=steps,
        network=manifest.network,
    )
    with run_bars(fresh, steps) as (mined, trained):
        weights = train(
            engine, chosen, many, unseen, run, plan=plan, resume=resume, mined=mined, report=trained
        )
    network = network_of(plan, RandomCrops(many, chosen.patch), weights)
    provenance = Provenance(
        network=manifest.network,
        data=(
            f"Started from engine {manifest.name} {manifest.digest[:12]}, see its card. Then {fresh} fresh "
            f"rendered parts (set seed {seed + 1}) with the mistakes that it made there, and {known} parts "
            f"with many defects (set seed {seed})."
        ),
        training={
            "fine-tuning": f"{steps} steps of {plan.batch} patches, one cycle to {plan.learning_rate:g}",
            "changes of patches": augment,
        },
        command=(
            f"retrain fine-tune {engine} --seed {seed} --fresh {fresh} --known {known} --steps {steps} "
            f"--augment {augment}"
        ),
    )
    with counted("evaluating", parts_per_class * len(classes) + mixed) as report_part:
        ship(
            network, many, chosen, out, provenance,
            per_class=parts_per_class, mixed=mixed, test_seed=test_seed, report=report_part,
            evaluated=lambda results: print(evaluation_report(results, classes)),
        )  # fmt: skip
    print(f"\nengine folder: {out}")


def rendered_sets(
    recipe: Recipe, known: int, fresh: int, seed: int, cache: Path, processes: int
) -> tuple[Surfaces, Surfaces]:
    """``known`` rendered parts with many defects, and ``fresh`` others, with a progress bar."""
    from retraining.surfaces.rendered import FRESH, render_surfaces

    with counted("rendering", known + fresh) as shown:
        many = render_surfaces(
            recipe, known, seed, cache / f"set-{seed}", processes=processes,
            report=lambda done: shown(done, ""),
        )  # fmt: skip
        unseen = render_surfaces(
            recipe, fresh, seed + 1, cache / f"set-{seed + 1}", mixture=FRESH, processes=processes,
            report=lambda done: shown(known + done, ""),
        )  # fmt: skip
    return many, unseen


@contextmanager
def run_bars(fresh: int, steps: int) -> Iterator[tuple[Callable[[int], None], Callable[[int, str], None]]]:
    """Two progress bars: parts on which mistakes were looked for, and steps of the training."""
    with progress_bars() as progress:
        looking = progress.add_task("looking for mistakes", total=fresh, status="")
        training = progress.add_task("training", total=steps, status="")
        yield (
            lambda done: progress.update(looking, completed=done),
            lambda step, line: progress.update(training, completed=step, status=line),
        )


def further() -> None:
    """Refused: the name that ``retrain fine-tune`` had before."""
    from retraining.errors import TrainingError

    raise TrainingError("`retrain further` is called `retrain fine-tune` now; its options are the same")
