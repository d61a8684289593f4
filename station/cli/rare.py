"""``station rare``: the log of rare and doubtful parts, beside the station that fills it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from station.cli.parameters import FILE_MADE
from station.cli.rows import Column, Row

if TYPE_CHECKING:
    from station.pictures.drawing import PartView
    from station.rare.store import Entry, RareStore

app = typer.Typer(help="List, show and purge the log of rare and doubtful parts.", no_args_is_help=True)

Configuration = Annotated[
    Path, typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine.")
]
Folder = Annotated[
    Path | None, typer.Option("--folder", help="The log's folder, instead of a configuration.")
]
DEFAULT_CONFIG = Path("config/demo.yaml")
COLUMNS = (
    Column("item"),
    Column("part", right=True),
    Column("kept", spare=2),
    Column("station-says"),
    Column("confidence", right=True, spare=3),
    Column("person-says"),
    Column("seen", right=True, spare=1),
)


@app.command("list")
def list_items(
    config: Configuration = DEFAULT_CONFIG,
    folder: Folder = None,
    reason: Annotated[
        str | None, typer.Option(help="Only items with this reason, for example `rare class`.")
    ] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="Only items of this class.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="The most items to print.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the items, the most informative first.

    Examples:
        station rare list --reason "rare class"

        station rare list --json | jq .said_class

    """
    from rich.console import Console

    from station.cli.rows import print_rows

    store = _store(config, folder)
    found = _chosen(store, reason, class_name, limit)
    if as_json:
        for one in found:
            print(json.dumps(json.loads(one.item.to_json()) | _beside(one)))
        return
    print_rows(Console(), COLUMNS, [_line(one) for one in found], "why")
    usage = store.usage()
    full = f"{usage.used / 1e6:.1f} MB" + (f" of {usage.quota / 1e6:.0f} MB" if usage.quota else "")
    waste = f", {usage.quarantined} files in quarantine" if usage.quarantined else ""
    print(f"{len(found)} of {usage.items} items, {full}{waste}", file=sys.stderr)


