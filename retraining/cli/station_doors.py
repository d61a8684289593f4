"""``retrain data from-station`` and ``from-received``: what stations saw becomes a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.data_doors import Grouping, build_set
from retraining.cli.data_options import ClassesOption, Join, OutOption
from retraining.cli.options import listed

ProductOption = Annotated[
    str,
    typer.Option(
        "--recipe", "-r", help="Only parts of this recipe, by name; needed where there are several."
    ),
]
_BY_PART = Grouping(reach=0, join=Join.ALL, by="", table=None)


def from_station(
    folder: Annotated[
        Path,
        typer.Argument(help="A station's rare log (`paths.rare`), or a folder of `station simulate`."),
    ],
    out: OutOption,
    recipe: ProductOption = "",
    journal: Annotated[
        Path | None,
        typer.Option(help="The station's journal, whose reviews count, too, where the log is an older copy."),
    ] = None,
    classes: ClassesOption = "",
) -> None:
    """Make a data set of the parts in a station's rare log, or of simulated frames with their truth.

    A part's label is what a person said: a review at the station, or an answer on the page of
    `retrain label`. Parts of which nobody spoke keep the station's verdict as a label by `station`, which
    training leaves out. All pictures of a part are one group.

    Examples:

        retrain data from-station /var/lib/station/rare --out data/press-3

        retrain data from-station copy/rare --journal copy/journal.db --recipe mine --out data/press-3

        retrain data from-station frames --out data/frames

    """
    from retraining.labels.from_stations import FromStation

    build_set(lambda report: FromStation(folder, recipe, journal, listed(classes), report), out, _BY_PART)


def from_received(
    folder: Annotated[Path, typer.Argument(help="The output folder of `retrain receive`.")],
    out: OutOption,
    recipe: ProductOption = "",
    classes: ClassesOption = "",
) -> None:
    """Make a data set of parts that stations handed over: labels are what persons said of them.

    A part's label is a review at the station, or an answer on the page of `retrain label`; where two people
    differ, it is left out. Parts of which nobody spoke keep the station's verdict as a label by `station`,
    which training leaves out. All pictures of a part are one group.

    Examples:

        retrain label page data/received --by anna --classes good,scratch,pit

        retrain data from-received data/received --recipe mine --out data/mine

    """
    from retraining.labels.from_stations import Received

    build_set(lambda report: Received(folder, recipe, listed(classes), report), out, _BY_PART)
