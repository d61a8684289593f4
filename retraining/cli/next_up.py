"""``retrain next``: what to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import RecipesOption, counted, listed, load_named_recipe
from station.cli.parameters import FILE_MADE


def next_up(
    data: Annotated[Path, typer.Argument(help="A data set of whole pictures, or a folder of pictures.")],
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="Recipe of the product, by name or path.")],
    recipes: RecipesOption = Path("recipes"),
    engines: Annotated[Path, typer.Option(help="Folder of engines; the recipe names its own.")] = Path(
        "engines"
    ),
    count: Annotated[int, typer.Option(min=1, help="Pictures to suggest.")] = 50,
    classes: Annotated[str, typer.Option(help="Classes of a folder, separated by commas.")] = "",
    out: Annotated[Path, typer.Option(help="CSV file of the order."), FILE_MADE] = Path("next.csv"),
) -> None:
    """Order pictures by how much a label of each would teach, and say whether more labels pay.

    Pictures come first that are far from training, on which two classes are close, or on which the engine
    differs from an earlier label, and no two that look alike. What people have labelled already, by
    `retrain label`, is not suggested again; a learning curve on it says when more labels stop paying.

    Examples:

        retrain next data/mine --recipe mine --count 30

        retrain label page data/mine --by anna --order next.csv

    """
    from dataclasses import replace

    from retraining.labels.answers import AnswerLog
    from retraining.labels.applying import said
    from retraining.labels.pictures import open_task
    from retraining.product.next_up import (
        curve_in_words,
        learning_curve,
        look_at,
        require_some,
        suggest,
        write_order,
    )
    from station.engines import open_engine

    chosen = load_named_recipe(recipe, recipes)
    own = listed(classes) or tuple(entry.name for entry in chosen.classes)
    task = open_task(data, own)
    answers = said(AnswerLog(task.folder))
    named = {
        p.path: next(iter(answers[p.digest].values())).label for p in task.pictures if p.digest in answers
    }
    engine = open_engine(engines / chosen.engine, recipe=chosen)
    try:
        with counted("looking at the pictures", len(task.pictures)) as report:
            looked, refused = look_at(task, chosen, engine, lambda done: report(done, ""))
    finally:
        engine.close()
    require_some(looked, refused)
    for line in refused[:20]:
        print(f"not cut: {line}")
    known = [one for one in looked if named.get(one.path) in own]
    open_ones = [replace(one) for one in looked if one.path not in named]
    suggested = suggest(open_ones, count)
    write_order(suggested, out)
    for number, one in enumerate(suggested[:10], start=1):
        print(f"{number:3d}  {one.path}: {one.reason}")
    labels = [named[one.path] for one in known]
    print(curve_in_words(learning_curve(known, labels, [one.path for one in known])))
    print(f"{len(suggested)} of {len(open_ones)} unlabelled pictures: {out}")
