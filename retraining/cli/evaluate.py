"""``retrain evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import RecipeOption, RecipesOption, TestSeedOption, counted, load_named_recipe

if TYPE_CHECKING:
    from retraining.evaluation import Scorer


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

    chosen = load_named_recipe(recipe, recipes)
    scorers = _scorers(engine or [Path("engines") / chosen.engine], backend)
    total = parts_per_class * len(chosen.classes) + mixed
    with counted("inspecting", total) as report:
        parts = rendered_test_parts(chosen, parts_per_class, seed, mixed)
        results = evaluate(scorers, chosen, parts, report)
    if csv is not None:
        write_results(results, csv)
    if picture is not None:
        draw_detection(results, picture)
    print(evaluation_report(results, tuple(c.name for c in chosen.classes)))


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
