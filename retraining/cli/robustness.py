"""``retrain robustness``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import (
    BackendOption,
    PartsPerClassOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    TestSeedOption,
    counted,
    load_named_recipe,
    model_digests,
    open_scorers,
)
from station.cli.parameters import FOLDER_MADE


def robustness(
    engine: Annotated[
        list[Path] | None,
        typer.Option(help="Engine folder or ONNX file; may be repeated. Default: the recipe's engine."),
    ] = None,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Disturbance: blur, noise, gain, offset, glare or scratches; may be repeated. Default: all."
        ),
    ] = None,
    parts_per_class: PartsPerClassOption = 20,
    seed: TestSeedOption = 7,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Precision of an engine folder: fp32, bf16 or int8; may be repeated. Default: fp32."
        ),
    ] = None,
    backend: BackendOption = "onnxruntime-cpu",
    processes: ProcessesOption = 2,
    out: Annotated[
        Path, typer.Option(help="Run folder: results by part, table, curves."), FOLDER_MADE
    ] = Path("runs/robustness"),
) -> None:
    """Disturb whole frames by blur, noise, light or natural scratches, and inspect them as the station would.

    The command prints a table and writes it to `robustness.md` and `robustness.csv`, with curves in
    `robustness.png` and example patches in `samples.png`. The same command continues an interrupted run.

    Examples:

        retrain robustness

        retrain robustness --kind blur --kind gain --parts-per-class 4 --out runs/quick-look

        retrain robustness --precision fp32 --precision int8 --parts-per-class 40

    """
    from retraining.evaluation.parts import check_test_seeds
    from retraining.evaluation.robustness import (
        DISTURBANCES,
        by_grade,
        draw_robustness,
        draw_samples,
        measure_robustness,
        robustness_table,
        write_figures,
    )

    chosen = load_named_recipe(recipe, recipes)
    total = check_test_seeds(chosen, parts_per_class, seed)
    folders = engine or [Path("engines") / chosen.engine]
    scorers = open_scorers(folders, chosen, backend, tuple(precision or ("fp32",)))
    with counted("disturbing and inspecting parts", total) as report:
        found = measure_robustness(
            scorers,
            chosen,
            out,
            per_class=parts_per_class,
            seed=seed,
            kinds=tuple(kind or DISTURBANCES),
            digests=model_digests(folders),
            processes=processes,
            report=lambda done: report(done, ""),
        )
    rows = by_grade(found)
    write_figures(rows, out / "robustness.csv")
    draw_robustness(rows, out / "robustness.png")
    last_class = len(chosen.classes) - 1
    draw_samples(chosen, parts_per_class, seed, last_class, out / "samples.png")
    table = robustness_table(rows)
    (out / "robustness.md").write_text(table + "\n", encoding="utf-8")
    print(table)
