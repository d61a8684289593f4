"""``retrain data``: data sets from pictures, their splits and checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    counted,
    load_named_recipe,
    progress_bars,
)

if TYPE_CHECKING:
    from rich.progress import TaskID

    from retraining.data.duplicates import Reporter
    from retraining.data.manifest import Dataset
    from retraining.data.readers import Reader

app = typer.Typer(
    name="data",
    help="Build data sets from pictures, split and check them; pictures stay where they are.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for dataset.json and contact-sheet.png.")
]
SetArgument = Annotated[Path, typer.Argument(help="A dataset.json, or its folder.")]
PatternOption = Annotated[
    str | None,
    typer.Option(
        help="Regular expression for a picture's path, with (?P<label>...) and, where names tell what "
        "belongs together, (?P<group>...). Default: one sub-folder a class."
    ),
]
ClassesOption = Annotated[
    str, typer.Option(help="Classes in order, the good one first, with commas; others are left out.")
]
RenameOption = Annotated[list[str] | None, typer.Option(help="LABEL=CLASS, as often as needed.")]
ReachOption = Annotated[
    int, typer.Option(min=0, help="Following names that are searched for overlapping crops; 0: none.")
]
ShareOption = Annotated[
    float, typer.Option(min=0.0, help="Share of each class, or with --count pictures of each class.")
]


@app.command("from-folders")
def from_folders(
    root: Annotated[Path, typer.Argument(help="Folder with one sub-folder of pictures a class.")],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    labelled_by: Annotated[str, typer.Option(help="person, station, renderer or synthetic.")] = "person",
    reach: ReachOption = 12,
) -> None:
    """Folders of pictures, their class in the path.

    Examples:
        retrain data from-folders pictures --out data/mine

        retrain data from-folders flat --pattern "(?P<label>[A-Za-z]+)_" --rename Cr=crazing --out data/flat

    """
    from retraining.data.folders import Folders
    from retraining.data.listing import CLASS_FOLDERS

    reader = Folders(root, pattern or CLASS_FOLDERS, _names(classes), _renamed(rename), labelled_by)
    _build(reader, out, reach)


@app.command("from-voc")
def from_voc(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    boxes: Annotated[Path, typer.Argument(help="Folder of the .xml files, named as the pictures are.")],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    trust_boxes: Annotated[
        bool, typer.Option(help="Believe a box whose class is not its picture's; default: leave it out.")
    ] = False,
    margin: Annotated[
        float, typer.Option(min=0.0, help="Added on each side, as a share of the longer side.")
    ] = 0.1,
    reach: ReachOption = 12,
) -> None:
    """Windows around the boxes of pictures (VOC's XML).

    Example:
        retrain data from-voc images boxes --out data/boxes

    """
    from retraining.data.boxes import VocBoxes
    from retraining.data.listing import CLASS_FOLDERS

    reader = VocBoxes(
        images, boxes, pattern or CLASS_FOLDERS, _names(classes), _renamed(rename), trust_boxes, margin=margin
    )
    _build(reader, out, reach)


@app.command("from-masks")
def from_masks(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    masks: Annotated[Path, typer.Argument(help="Folder of the masks, named as the pictures are.")],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    sound: Annotated[str, typer.Option(help="The class of what no mask marks.")] = "sound",
    side: Annotated[int, typer.Option(min=0, help="px of windows around defects; 0: whole pictures.")] = 0,
    sound_windows: Annotated[int, typer.Option(min=0, help="Windows without a mark from each picture.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Where sound windows lie.")] = 1,
    reach: ReachOption = 12,
) -> None:
    """Pictures with masks: whole ones, or windows around what is marked.

    Example:
        retrain data from-masks kolektorsdd kolektorsdd/masks --side 128 --sound normal
        --pattern "(?P<label>normal|defect)/(?P<group>kos[0-9]+)_" --out data/commutators

    """
    from retraining.data.listing import CLASS_FOLDERS
    from retraining.data.masks import Masks

    reader = Masks(
        images,
        masks,
        pattern or CLASS_FOLDERS,
        _names(classes),
        _renamed(rename),
        sound,
        side,
        sound_windows,
        seed,
    )
    _build(reader, out, reach)


@app.command("from-rendered")
def from_rendered(
    out: OutOption,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    parts: Annotated[int, typer.Option(min=1, help="Parts to render.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts.")] = 1,
    whole: Annotated[bool, typer.Option(help="Whole surfaces in place of the station's patches.")] = False,
    processes: ProcessesOption = 2,
) -> None:
    """Rendered parts: the station's patches, grouped by part. What is rendered already stays.

    Example:
        retrain data from-rendered --parts 64 --out data/rendered

    """
    from retraining.data.rendered_parts import Rendered
    from station.recipe import find_recipe

    with counted("parts", parts) as report:
        reader = Rendered(
            out, find_recipe(recipe, recipes), parts, seed, whole=whole, processes=processes,
            report=lambda done: report(done, ""),
        )  # fmt: skip
        dataset = reader.read()
    _write(dataset, out)


@app.command("smh")
def smh(
    out: OutOption,
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    share: Annotated[float, typer.Option(help="Of Table 4's counts.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts.")] = 60,
    processes: ProcessesOption = 2,
) -> None:
    """The originals of the SMHSI paper's Table 4 from rendered housings: whole parts and their patches,
    split.

    Writes `whole/dataset.json` and `patches/dataset.json`; what is rendered already stays.

    Example:
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
    _write(parts, out / "whole")
    _write(patches, out / "patches")
    needed = ", ".join(f"{count} of {name}" for name, count in synthetic_needed(patches, share=share).items())
    print(f"SMHSD-P-GAN takes {needed} from generators.")


@app.command("split")
def split(
    dataset: SetArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Another folder; default: in place.")
    ] = None,
    train: ShareOption = 0.7,
    validation: ShareOption = 0.0,
    test: ShareOption = 0.3,
    count: Annotated[
        bool, typer.Option(help="Numbers are pictures of each class; the rest is left out.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another split.")] = 1,
) -> None:
    """Split a data set by group: what belongs together stays together.

    Examples:
        retrain data split data/mine --train 0.7 --test 0.3

        retrain data split data/neu-64 --count --train 140 --test 60 --out data/neu-64-200

    """
    from retraining.data.manifest import load_dataset
    from retraining.data.splits import split_by_count, split_by_share
    from retraining.errors import DatasetError

    numbers = {"train": train, "validation": validation, "test": test}
    given = {name: number for name, number in numbers.items() if number}
    loaded = load_dataset(dataset)
    if count and any(number != int(number) for number in given.values()):
        raise DatasetError("with --count the numbers are whole pictures of each class")
    if count:
        done = split_by_count(loaded, {name: int(number) for name, number in given.items()}, seed)
    else:
        done = split_by_share(loaded, given, seed)
    _write(done, out or (dataset if dataset.is_dir() else dataset.parent))


