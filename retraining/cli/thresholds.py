"""``retrain thresholds``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    BackendOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    counted,
    load_named_recipe,
    model_digests,
    open_scorers,
)
from station.cli.parameters import FILE_MADE, FOLDER_MADE

if TYPE_CHECKING:
    from collections.abc import Callable

    from retraining.data.manifest import Dataset
    from retraining.evaluation.scored_parts import ScoredPart
    from retraining.surfaces.photographs import Picture as Photograph
    from station.engines.interface import Scorer
    from station.recipe import Recipe


def thresholds(
    target: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="Share of defective parts that may escape.")
    ] = 0.005,
    surely: Annotated[
        bool, typer.Option(help="Let the upper end of the 95 % interval meet the target, not just the count.")
    ] = False,
    engine: Annotated[
        Path | None, typer.Option(help="Engine folder or ONNX file. Default: the recipe's engine.")
    ] = None,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="Use these pictures instead of rendered parts: a `dataset.json` of whole frames, or a "
            "folder with normal/, defect/ and masks/."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data set to use.")] = "validation",
    parts_per_class: Annotated[int, typer.Option(min=1, help="Rendered parts of each class.")] = 100,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Seed of the rendered parts; neither training nor test figures may have used it."
        ),
    ] = 4321,
    temperature: Annotated[bool, typer.Option(help="Fit a temperature first.")] = True,
    precision: Annotated[
        str, typer.Option(help="Precision of an engine folder: fp32, bf16 or int8.")
    ] = "fp32",
    backend: BackendOption = "onnxruntime-cpu",
    processes: ProcessesOption = 2,
    out: Annotated[Path, typer.Option(help="Run folder: scores by part, curve, tables."), FOLDER_MADE] = Path(
        "runs/thresholds"
    ),
    write: Annotated[
        Path | None, typer.Option(help="New file for a copy of the recipe with the new numbers."), FILE_MADE
    ] = None,
) -> None:
    """Choose a recipe's thresholds and temperature for a target escape rate, from parts whose truth is known.

    The command prints the lines for the recipe and the trade-off between escapes and overkill. It writes them
    to `thresholds.csv`, `thresholds.md` and `thresholds.png`. The same command continues an interrupted run;
    another target uses the same scores again.

    Examples:

        retrain thresholds --target 0.005

        retrain thresholds --target 0.02 --surely --parts-per-class 200 --write recipes/stricter.yaml

        retrain thresholds --recipe commutator --engine my-engine --data my-commutators

    """
    from retraining.errors import DatasetError
    from retraining.evaluation.recipe_numbers import recipe_lines, write_recipe
    from retraining.evaluation.scored_parts import known_patches
    from retraining.evaluation.temperature import fit_temperature
    from retraining.evaluation.threshold_report import (
        classes_table,
        draw_trade_off,
        points_table,
        temperature_line,
        write_points,
    )
    from retraining.evaluation.thresholds import choose, common_levels, trade_off, with_levels
    from station.recipe import find_recipe

    if write is not None and write.exists():
        raise DatasetError(f"{write} exists already; name a new file by --write")
    chosen_recipe = load_named_recipe(recipe, recipes)
    given = None if data is None else _given(data)
    path = engine or Path("engines") / chosen_recipe.engine
    scorer = next(iter(open_scorers([path], chosen_recipe, backend, (precision,)).values()), None)
    if scorer is None:
        raise DatasetError(f"{path} has no {precision} file; use another --precision")
    if given is not None:
        parts = _given_parts(given, split, chosen_recipe, scorer)
    else:
        parts = _rendered(
            scorer,
            chosen_recipe,
            out,
            (*model_digests([path]), backend, precision),
            parts_per_class,
            seed,
            processes,
        )
    patches = known_patches(parts)
    fitted = fit_temperature(*patches) if temperature else None
    value = fitted.value if fitted else chosen_recipe.decision.temperature
    points = trade_off(parts, chosen_recipe, value)
    chosen = choose(points, target, surely=surely)
    after = with_levels(chosen_recipe, chosen.levels, value)
    report = "\n\n".join(
        [
            *([temperature_line(fitted)] if fitted else []),
            points_table(points, chosen, chosen_recipe),
            classes_table(parts, chosen_recipe, after),
            f"```yaml\n{recipe_lines(after)}```",
        ]
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "thresholds.md").write_text(report + "\n", encoding="utf-8")
    common = common_levels(parts, chosen_recipe, value)
    write_points(points, common, chosen, chosen_recipe, out / "thresholds.csv")
    draw_trade_off(points, common, chosen, target, out / "thresholds.png", patches, value)
    print(report)
    if write is not None:
        written = write_recipe(find_recipe(recipe, recipes), write, after)
        print(f"\n{write}: version {written.version}; compare it with the old recipe before the line uses it")


def _rendered(
    score: Scorer,
    recipe: Recipe,
    out: Path,
    digests: tuple[str, ...],
    per_class: int,
    seed: int,
    processes: int,
) -> list[ScoredPart]:
    from retraining.evaluation.parts import check_test_seeds
    from retraining.evaluation.scored_parts import rendered_parts

    with counted("rendering and scoring parts", check_test_seeds(recipe, per_class, seed)) as report:
        return rendered_parts(
            score,
            recipe,
            out,
            digests=digests,
            per_class=per_class,
            seed=seed,
            processes=processes,
            report=lambda done: report(done, ""),
        )


def _given(data: Path) -> Dataset | list[Photograph]:
    """The data set, or the photographs of a folder. Raises :class:`DatasetError`."""
    from retraining.data.manifest import load_dataset
    from retraining.surfaces.photographs import list_pictures

    file = data / "dataset.json" if data.is_dir() else data
    return load_dataset(file) if file.is_file() else list_pictures(data)


def _given_parts(
    given: Dataset | list[Photograph], split: str, recipe: Recipe, score: Scorer
) -> list[ScoredPart]:
    from retraining.data.manifest import Dataset
    from retraining.evaluation.scored_parts import picture_parts, surface_parts
    from retraining.surfaces.photographs import read_pictures

    report: Callable[[int, str], None]
    if isinstance(given, Dataset):
        with counted("scoring pictures", len(given.select(split=split))) as report:
            return picture_parts(given, recipe, score, split, lambda done: report(done, ""))
    surfaces = read_pictures(given, recipe, lambda item: True)
    with counted("scoring pictures", len(surfaces)) as report:
        return surface_parts(surfaces, recipe, score, lambda done: report(done, ""))