@app.command()
def show(
    item: Annotated[str, typer.Argument(help="The item, or the number of its record.")],
    config: Configuration = DEFAULT_CONFIG,
    folder: Folder = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Draw the part with its verdict into this file."),
        FILE_MADE,
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show everything about one item, and check that its picture is what was written.

    An item with a damaged picture is shown without it, and the command fails.

    Examples:
        station rare show 1204

        station rare show 3f9c2a11-1204 --picture part.png

    """
    from rich.console import Console

    from station.cli.text import styled
    from station.pictures.drawing import draw_picture
    from station.pictures.saving import write_drawn
    from station.rare.index import RareLogError

    store = _store(config, folder)
    found = store.entry(item)
    one, problem = found.item, None
    try:
        height, width = store.read_picture(found).shape[:2]
        stands = f"{width} x {height} px, sha256 {found.sha256}, intact"
    except RareLogError as error:
        problem, stands = error, f"DAMAGED, it had sha256 {found.sha256}"
    if picture is not None and problem is None:
        write_drawn(picture, draw_picture(_view(found, store)))
    if as_json:
        print(json.dumps(json.loads(one.to_json()) | _beside(found), indent=1))
        if problem is not None:
            raise problem
        return
    console = Console()

    def row(name: str, text: object) -> None:
        console.print(styled("[dim]{}[/]{}", f"{name:<16}", text), soft_wrap=True)

    region = one.region
    row("item", f"{found.item_id}, kept {one.kept_at}, {found.times_seen} times seen")
    row("part", f"{one.part_id}, record {one.record_id} of journal {one.journal_id}")
    row("station", f"{one.station}{', isSimulated' if one.is_simulated else ''}")
    row("station says", f"{one.outcome}: {one.class_name} {one.confidence:.3f}; {one.verdict_reason}")
    row("person says", f"{one.said_class} ({one.said_by})" if one.said_class else "nothing")
    for why in one.whys:
        row("why", f"{why.reason}: {why.text}")
    row("picture", f"{found.picture}, {stands}")
    row("in the frame", f"{region.width} x {region.height} px at {region.x}, {region.y}")
    if one.place is not None:
        box, frame, mm = one.place.in_surface, one.place.in_frame, one.place.on_product
        row(
            "deciding patch", f"{one.patch}: {box.width} x {box.height} px at {box.x}, {box.y} of the picture"
        )
        row("", f"{frame.width} x {frame.height} px at {frame.x}, {frame.y} of the frame")
        row("", f"{mm.width:.1f} x {mm.height:.1f} mm at {mm.x:.1f}, {mm.y:.1f} mm")
    if one.scores is not None and one.patch is not None:
        pairs = zip(one.classes, one.scores[one.patch], strict=True)
        row("its scores", ", ".join(f"{name} {p:.3f}" for name, p in pairs))
    if one.novelty is not None:
        highest = max(range(len(one.novelty)), key=one.novelty.__getitem__)
        row("novelty", f"{one.novelty[highest]:.3f} at patch {highest} (above 1 is far from training)")
    row("recipe", f"{one.recipe} {one.recipe_digest}")
    row("engine", f"{one.engine} {one.engine_digest}, {one.backend} {one.precision}")
    row("configuration", one.config_digest or "unknown")
    row("calibration", one.calibration_digest or "none")
    if problem is not None:
        raise problem


@app.command()
def sheet(
    target: Annotated[Path, typer.Argument(help="The picture to write, .png or .jpg."), FILE_MADE],
    config: Configuration = DEFAULT_CONFIG,
    folder: Folder = None,
    reason: Annotated[
        str | None, typer.Option(help="Only items with this reason, for example `rare class`.")
    ] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="Only items of this class.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=400, help="The most items to show.")] = 60,
) -> None:
    """Write a contact sheet: the items on one picture, the most informative first.

    Items with a damaged picture are left out and named, and the command fails.

    Examples:
        station rare sheet rare.png

        station rare sheet doubtful.png --reason "two classes close" --limit 20

    """
    from station.pictures.saving import write_contact_sheet
    from station.rare.index import RareLogError

    store = _store(config, folder)
    views, problems = [], []
    for one in _chosen(store, reason, class_name, limit):
        try:
            views.append(_view(one, store))
        except RareLogError as error:
            problems.append(str(error))
    if views or not problems:
        write_contact_sheet(views, target, f"{len(views)} rare and doubtful parts")
        print(f"{len(views)} items on {target}")
    if problems:
        raise RareLogError("\n".join(problems))


@app.command()
def purge(
    to_mb: Annotated[
        float, typer.Option("--to-mb", min=0.0, help="The size that the log may have then, MB.")
    ],
    config: Configuration = DEFAULT_CONFIG,
    folder: Folder = None,
) -> None:
    """Drop the least informative items until the log is small enough, also while the station runs.

    Items of which a person spoke stay, and so do files in quarantine, whatever size was named.

    Examples:
        station rare purge --to-mb 500

    """
    store = _store(config, folder)
    dropped = store.purge(int(to_mb * 1e6))
    usage = store.usage()
    print(f"dropped {len(dropped)} items; {usage.items} are left, {usage.used / 1e6:.1f} MB")
    if usage.used > to_mb * 1e6:
        print(
            f"{usage.said} items of which a person spoke, and {usage.quarantined} files in quarantine, stay"
        )


def _store(config: Path, folder: Path | None) -> RareStore:
    """The log, to be read. Raises ``ConfigError``, ``RareLogError``."""
    from station.rare.index import RareLogError
    from station.rare.store import RareStore

    if folder is not None:
        return RareStore(folder)
    from station.config import load_config

    settings = load_config(config)
    if settings.paths.rare is None:
        raise RareLogError(f"{config}: keeps no rare parts: name a folder for them, `paths.rare`")
    return RareStore(settings.paths.rare, quota=settings.rare.quota_mb * 1_000_000)


def _chosen(store: RareStore, reason: str | None, class_name: str | None, limit: int | None) -> list[Entry]:
    from station.rare.index import RareLogError
    from station.rare.items import Reason

    if reason is not None and reason not in list(Reason):
        raise RareLogError(f"there is no reason {reason!r}: write one of: {', '.join(Reason)}")
    return [
        one
        for one in store.entries()
        if (reason is None or any(why.reason == reason for why in one.item.whys))
        and class_name in (None, one.item.said_class or one.item.class_name)
    ][:limit]


def _line(one: Entry) -> Row:
    item = one.item
    return Row(
        cells=(
            one.item_id,
            str(item.part_id),
            item.kept_at[:19],
            item.class_name,
            f"{item.confidence:.3f}",
            item.said_class or "",
            str(one.times_seen),
        ),
        styles=("", "", "", "", "", "bold", ""),
        remark="; ".join(f"{why.reason}: {why.text}" for why in item.whys),
    )


def _beside(one: Entry) -> dict[str, object]:
    return {
        "item_id": one.item_id,
        "picture": str(one.picture),
        "sha256": one.sha256,
        "size": one.size,
        "times_seen": one.times_seen,
    }


def _view(one: Entry, store: RareStore) -> PartView:
    import numpy as np

    from station.pictures.drawing import view_of_surface

    item = one.item
    scores = None if item.scores is None else np.array(item.scores, np.float32)
    patches = item.patches(store.read_picture(one))
    return view_of_surface(f"part {item.part_id}", item.verdict(), patches, scores, item.classes)
