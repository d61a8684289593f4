"""``retrain golden``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import RecipeOption, RecipesOption, load_named_recipe


def golden(
    engine: Annotated[
        Path | None, typer.Option(help="Engine folder. Default: the recipe's engine in engines/.")
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Record the folder's golden parts again; choose no new ones."),
    ] = False,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
) -> None:
    """Choose the golden parts of an engine folder again, and record what the recipe needs of them.

    The networks stay as they are. Golden parts are rendered parts of every class that the networks decide
    correctly by the recipe's patches and decision rules, with and without rounding to bf16. A golden part
    that still qualifies is kept. With `--keep` the parts in the folder are recorded again: after a change of
    the overlap or of the decision rules, and for engines that were trained on photographs.

    Examples:

        retrain golden --engine engines/servo-motor-housing

        retrain golden --keep --engine engines/commutator --recipe commutator

    """
    from deploy.engine_folder import record_again
    from retraining.shipping.engine import renew_golden_parts

    chosen = load_named_recipe(recipe, recipes)
    folder = engine or Path("engines") / chosen.engine
    manifest = record_again(folder, chosen) if keep else renew_golden_parts(folder, chosen)
    print(f"{len(manifest.golden)} golden parts in {manifest.folder / 'golden'}")
