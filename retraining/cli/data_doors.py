"""``retrain data from-...``: the doors by which a person's own pictures come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.data_options import (
    BoxSideOption,
    ClassesOption,
    ClassOfOption,
    GroupByOption,
    GroupsOption,
    Join,
    JoinOption,
    MarginOption,
    OutOption,
    PatternOption,
    ReachOption,
    RenameOption,
    SoundOption,
    SoundSeedOption,
    SoundWindowsOption,
    TrustBoxesOption,
    WhiteOption,
    WholeOption,
)
from retraining.cli.data_output import stage_bars, write_set
from retraining.cli.options import listed
from station.cli.parameters import refuse_given

if TYPE_CHECKING:
    from retraining.data.readers import Reader
    from retraining.surfaces.reading import Reporter

_OF_WINDOWS = ("margin", "side", "sound_windows", "seed")


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
    join: JoinOption = Join.ALL,
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
    build_set(
        lambda report: Folders(
            root, pattern or CLASS_FOLDERS, listed(classes), renamed, labelled_by, sixteen_bit_white, report
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


def from_voc(
    context: typer.Context,
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
    whole: WholeOption = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 0,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = Join.ALL,
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around boxes, which are given as VOC's XML.

    Examples:

        retrain data from-voc images boxes --out data/boxes

        retrain data from-voc images boxes --whole --sound good --out data/mine

    """
    from retraining.data.boxes import FOLDERS_OR_NONE, VocBoxes

    if whole:
        refuse_given(context, _OF_WINDOWS, "with --whole")
    renamed = _renamed(rename)
    build_set(
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
            whole=whole,
            sixteen_bit_white=sixteen_bit_white,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


def from_coco(
    context: typer.Context,
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
    whole: WholeOption = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 1,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = Join.ALL,
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around the boxes, polygons or runs (RLE) of a COCO file, and away from them.

    Examples:

        retrain data from-coco images annotations.json --out data/coco

        retrain data from-coco images annotations.json --side 128 --trust-unmarked --out data/coco

        retrain data from-coco images annotations.json --whole --sound good --out data/mine

    """
    from retraining.data.boxes import CocoBoxes
    from retraining.data.listing import NO_CLASS

    if whole:
        refuse_given(context, _OF_WINDOWS, "with --whole")
    renamed = _renamed(rename)
    build_set(
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
            whole=whole,
            sixteen_bit_white=sixteen_bit_white,
            trust_unmarked=trust_unmarked,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


def from_yolo(
    context: typer.Context,
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
    whole: WholeOption = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 1,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = Join.ALL,
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around YOLO's boxes or polygons, and away from them.

    A picture with an empty file is sound; a picture without a file is not labelled and is left out.

    Examples:

        retrain data from-yolo yolo/images yolo/labels yolo/data.yaml --out data/yolo

        retrain data from-yolo images labels data.yaml --whole --sound good --out data/mine

    """
    from retraining.data.boxes import YoloBoxes
    from retraining.data.listing import NO_CLASS

    if whole:
        refuse_given(context, _OF_WINDOWS, "with --whole")
    renamed = _renamed(rename)
    build_set(
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
            whole=whole,
            sixteen_bit_white=sixteen_bit_white,
            names=names,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


def from_labelme(
    context: typer.Context,
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    shapes: Annotated[
        Path, typer.Argument(help="Folder of the .json files, which have the paths of their pictures.")
    ],
    out: OutOption,
    pattern: PatternOption = None,
    classes: ClassesOption = "",
    rename: RenameOption = None,
    trust_boxes: TrustBoxesOption = False,
    whole: WholeOption = False,
    margin: MarginOption = 0.1,
    side: BoxSideOption = 0,
    sound: SoundOption = "sound",
    sound_windows: SoundWindowsOption = 1,
    seed: SoundSeedOption = 1,
    group_by: GroupByOption = "",
    groups: GroupsOption = None,
    join: JoinOption = Join.ALL,
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    """Make a data set of windows around LabelMe's shapes, and away from them.

    A picture whose file has no shape is sound; a picture without a file is not labelled and is left out.

    Examples:

        retrain data from-labelme pictures pictures --side 128 --out data/labelme

        retrain data from-labelme pictures pictures --whole --sound good --out data/mine

    """
    from retraining.data.boxes import LabelMeBoxes
    from retraining.data.listing import NO_CLASS

    if whole:
        refuse_given(context, _OF_WINDOWS, "with --whole")
    renamed = _renamed(rename)
    build_set(
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
            whole=whole,
            sixteen_bit_white=sixteen_bit_white,
            report=report,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


def from_masks(
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    masks: Annotated[
        Path,
        typer.Argument(
            help="Folder of the masks, which have their pictures' paths, perhaps with _mask or _label added."
        ),
    ],
    out: OutOption,
    class_of: ClassOfOption = None,
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
    join: JoinOption = Join.ALL,
    reach: ReachOption = 12,
    sixteen_bit_white: WhiteOption = None,
) -> None:
    r"""Make a data set from pictures with masks: whole pictures, or windows around the marked defects.

    A mask is bright on the defect, whose class is in the path of the picture. With --class-of, a mask itself
    names the class of every pixel.

    Examples:

        retrain data from-masks pictures masks --side 128 --sound normal --out data/commutators \
            --pattern "(?P<label>normal|defect)/(?P<group>kos[0-9]+)_"

        retrain data from-masks pictures masks --class-of 1=scratch --class-of 2=dent --out data/mine

        retrain data from-masks pictures masks --class-of "#ff0000=dent" --out data/mine

    """
    from retraining.data.masks import Masks
    from retraining.surfaces.class_masks import ClassMasks

    renamed = _renamed(rename)
    told = ClassMasks.parse(class_of) if class_of else None
    build_set(
        lambda report: Masks(
            images,
            masks,
            pattern or "",
            listed(classes),
            renamed,
            sound,
            side,
            sound_windows,
            seed,
            sixteen_bit_white,
            report,
            told,
        ),
        out,
        Grouping(reach, join, group_by, groups),
    )


@dataclass(frozen=True, slots=True)
class Grouping:
    """The options that say which pictures belong together."""

    reach: int
    join: Join
    by: str
    table: Path | None


def build_set(reader: Callable[[Reporter], Reader], out: Path, grouping: Grouping) -> None:
    """Read, group, write and show a data set, with progress bars."""
    from retraining.data.readers import build

    with stage_bars() as report:
        dataset = build(
            reader(report),
            reach=grouping.reach,
            join=grouping.join,
            group_by=grouping.by,
            groups=grouping.table,
            report=report,
        )
    write_set(dataset, out)


def _renamed(pairs: list[str] | None) -> dict[str, str]:
    from retraining.errors import DatasetError

    found = {}
    for pair in pairs or []:
        label, equals, name = pair.partition("=")
        if not (label and equals and name):
            raise DatasetError(f"--rename takes LABEL=CLASS, not {pair!r}")
        found[label] = name
    return found
