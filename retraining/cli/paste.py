"""``retrain paste``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    ChannelsOption,
    RecipeOption,
    RecipesOption,
    load_named_recipe,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE, refuse_given

if TYPE_CHECKING:
    from rich.progress import TaskID

    from retraining.data.dataset import PictureSet
    from retraining.surfaces import Surfaces


def paste(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="Data set of pictures, of whole rendered parts, or of marked surfaces; or a folder with "
            "normal/, defect/ and masks/, whose pictures are cut by --recipe."
        ),
    ],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 600,
    size: Annotated[
        int,
        typer.Option(min=16, help="Side of the pictures, px; where there are masks, side of the patches."),
    ] = 64,
    channels: ChannelsOption = 1,
    clean: Annotated[
        str | None,
        typer.Option(
            help="Class without defects, onto whose pictures the defects of the others are pasted. If none "
            "is given, pictures of one class are mixed with each other. Not needed where there are masks."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class to make pictures of; may be repeated. Default: all."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the data set to use; auto: train, if it is split.")
    ] = "auto",
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Make whole parts with exact marks, for `retrain product --synthetic`, of a data set of "
            "surfaces with marks.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 1,
    recipe: RecipeOption = "commutator",
    recipes: RecipesOption = Path("recipes"),
    extractor: Annotated[
        str | None,
        typer.Option(
            help="Network that measures the pictures against the real ones, as in `retrain synthesise`."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the new data set."), FOLDER_MADE
    ] = Path("data/pasted"),
) -> None:
    """Cut defects out of real pictures and blend them onto other pictures, without learning anything.

    A generator is worth its training only if its pictures are better than these. The command writes a data
    set labelled "synthetic", as `retrain synthesise` does, and `contact-sheet.png`.

    Examples:

        retrain paste data/neu-cls-64 --size 64 --count 600 --extractor squeezenet:SqueezeNet_fp16.onnx

        retrain paste data/housings --size 256 --count 200 --class scratches

        retrain paste my-commutators --recipe commutator --size 256

        retrain paste data/joined --whole --class pits --count 150 --out data/pasted

    """
    from retraining.data.dataset import PictureSet
    from retraining.errors import DatasetError
    from retraining.synthesis.paste_sets import paste_parts, paste_set

    if whole:
        refuse_given(context, ("size", "clean", "recipe", "recipes", "extractor"), "with --whole")
        real_parts = _parts(data, split, channels)
        with progress_bars() as progress:
            bars: dict[str, TaskID] = {}

            def of_parts(name: str, done: int) -> None:
                if name not in bars:
                    bars[name] = progress.add_task(name, total=count, status="")
                progress.update(bars[name], completed=done)

            pasted = paste_parts(
                real_parts, out, count=count, seed=seed, only=tuple(only or ()), report=of_parts
            )
        print(f"{len(pasted)} parts: {out / 'dataset.json'}; look at {out / 'contact-sheet.png'}")
        return
    real = _open(data, split, size, channels, recipe, recipes)
    if extractor is not None and not isinstance(real, PictureSet):
        raise DatasetError(
            "--extractor measures pictures of one size, but these are whole surfaces; leave it out"
        )
    with progress_bars() as progress:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=count, status="")
            progress.update(tasks[name], completed=done)

        made = paste_set(
            real,
            out,
            count=count,
            seed=seed,
            patch_px=size,
            clean=clean,
            only=tuple(only or ()),
            report=report,
        )
    if extractor is not None and isinstance(real, PictureSet):
        from retraining.cli.synthesise import by_class, figures_of
        from retraining.metrics import open_extractor

        rows = {name: {name: pixels} for name, pixels in by_class(made, real).items()}
        table = figures_of(rows, real, open_extractor(extractor))
        (out / "figures.md").write_text(table + "\n", encoding="utf-8")
        print(table)
    print(f"{len(made)} pictures: {out / 'dataset.json'}; look at {out / 'contact-sheet.png'}")


def _parts(data: Path, split: str, channels: int) -> Surfaces:
    """Whole surfaces whose marks say where their defects are."""
    from retraining.cli.gan import training_part
    from retraining.data.dataset import load_dataset
    from retraining.data.manifest import TRUSTED
    from retraining.synthesis.paste_sets import marked_surfaces

    dataset = load_dataset(data)
    own = dataset.select(split=training_part(dataset, split), labelled_by=TRUSTED)
    return marked_surfaces(own, channels)


def _open(
    data: Path, split: str, size: int, channels: int, recipe: str, recipes: Path
) -> Surfaces | PictureSet:
    """What lies at ``data``: photographs with masks, whole surfaces with masks, or pictures."""
    from retraining.cli.gan import training_part
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.data.rendered_parts import has_masks
    from retraining.surfaces.photographs import list_pictures, read_pictures
    from retraining.synthesis.paste_sets import masked_surfaces

    if (data / "normal").is_dir() and not (data / "dataset.json").is_file():
        return read_pictures(list_pictures(data), load_named_recipe(recipe, recipes), lambda item: True)
    dataset = load_dataset(data)
    part = training_part(dataset, split)
    if has_masks(dataset):
        return masked_surfaces(dataset.select(split=part), channels)
    return load_pixels(dataset, size, channels, split=part)
