"""``retrain further``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    CacheOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    counted,
    load_named_recipe,
    progress_bars,
)


def further(
    engine: Annotated[Path, typer.Argument(help="The engine folder to go on from; it is left as it is.")],
    out: Annotated[Path, typer.Option(help="The engine folder to write.")],
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    fresh: Annotated[int, typer.Option(min=10, help="Rendered parts to look for mistakes on.")] = 640,
    known: Annotated[int, typer.Option(min=10, help="Rendered parts with many defects beside them.")] = 300,
    steps: Annotated[int, typer.Option(min=1, help="Steps of 16 patches.")] = 640,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts; take one not trained on yet.")] = 11,
    test_seed: Annotated[int, typer.Option(min=0, help="Seed of the test parts.")] = 10,
    parts_per_class: Annotated[int, typer.Option(min=1, help="Test parts of each class.")] = 80,
    mixed: Annotated[int, typer.Option(min=0, help="Test parts with several kinds of defect.")] = 20,
    run: Annotated[Path, typer.Option(help="Run folder: checkpoints, log, curves, weights.")] = Path(
        "runs/further"
    ),
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
    resume: Annotated[bool, typer.Option(help="Go on from the run folder's checkpoint.")] = True,
) -> None:
    """Go on training an engine that ships already, on fresh rendered parts and its mistakes on them.

    The engine itself looks for the mistakes. The new engine folder is written beside the old one, evaluated
    on test parts through the station's own patching and decision.

    Examples:
        retrain further engines/servo-motor-housing --out runs/further/servo-motor-housing

    """
    from retraining.classifiers.loop import build_network, load_weights
    from retraining.errors import TrainingError
    from retraining.evaluation.report import evaluation_report
    from retraining.shipping.engine import Provenance, ship
    from retraining.shipping.further import FURTHER, train_further
    from retraining.surfaces.crops import RandomCrops
    from retraining.surfaces.rendered import FRESH, render_surfaces
    from station.engines.folder import load_manifest

    chosen = load_named_recipe(recipe, recipes)
    manifest = load_manifest(engine)
    classes = tuple(c.name for c in chosen.classes)
    if out.name != manifest.name or out.resolve() == engine.resolve():
        raise TrainingError(
            f"--out {out}: an engine's folder bears its name, and the old one stays as it is; "
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
    plan = replace(FURTHER, steps=steps, seed=seed + 2990, validate_every=steps)
    with progress_bars() as progress:
        looking = progress.add_task("looking for mistakes", total=fresh, status="")
        training = progress.add_task("training", total=steps, status="")
        weights = train_further(
            engine, chosen, many, unseen, run, plan=plan, resume=resume,
            mined=lambda done: progress.update(looking, completed=done),
            report=lambda step, line: progress.update(training, completed=step, status=line),
        )  # fmt: skip
    plan = replace(plan, network=manifest.network)
    network = build_network(plan, RandomCrops(many, chosen.patch.size))
    network.load_state_dict(load_weights(weights))
    provenance = Provenance(
        network=manifest.network,
        data=(
            f"Begun from engine {manifest.name} {manifest.digest[:12]}, see its card. Then {fresh} fresh "
            f"rendered parts (set seed {seed + 1}) with the mistakes it made there, and {known} parts with "
            f"many defects (set seed {seed})."
        ),
        training={
            "further stage": f"{steps} steps of {plan.batch} patches, one cycle to {plan.learning_rate:g}"
        },
        command=f"retrain further {engine} --seed {seed} --fresh {fresh} --known {known} --steps {steps}",
    )
    with counted("evaluating", parts_per_class * len(classes) + mixed) as report_part:
        ship(
            network, many, chosen, out, provenance,
            per_class=parts_per_class, mixed=mixed, test_seed=test_seed, report=report_part,
            evaluated=lambda results: print(evaluation_report(results, classes)),
        )  # fmt: skip
    print(f"\nengine folder: {out}")
