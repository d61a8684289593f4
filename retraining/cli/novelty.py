"""``retrain novelty``: how far a part is from what an engine was trained on; do unknown kinds surface?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    CacheOption,
    NetworkOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    SideOption,
    ThreadsOption,
    load_named_recipe,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE

if TYPE_CHECKING:
    from retraining.novelty.material import Material
    from retraining.surfaces import Surfaces
    from retraining.surfaces.rendered import Mixture
    from station.recipe import Recipe


def novelty(
    leave_out: Annotated[
        str,
        typer.Option(
            help="Train without this class, and count how many of its parts surface; all: each class."
        ),
    ],
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="A data set of whole pictures, split into train and test. Default: rendered parts."
        ),
    ] = None,
    good: Annotated[
        str, typer.Option(help="The data set's class of good parts, where it has one (with --data).")
    ] = "",
    side: SideOption = 128,
    epochs: Annotated[
        float, typer.Option(min=0.01, help="Passes over the training pictures (with --data).")
    ] = 20.0,
    network: NetworkOption = "inception-cnn",
    parts: Annotated[int, typer.Option(min=20, help="Rendered parts to train on.")] = 300,
    good_parts: Annotated[
        int,
        typer.Option(
            min=4,
            help="Further good parts: half of them set the threshold, the others are counted.",
        ),
    ] = 400,
    defective_parts: Annotated[
        int, typer.Option(min=8, help="Further parts with one defect, of all kinds together.")
    ] = 240,
    small_steps: Annotated[
        int, typer.Option(min=0, help="Steps of the first stage, on 128-px patches; 0 leaves it out.")
    ] = 450,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of the second stage, on the recipe's patches.")
    ] = 90,
    threads: ThreadsOption = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training and of the rendered parts.")] = 21,
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
    out: Annotated[
        Path, typer.Option(help="Run folder: one folder per class that is left out."), FOLDER_MADE
    ] = Path("runs/novelty"),
) -> None:
    """Leave a class out of a training and count how many of its parts are far from training.

    The threshold lets 2 % of unseen good parts be above it. All methods are measured beside each other; the
    table is written to `OUT/novelty.md`, with the worst class named. Ctrl-C or SIGTERM stops a run with a
    checkpoint; the same command continues it.

    Examples:

        retrain novelty --leave-out all

        retrain novelty --leave-out scratches --small-steps 1000 --steps 520 --out runs/longer

        retrain novelty --leave-out all --data sets/strip --side 128

    """
    import torch

    from retraining.novelty.leaving_out import leave_out as leave_one_out
    from retraining.novelty.leaving_out import surfaced_table
    from station.files import write_file

    if threads:
        torch.set_num_threads(threads)
    material: Material
    if data is not None:
        material = _pictures(data, good, side, epochs, network, seed)
    else:
        chosen = load_named_recipe(recipe, recipes)
        material = _rendered(
            chosen,
            network,
            (parts, good_parts, defective_parts),
            (small_steps, steps),
            seed,
            cache,
            processes,
        )
    names = (
        [name for name in material.classes if name != material.good] if leave_out == "all" else [leave_out]
    )
    found = []
    for name in names:
        with _bars() as report:
            found += leave_one_out(material, name, out / name.replace(" ", "-"), report=report)
    table = surfaced_table(found, material.usual)
    write_file(out / "novelty.md", table + "\n")
    print(table)


def _rendered(
    recipe: Recipe,
    network: str,
    counts: tuple[int, int, int],
    steps: tuple[int, int],
    seed: int,
    cache: Path,
    processes: int,
) -> Material:
    from retraining.classifiers.patch_sizes import plan_stages
    from retraining.classifiers.plan import TrainingPlan
    from retraining.novelty.material import RenderedMaterial
    from retraining.surfaces.rendered import Mixture, render_surfaces

    def rendered(what: str, count: int, number: int, mixture: Mixture) -> Surfaces:
        with _bars() as report:
            return render_surfaces(
                recipe, count, seed + number, cache / f"novelty-{seed + number}-{count}", mixture=mixture,
                processes=processes, report=lambda done: report(what, done, count, ""),
            )  # fmt: skip

    parts, good, defective = counts
    base = TrainingPlan(network=network, seed=seed, validate_every=100_000)
    return RenderedMaterial(
        recipe,
        rendered("rendering parts to train on", parts, 0, Mixture(defects=(2, 6), one_kind=True)),
        rendered("rendering good parts", good, 1, Mixture(sound_share=1.0)),
        rendered(
            "rendering defective parts", defective, 2,
            Mixture(sound_share=0.0, faint_share=0.0, defects=(1, 1), one_kind=True),
        ),
        plan_stages(recipe.patch.size, base, *steps),
    )  # fmt: skip


def _pictures(data: Path, good: str, side: int, epochs: float, network: str, seed: int) -> Material:
    from retraining.classifiers.plan import TrainingPlan
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.errors import DatasetError
    from retraining.novelty.material import PictureMaterial

    manifest = load_dataset(data)
    if good and good not in manifest.classes:
        raise DatasetError(f"no class is called {good!r}; --good is one of {', '.join(manifest.classes)}")
    if not {"train", "test"} <= {picture.split for picture in manifest.pictures}:
        raise DatasetError("the data set is not split into train and test; split it by `retrain data split`")
    train_on, unseen = (load_pixels(manifest, side, 1, split=split) for split in ("train", "test"))
    plan = TrainingPlan(network=network, seed=seed, validate_every=100_000, replay_share=0.0)
    return PictureMaterial(train_on, unseen, plan, epochs, good)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int, str], None]]:
    """One bar per thing that is done."""
    with progress_bars() as progress:
        bars: dict[str, object] = {}

        def report(what: str, done: int, total: int, line: str) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total, status="")
            progress.update(bars[what], completed=done, total=total, status=line)  # type: ignore[arg-type]

        yield report
