"""``retrain evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    BackendOption,
    MixedOption,
    PartsPerClassOption,
    RecipeOption,
    RecipesOption,
    TestSeedOption,
    counted,
    load_named_recipe,
    open_scorers,
)
from station.cli.parameters import FILE_MADE


def evaluate_engines(
    engine: Annotated[
        list[Path] | None,
        typer.Option(help="Engine folder or ONNX file; may be repeated. Default: the recipe's engine."),
    ] = None,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    parts_per_class: PartsPerClassOption = 80,
    mixed: MixedOption = 20,
    seed: TestSeedOption = 7,
    csv: Annotated[
        Path | None, typer.Option(help="File for the results, with one row per part and engine."), FILE_MADE
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="File for a chart of detection against contrast and size (PNG)."),
        FILE_MADE,
    ] = None,
    backend: BackendOption = "onnxruntime-cpu",
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, bf16, fp16 or int8 of an engine folder; may be repeated. Default: fp32, int8."
        ),
    ] = None,
) -> None:
    """Inspect rendered test parts as the station would, and print tables of escapes, overkill and verdicts.

    No training part has the seed of a test part. All engines and precisions inspect the same frames.

    Examples:

        retrain evaluate --parts-per-class 80 --seed 7

        retrain evaluate --parts-per-class 10 --backend openvino --precision fp32 --precision bf16

        retrain evaluate --engine runs/engine/servo-motor-housing --parts-per-class 10 --csv parts.csv

    """
    from retraining.evaluation.parts import evaluate, rendered_test_parts, write_results
    from retraining.evaluation.report import draw_detection, evaluation_report

    chosen = load_named_recipe(recipe, recipes)
    folders = engine or [Path("engines") / chosen.engine]
    scorers = open_scorers(folders, chosen, backend, tuple(precision or ("fp32", "int8")))
    total = parts_per_class * len(chosen.classes) + mixed
    with counted("inspecting", total) as report:
        parts = rendered_test_parts(chosen, parts_per_class, seed, mixed)
        results = evaluate(scorers, chosen, parts, report)
    if csv is not None:
        write_results(results, csv)
    if picture is not None:
        draw_detection(results, picture)
    print(evaluation_report(results, tuple(c.name for c in chosen.classes)))
