"""``retrain commutators``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import RecipeOption, RecipesOption, load_named_recipe, progress_bars
from station.cli.parameters import FOLDER_MADE


def commutators(
    data: Annotated[
        Path, typer.Argument(help="The KolektorSDD pictures: a folder with normal/, defect/ and masks/.")
    ],
    recipe: RecipeOption = "commutator",
    recipes: RecipesOption = Path("recipes"),
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings, each with its own seed.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps per training.")] = 300,
    last_training_item: Annotated[
        int, typer.Option(help="Commutators up to this number are trained on; the others are inspected.")
    ] = 33,
    out: Annotated[Path, typer.Option(help="Run folder."), FOLDER_MADE] = Path("runs/commutators"),
) -> None:
    """Train on photographs of some commutators and inspect the others, once per seed.

    The photographs have the licence CC BY-NC-SA: use networks trained on them for your own research only.

    Examples:

        retrain commutators path/to/kolektorsdd --seeds 3

    """
    from retraining.classifiers.loop import TrainingPlan
    from retraining.experiments.commutators import commutator_table, inspect_commutators

    chosen = load_named_recipe(recipe, recipes)
    with progress_bars() as progress:
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