@app.command("check")
def check(dataset: SetArgument, reach: ReachOption = 12) -> None:
    """Look for changed files, the same picture on two sides of a split, empty classes; exit code 1 for a
    fault.

    Example:
        retrain data check data/mine

    """
    from retraining.data.checks import faults, shortcuts
    from retraining.data.manifest import read_manifest

    loaded = read_manifest(dataset)
    with _stages() as report:
        found = faults(loaded, reach=reach, report=report)
    for fault in found:
        print(f"fault: {fault}")
    for note in [] if found else shortcuts(loaded):
        print(f"note: {note}")
    print(f"{len(loaded)} pictures checked, {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
    if found:
        raise typer.Exit(1)


@app.command("show")
def show(
    dataset: SetArgument,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet here.")] = None,
    per_class: Annotated[int, typer.Option(min=1, help="Samples of each class on the sheet.")] = 10,
    notes: Annotated[bool, typer.Option(help="Notes at full length.")] = False,
) -> None:
    """Counts by class and split, who labelled, and the notes of a data set."""
    from retraining.data.contact_sheet import contact_sheet
    from retraining.data.manifest import load_dataset

    loaded = load_dataset(dataset)
    _print(loaded, None if notes else _SHORT)
    if sheet is not None:
        print(contact_sheet(loaded, sheet, per_class=per_class))


_SHORT = 300
"""Characters of a note that are shown; the manifest holds it whole."""


def _build(reader: Reader, out: Path, reach: int) -> None:
    from retraining.data.readers import build

    with _stages() as report:
        dataset = build(reader, reach=reach, report=report)
    _write(dataset, out)


def _write(dataset: Dataset, out: Path) -> None:
    """Manifest and contact sheet into ``out``, counts and notes on the screen."""
    from retraining.data.contact_sheet import contact_sheet
    from retraining.data.manifest import save_dataset

    manifest = save_dataset(dataset, out)
    sheet = contact_sheet(dataset, out / "contact-sheet.png")
    _print(dataset, _SHORT)
    print(f"{manifest}\n{sheet}")


def _print(dataset: Dataset, length: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    splits = sorted({p.split for p in dataset.pictures}, key=("train", "validation", "test", "").index)
    table = Table("class", *(split or "no split" for split in splits), "groups")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in dataset.classes:
        groups = len({p.group for p in dataset.pictures if p.label == name})
        table.add_row(name, *(str(dataset.count(split)[name]) for split in splits), str(groups))
    Console().print(table)
    labellers = sorted({p.labelled_by for p in dataset.pictures})
    print(f"{len(dataset)} pictures, labelled by {', '.join(labellers)}")
    for note in dataset.notes:
        print(f"note: {note if length is None or len(note) <= length else note[:length] + ' ...'}")


@contextmanager
def _stages() -> Iterator[Reporter]:
    """A progress bar for each stage of a search for duplicates."""
    with progress_bars() as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, status="")
            bars.update(tasks[stage], completed=done)

        yield report


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _renamed(pairs: list[str] | None) -> dict[str, str]:
    from retraining.errors import DatasetError

    found = {}
    for pair in pairs or []:
        label, equals, name = pair.partition("=")
        if not (label and equals and name):
            raise DatasetError(f"--rename takes LABEL=CLASS, not {pair!r}")
        found[label] = name
    return found
