"""``retrain evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    BackendOption,
    RecipeOption,
    RecipesOption,
    TestSeedOption,
    counted,
    load_named_recipe,
    open_scorers,
)


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
    backend: BackendOption = "onnxruntime-cpu",
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, bf16, fp16, int8; may be repeated; else fp32 and int8.")
    ] = None,
) -> None:
    """Inspect rendered parts with unseen seeds as the station would, and print the tables.

    All precisions of an engine folder are evaluated side by side on the same frames.

    Examples:
        retrain evaluate --parts-per-class 80 --seed 7

        retrain evaluate --parts-per-class 10 --backend openvino --precision fp32 --precision bf16

        retrain evaluate --engine runs/classifier/servo-motor-housing --parts-per-class 10 --csv parts.csv

    """
    from retraining.evaluation.parts import evaluate, rendered_test_parts, write_results
    from retraining.evaluation.report import draw_detection, evaluation_report

    chosen = load_named_recipe(recipe, recipes)
    folders = engine or [Path("engines") / chosen.engine]
    scorers = open_scorers(folders, backend, tuple(precision or ("fp32", "int8")))
    total = parts_per_class * len(chosen.classes) + mixed
    with counted("inspecting", total) as report:
        parts = rendered_test_parts(chosen, parts_per_class, seed, mixed)
        results = evaluate(scorers, chosen, parts, report)
    if csv is not None:
        write_results(results, csv)
    if picture is not None:
        draw_detection(results, picture)
    print(evaluation_report(results, tuple(c.name for c in chosen.classes)))
