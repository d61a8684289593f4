"""``retrain fine-tune``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    CacheOption,
    MixedOption,
    PartsPerClassOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    ResumeOption,
    counted,
    load_named_recipe,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE


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
    from retraining.classifiers.loop import build_network, load_weights
    from retraining.errors import TrainingError
    from retraining.evaluation.report import evaluation_report
    from retraining.shipping.engine import Provenance, ship
    from retraining.shipping.fine_tuning import FINE_TUNING
    from retraining.shipping.fine_tuning import fine_tune as train
    from retraining.surfaces.crops import RandomCrops
    from retraining.surfaces.rendered import FRESH, render_surfaces
    from station.engines.folder import load_manifest

    chosen = load_named_recipe(recipe, recipes)
    manifest = load_manifest(engine)
    classes = tuple(c.name for c in chosen.classes)
    if out.name != manifest.name or out.resolve() == engine.resolve():
        raise TrainingError(
            f"--out {out}: an engine folder has the name of its engine and must not replace the old one; "
            f"write to {out / manifest.name}"
        )
    with counted("rendering", known + fresh) as shown:
        many = render_surfaces(
            chosen, known, seed, cache / f"set-{seed}", processes=processes,
            report=lambda done: shown(done, ""),
        )  # fmt: skip
        unseen = render_surfaces(
            chosen, fresh, seed + 1, cache / f"set-{seed + 1}", mixture=FRESH, processes=processes,
            report=lambda done: shown(known + done, ""),
        )  # fmt: skip
    plan = replace(FINE_TUNING, steps=steps, seed=seed + 2990, validate_every=steps)
    with progress_bars() as progress:
        looking = progress.add_task("looking for mistakes", total=fresh, status="")
        training = progress.add_task("training", total=steps, status="")
        weights = train(
            engine, chosen, many, unseen, run, plan=plan, resume=resume,
            mined=lambda done: progress.update(looking, completed=done),
            report=lambda step, line: progress.update(training, completed=step, status=line),
        )  # fmt: skip
    plan = replace(plan, network=manifest.network)
    network = build_network(plan, RandomCrops(many, chosen.patch))
    network.load_state_dict(load_weights(weights))
    provenance = Provenance(
        network=manifest.network,
        data=(
            f"Started from engine {manifest.name} {manifest.digest[:12]}, see its card. Then {fresh} fresh "
            f"rendered parts (set seed {seed + 1}) with the mistakes that it made there, and {known} parts "
            f"with many defects (set seed {seed})."
        ),
        training={
            "fine-tuning": f"{steps} steps of {plan.batch} patches, one cycle to {plan.learning_rate:g}"
        },
        command=f"retrain fine-tune {engine} --seed {seed} --fresh {fresh} --known {known} --steps {steps}",
    )
    with counted("evaluating", parts_per_class * len(classes) + mixed) as report_part:
        ship(
            network, many, chosen, out, provenance,
            per_class=parts_per_class, mixed=mixed, test_seed=test_seed, report=report_part,
            evaluated=lambda results: print(evaluation_report(results, classes)),
        )  # fmt: skip
    print(f"\nengine folder: {out}")


def further() -> None:
    """Refused: the name that ``retrain fine-tune`` had before."""
    from retraining.errors import TrainingError

    raise TrainingError("`retrain further` is called `retrain fine-tune` now; its options are the same")
