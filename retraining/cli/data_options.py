"""Options of the commands below ``retrain data``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from station.cli.parameters import FOLDER_MADE


class Join(StrEnum):
    """What is put into one group."""

    ALL = "all"
    EXACT = "exact"
    NONE = "none"


OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for dataset.json and contact-sheet.png."), FOLDER_MADE
]
PatternOption = Annotated[
    str | None,
    typer.Option(
        help="Regular expression for the path of a picture, with `(?P<label>...)` and, where names tell "
        "which pictures belong together, `(?P<group>...)`. Default: one sub-folder per class; folders "
        "of COCO, YOLO and LabelMe name no class."
    ),
]
ClassesOption = Annotated[
    str, typer.Option(help="Classes in order, the good one first, separated by commas; others are left out.")
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option(
        help="LABEL=CLASS: name of the class for a label of the pattern or of a box; may be repeated."
    ),
]
ReachOption = Annotated[
    int,
    typer.Option(min=0, help="How many of the next file names are searched for overlapping crops; 0: none."),
]
JoinOption = Annotated[
    Join,
    typer.Option(
        help="Duplicates that are put into one group: `all`, `exact` (the same pixels) or `none`; the others "
        "are reported."
    ),
]
TrustBoxesOption = Annotated[
    bool, typer.Option(help="Keep a box whose class is not that of its picture; default: leave it out.")
]
WholeOption = Annotated[
    bool,
    typer.Option(
        "--whole",
        help="Whole pictures that keep their marks, for `retrain product`, in place of windows. A mark that "
        "cannot be right, or whose picture is missing, is then an error.",
    ),
]
MarginOption = Annotated[
    float, typer.Option(min=0.0, help="Margin around a box on each side, as a share of its longer side.")
]
BoxSideOption = Annotated[
    int, typer.Option(min=0, help="Side of all windows, px; 0: as large as each box and its margin.")
]
SoundOption = Annotated[str, typer.Option(help="Class of pictures and windows without a mark.")]
ClassOfOption = Annotated[
    list[str] | None,
    typer.Option(
        help="VALUE=CLASS or '#RRGGBB=CLASS', for masks of several classes: the class of a grey value, of an "
        "index (indexed PNG) or of a colour; may be repeated. Black is sound; a value without a class is "
        "an error."
    ),
]
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
