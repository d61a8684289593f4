"""``retrain data``: data sets from pictures, their splits and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.options import (
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    counted,
    listed,
    load_named_recipe,
    progress_bars,
)
from station.cli.parameters import FILE_MADE, FOLDER_MADE

if TYPE_CHECKING:
    from rich.progress import TaskID

    from retraining.data.manifest import Dataset
    from retraining.data.readers import Reader
    from retraining.surfaces.reading import Reporter

app = typer.Typer(
    name="data",
    help="Make data sets from pictures, split them and check them; the pictures stay where they are.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for dataset.json and contact-sheet.png."), FOLDER_MADE
]
SetArgument = Annotated[Path, typer.Argument(help="A dataset.json, or its folder.")]
PatternOption = Annotated[
    str | None,
    typer.Option(
        help="Regular expression for the path of a picture, with `(?P<label>...)` and, where names tell "
        "which pictures belong together, `(?P<group>...)`. Default: one sub-folder per class."
    ),
]
ClassesOption = Annotated[
    str, typer.Option(help="Classes in order, the good one first, separated by commas; others are left out.")
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option(help="LABEL=CLASS: name of the class for a label of the pattern; may be repeated."),
]
ReachOption = Annotated[
    int,
    typer.Option(min=0, help="How many of the next file names are searched for overlapping crops; 0: none."),
]
JoinOption = Annotated[
    str,
    typer.Option(
        help="Duplicates that are put into one group: `all`, `exact` (the same pixels) or `none`; the others "
        "are reported."
    ),
]
TrustBoxesOption = Annotated[
    bool, typer.Option(help="Keep a box whose class is not that of its picture; default: leave it out.")
]
MarginOption = Annotated[
    float, typer.Option(min=0.0, help="Margin around a box on each side, as a share of its longer side.")
]
BoxSideOption = Annotated[
    int, typer.Option(min=0, help="Side of all windows, px; 0: as large as each box and its margin.")
]
SoundOption = Annotated[str, typer.Option(help="Class of pictures and windows without a mark.")]
SoundWindowsOption = Annotated[int, typer.Option(min=0, help="Windows without a mark per picture.")]
SoundSeedOption = Annotated[int, typer.Option(min=0, help="Seed of the places of windows without a mark.")]
GroupByOption = Annotated[
    str,
    typer.Option(
        help="Which pictures belong together: `folder`, or a regular expression with `(?P<group>...)` "
        "that is searched for in the path of a picture. Such groups are never joined."
    ),
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        help="The same as a table: a CSV file with the columns `path` (below the folder of the pictures) and "
        "`group`."
    ),
]
WhiteOption = Annotated[
    int | None,
    typer.Option(
        "--sixteen-bit-white",
        min=1,
        max=65_535,
        help="The grey value that is white in files of 16 bits: 65535, or 4095 of a 12-bit camera. Without "
        "it such files are refused.",
    ),
]
ShareOption = Annotated[
    float,
    typer.Option(min=0.0, help="Share of each class, or with --count the number of pictures of each class."),
]


@app.command("from-folders")
def from_folders(
    root: Annotated[Path, typer.Argument(help="Folder with one sub-folder of pictures per class.")],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    labelled_by: Annotated[
        str, typer.Option(help="Who labelled them: person, station, renderer or synthetic.")
    ] = "person",
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = "all",
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set from folders of pictures whose class is in their path.

    Examples:

        retrain data from-folders pictures --out data/mine

        retrain data from-folders flat --out data/mine --pattern "(?P<label>[a-z]+)_" --rename cr=crack

        retrain data from-folders pictures --out data/mine --group-by "part(?P<group>[0-9]+)_"

    """
    from retraining.data.folders import Folders
    from retraining.data.listing import CLASS_FOLDERS

    renamed = _renamed(rename)
    _build(
        lambda report: Folders(
            root, pattern or CLASS_FOLDERS, listed(classes), renamed, labelled_by, sixteen_bit_white, report
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


@app.command("from-voc")
def from_voc(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    boxes: Annotated[
        Path,
        typer.Argument(help="Folder of the .xml files (Pascal VOC), which have the paths of their pictures."),
    ],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    trust_boxes: TrustBoxesOption = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 0,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = "all",
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around boxes, which are given as VOC's XML.

    Examples:

        retrain data from-voc images boxes --out data/boxes

    """
    from retraining.data.boxes import FOLDERS_OR_NONE, VocBoxes

    renamed = _renamed(rename)
    _build(
        lambda report: VocBoxes(
            images,
            boxes,
            pattern or FOLDERS_OR_NONE,
            listed(classes),
            renamed,
            trust_boxes,
            margin=margin,
            side=side,
            sound=sound,
            sound_windows=sound_windows,
            seed=seed,
            sixteen_bit_white=sixteen_bit_white,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


@app.command("from-coco")
def from_coco(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    annotations: Annotated[
        Path, typer.Argument(help="The COCO file (.json); it names pictures by their paths below IMAGES.")
    ],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    trust_boxes: TrustBoxesOption = False,
    trust_unmarked: Annotated[
        bool,
        typer.Option(
            help="Take pictures that the file lists without a mark for sound; default: leave them out, "
            "because nobody may have looked at them."
        ),
    ] = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 1,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = "all",
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around the boxes, polygons or runs (RLE) of a COCO file, and away from them.

    Examples:

        retrain data from-coco images annotations.json --out data/coco

        retrain data from-coco images annotations.json --side 128 --trust-unmarked --out data/coco

    """
    from retraining.data.boxes import NO_CLASS, CocoBoxes

    renamed = _renamed(rename)
    _build(
        lambda report: CocoBoxes(
            images,
            annotations,
            pattern or NO_CLASS,
            listed(classes),
            renamed,
            trust_boxes,
            margin=margin,
            side=side,
            sound=sound,
            sound_windows=sound_windows,
            seed=seed,
            sixteen_bit_white=sixteen_bit_white,
            trust_unmarked=trust_unmarked,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


@app.command("from-yolo")
def from_yolo(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    labels: Annotated[
        Path,
        typer.Argument(
            help="Folder of the .txt files, which have the paths of their pictures, perhaps with `labels` in "
            "place of `images`."
        ),
    ],
    names: Annotated[
        Path, typer.Argument(help="data.yaml, or a text file with the name of one class per line.")
    ],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    trust_boxes: TrustBoxesOption = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 1,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = "all",
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around YOLO's boxes or polygons, and away from them.

    A picture with an empty file is sound; a picture without a file is not labelled and is left out.

    Examples:

        retrain data from-yolo yolo/images yolo/labels yolo/data.yaml --out data/yolo

    """
    from retraining.data.boxes import NO_CLASS, YoloBoxes

    renamed = _renamed(rename)
    _build(
        lambda report: YoloBoxes(
            images,
            labels,
            pattern or NO_CLASS,
            listed(classes),
            renamed,
            trust_boxes,
            margin=margin,
            side=side,
            sound=sound,
            sound_windows=sound_windows,
            seed=seed,
            sixteen_bit_white=sixteen_bit_white,
            names=names,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


@app.command("from-labelme")
def from_labelme(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    shapes: Annotated[
        Path, typer.Argument(help="Folder of the .json files, which have the paths of their pictures.")
    ],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    trust_boxes: TrustBoxesOption = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 1,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = "all",
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around LabelMe's shapes, and away from them.

    A picture whose file has no shape is sound; a picture without a file is not labelled and is left out.

    Examples:

        retrain data from-labelme pictures pictures --side 128 --out data/labelme

    """
    from retraining.data.boxes import NO_CLASS, LabelMeBoxes

    renamed = _renamed(rename)
    _build(
        lambda report: LabelMeBoxes(
            images,
            shapes,
            pattern or NO_CLASS,
            listed(classes),
            renamed,
            trust_boxes,
            margin=margin,
            side=side,
            sound=sound,
            sound_windows=sound_windows,
            seed=seed,
            sixteen_bit_white=sixteen_bit_white,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


@app.command("from-masks")
def from_masks(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    masks: Annotated[
        Path,
        typer.Argument(
            help="Folder of the masks, which have their pictures' paths, perhaps with _mask or _label added."
        ),
    ],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    sound: SoundOption = "sound",
    side: Annotated[
        int, typer.Option(min=0, help="Side of windows around defects, px; 0: whole pictures.")
    ] = 0,
    sound_windows: SoundWindowsOption = 1,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = "all",
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    r"""Make a data set from pictures with masks: whole pictures, or windows around the marked defects.

    Examples:

        retrain data from-masks pictures masks --side 128 --sound normal --out data/commutators \
            --pattern "(?P<label>normal|defect)/(?P<group>kos[0-9]+)_"

    """
    from retraining.data.listing import CLASS_FOLDERS
    from retraining.data.masks import Masks

    renamed = _renamed(rename)
    _build(
        lambda report: Masks(
            images,
            masks,
            pattern or CLASS_FOLDERS,
            listed(classes),
            renamed,
            sound,
            side,
            sound_windows,
            seed,
            sixteen_bit_white,
            report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


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
    processes: ProcessesOption = 2,
) -> None:
    """Make a data set of rendered parts: the patches that the station cuts, grouped by part.

    Parts that are rendered already are not rendered again.

    Examples:

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
    _write(parts, out / "whole")
    _write(patches, out / "patches")
    needed = ", ".join(f"{count} of {name}" for name, count in synthetic_needed(patches, share=share).items())
    print(f"SMHSD-P-GAN takes {needed} from generators.")


@app.command("split")
def split(
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
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 1,
) -> None:
    """Split a data set into train, validation and test by group, so that related pictures stay together.

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
        raise DatasetError("with --count, --train, --validation and --test are whole numbers of pictures")
    if count:
        done = split_by_count(loaded, {name: int(number) for name, number in given.items()}, seed)
    else:
        done = split_by_share(loaded, given, seed)
    _write(done, out or (dataset if dataset.is_dir() else dataset.parent))


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
    with _stage_bars() as report:
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
    _print(loaded, None if notes else _SHORT)
    if sheet is not None:
        print(contact_sheet(loaded, sheet, per_class=per_class))


_SHORT = 300
"""Characters of a note that are shown; the manifest has all of it."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The options that say which pictures belong together."""

    reach: int
    join: str
    by: str
    table: Path | None


def _build(reader: Callable[[Reporter], Reader], out: Path, grouping: Grouping) -> None:
    from retraining.data.readers import build

    with _stage_bars() as report:
        dataset = build(
            reader(report),
            reach=grouping.reach,
            join=grouping.join,
            group_by=grouping.by,
            groups=grouping.table,
            report=report,
        )
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

    from station.cli.text import one_line, told

    splits = sorted({p.split for p in dataset.pictures}, key=("train", "validation", "test", "").index)
    table = Table("class", *(split or "no split" for split in splits), "groups")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in dataset.classes:
        groups = len({p.group for p in dataset.pictures if p.label == name})
        table.add_row(told(name), *(str(dataset.count(split)[name]) for split in splits), str(groups))
    Console().print(table)
    labellers = sorted({p.labelled_by for p in dataset.pictures})
    print(f"{len(dataset)} pictures, labelled by {', '.join(labellers)}")
    for note in dataset.notes:
        line = one_line(note)
        print(f"note: {line if length is None or len(line) <= length else line[:length] + ' ...'}")
    if length is not None and any(len(note) > length for note in dataset.notes):
        print("`retrain data show --notes` shows them at full length.")


@contextmanager
def _stage_bars() -> Iterator[Reporter]:
    """One progress bar for each stage of reading pictures and of comparing them."""
    with progress_bars() as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, status="")
            bars.update(tasks[stage], completed=done)

        yield report


def _renamed(pairs: list[str] | None) -> dict[str, str]:
    from retraining.errors import DatasetError

    found = {}
    for pair in pairs or []:
        label, equals, name = pair.partition("=")
        if not (label and equals and name):
            raise DatasetError(f"--rename takes LABEL=CLASS, not {pair!r}")
        found[label] = name
    return found
