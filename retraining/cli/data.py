"""``retrain data``: data sets from pictures, their splits and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli import data_doors, station_doors
from retraining.cli.data_options import OutOption, ReachOption
from retraining.cli.data_output import SHORT, print_set, stage_bars, write_set
from retraining.cli.options import ProcessesOption, RecipeOption, RecipesOption, counted, load_named_recipe
from station.cli.parameters import FILE_MADE, FOLDER_MADE, refuse_given

app = typer.Typer(
    name="data",
    help="Make data sets from pictures, split them and check them; the pictures stay where they are.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("from-folders")(data_doors.from_folders)
app.command("from-voc")(data_doors.from_voc)
app.command("from-coco")(data_doors.from_coco)
app.command("from-yolo")(data_doors.from_yolo)
app.command("from-labelme")(data_doors.from_labelme)
app.command("from-masks")(data_doors.from_masks)
app.command("from-station")(station_doors.from_station)
app.command("from-received")(station_doors.from_received)

SetArgument = Annotated[Path, typer.Argument(help="A dataset.json, or its folder.")]
ShareOption = Annotated[
    float,
    typer.Option(min=0.0, help="Share of each class, or with --count the number of pictures of each class."),
]


@app.command("from-rendered")
def from_rendered(
    out: OutOption,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    parts: Annotated[int, typer.Option(min=1, help="Parts to render.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts.")] = 1,
    whole: Annotated[
        bool, typer.Option(help="Write whole surfaces instead of the station's patches.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Kind of defect that no part has; may be repeated. Other parts are left out."),
    ] = None,
    one_kind: Annotated[
        bool, typer.Option("--one-kind", help="All defects of a part are of one kind.")
    ] = False,
    processes: ProcessesOption = 2,
) -> None:
    """Make a data set of rendered parts: the patches that the station cuts, grouped by part.

    Parts that are rendered already are not rendered again. Whole surfaces are cut by the recipe already and
    have exact marks of their defects, so `retrain product` takes them with the same recipe and without masks.

    Examples:

        retrain data from-rendered --parts 64 --out data/rendered

        retrain data from-rendered --whole --one-kind --without pits --parts 300 --out data/without-pits

    """
    from retraining.data.rendered_parts import Rendered
    from retraining.surfaces.rendered import Mixture
    from station.recipe import find_recipe

    with counted("parts", parts) as report:
        reader = Rendered(
            out, find_recipe(recipe, recipes), parts, seed, Mixture(one_kind=one_kind), whole=whole,
            without=tuple(without or ()), processes=processes, report=lambda done: report(done, ""),
        )  # fmt: skip
        dataset = reader.read()
    write_set(dataset, out)


@app.command("smh")
def smh(
    out: OutOption,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    share: Annotated[float, typer.Option(help="Share of the counts in Table 4.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts.")] = 60,
    processes: ProcessesOption = 2,
) -> None:
    """Make the original pictures of the SMHSI paper's Table 4 from rendered housings, already split.

    The command writes whole parts to `whole/dataset.json` and their patches to `patches/dataset.json`. Parts
    that are rendered already are not rendered again.

    Examples:

        retrain data smh --share 0.25 --out data/smh

    """
    from retraining.data.smh import (
        original_orders,
        original_patches,
        render_originals,
        synthetic_needed,
    )

    chosen = load_named_recipe(recipe, recipes)
    with counted("parts", len(original_orders(seed, share=share))) as report:
        parts = render_originals(
            chosen, out / "parts", share=share, seed=seed, processes=processes,
            report=lambda done: report(done, ""),
        )  # fmt: skip
    patches = original_patches(parts, chosen, share=share, seed=seed)
    write_set(parts, out / "whole")
    write_set(patches, out / "patches")
    needed = ", ".join(f"{count} of {name}" for name, count in synthetic_needed(patches, share=share).items())
    print(f"SMHSD-P-GAN takes {needed} from generators.")


@app.command("split")
def split(
    context: typer.Context,
    dataset: SetArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the split data set. Default: where it is."),
        FOLDER_MADE,
    ] = None,
    train: ShareOption = 0.7,
    validation: ShareOption = 0.0,
    test: ShareOption = 0.3,
    count: Annotated[
        bool, typer.Option(help="The numbers are pictures of each class; the others are left out.")
    ] = False,
    test_where: Annotated[
        str,
        typer.Option(
            help="Regular expression, searched for in each path: such pictures are the test, the others are "
            "trained on."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 1,
) -> None:
    """Split a data set into train, validation and test by group, so that related pictures stay together.

    Examples:

        retrain data split data/mine --train 0.7 --test 0.3

        retrain data split data/neu-64 --count --train 140 --test 60 --out data/neu-64-200

        retrain data split data/commutators --test-where "kos(3[4-9]|4[0-9]|50)_"

    """
    from retraining.data.manifest import load_dataset
    from retraining.data.splits import split_by_count, split_by_path, split_by_share
    from retraining.errors import DatasetError

    numbers = {"train": train, "validation": validation, "test": test}
    given = {name: number for name, number in numbers.items() if number}
    loaded = load_dataset(dataset)
    if count and any(number != int(number) for number in given.values()):
        raise DatasetError("with --count, --train, --validation and --test are whole numbers of pictures")
    if test_where:
        refuse_given(context, ("train", "test", "count"), "with --test-where")
        done = split_by_path(loaded, test_where, validation, seed)
    elif count:
        done = split_by_count(loaded, {name: int(number) for name, number in given.items()}, seed)
    else:
        done = split_by_share(loaded, given, seed)
    write_set(done, out or (dataset if dataset.is_dir() else dataset.parent))


@app.command("join")
def join(
    sets: Annotated[list[Path], typer.Argument(help="Each a dataset.json, or its folder.")],
    out: OutOption,
    good: Annotated[
        str,
        typer.Option(help="The class of good parts. Default: the first class of every set."),
    ] = "",
) -> None:
    """Join data sets into one, such as own pictures and the parts that stations handed over.

    Nothing is copied. What two sets say differently of one picture is an error.

    Examples:

        retrain data join data/mine data/received --out data/all

    """
    from retraining.data.joining import join_datasets
    from retraining.data.manifest import load_dataset

    write_set(join_datasets({str(path): load_dataset(path) for path in sets}, good), out)


@app.command("check")
def check(dataset: SetArgument, reach: ReachOption = 12) -> None:
    """Check a data set for changed and damaged files, for leaks between splits, and for empty classes.

    A leak is one picture in two splits, also if it is a near duplicate, mirrored, turned, or a crop that
    overlaps. The exit code is 1 if a fault is found.

    Examples:

        retrain data check data/mine

    """
    from retraining.data.checks import faults, shortcuts
    from retraining.data.manifest import read_manifest
    from station.cli.text import one_line

    loaded = read_manifest(dataset)
    with stage_bars() as report:
        found = faults(loaded, reach=reach, report=report)
    for fault in found:
        print(f"fault: {one_line(fault)}")
    for note in [] if found else shortcuts(loaded):
        print(f"note: {one_line(note)}")
    print(f"{len(loaded)} pictures checked, {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
    if found:
        raise typer.Exit(1)


@app.command("show")
def show(
    dataset: SetArgument,
    sheet: Annotated[Path | None, typer.Option(help="File for a contact sheet."), FILE_MADE] = None,
    per_class: Annotated[int, typer.Option(min=1, help="Samples of each class on the sheet.")] = 10,
    notes: Annotated[bool, typer.Option(help="Show the notes at full length.")] = False,
) -> None:
    """Show a data set: pictures by class and split, who labelled them, and its notes.

    Examples:

        retrain data show data/mine --sheet sheet.png

    """
    from retraining.data.contact_sheet import contact_sheet
    from retraining.data.manifest import load_dataset

    loaded = load_dataset(dataset)
    print_set(loaded, None if notes else SHORT)
    if sheet is not None:
        print(contact_sheet(loaded, sheet, per_class=per_class))
