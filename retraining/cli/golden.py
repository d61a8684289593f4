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
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
) -> None:
    """Choose the golden parts of an engine folder again and record their scores.

    The networks stay as they are. Golden parts are rendered parts of every class that the networks decide
    correctly, with and without rounding to bf16. A golden part that still qualifies is kept.

    Examples:

        retrain golden --engine engines/servo-motor-housing

    """
    from retraining.shipping.engine import renew_golden_parts

    chosen = load_named_recipe(recipe, recipes)
    manifest = renew_golden_parts(engine or Path("engines") / chosen.engine, chosen)
    print(f"{len(manifest.golden)} golden parts in {manifest.folder / 'golden'}")
