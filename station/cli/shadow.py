"""``station engines shadow`` and ``compare``: what another engine says, beside the line or of past parts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from station.cli.journal_options import SinceOption, UntilOption
from station.cli.parameters import FILE_MADE
from station.cli.rows import Column, Row

if TYPE_CHECKING:
    from station.pictures.drawing import PartView
    from station.rare.store import Entry, RareStore
    from station.shadow.again import JudgedAgain

COLUMNS = (
    Column("item", spare=2),
    Column("part", right=True),
    Column("kept", spare=3),
    Column("old-says"),
    Column("new-says"),
    Column("person-says"),
    Column("change"),
)


def shadow(
    digest: Annotated[
        str | None,
        typer.Argument(help="The first 6 or more digits of a proven engine's digest, as `list` shows it."),
    ] = None,
    config: Annotated[
        Path,
        typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine."),
    ] = Path("config/demo.yaml"),
    name: Annotated[
        str | None, typer.Option("--name", help="The engine's name; the recipe's engine if you leave it out.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="The person who does this; the login name if you leave it out.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason, which is written down.")] = "by request",
    end: Annotated[
        bool, typer.Option("--end", help="Let the engine that shadows do so no longer; without a digest.")
    ] = False,
) -> None:
    """Let a proven engine judge the parts beside the active one, or end that; no cell hears of it.

    A running station begins with it within seconds, and `station status` shows how far the proof is. The
    newest proven engine shadows by itself; this names another one, or one that has shadowed before. With
    --end none shadows until one is named, or until a newer one is proven; it stays proven, and can be
    activated.

    Examples:

        station engines shadow 3f9a12c4 --why "the lamp is new"

        station engines shadow --end --why "the station needs its spare time"

    """
    import getpass

    from station.assembly import load
    from station.engines.store import Store

    settings, recipe = load(config)
    if end == (digest is not None):
        raise typer.BadParameter("give either the digest of an engine, or --end")
    store = Store(settings.paths.engines, name or recipe.engine)
    person = by or getpass.getuser()
    if digest is None:
        ended = store.engines().candidate
        store.change(lambda known: known.not_shadowing(why, by=person))
        print(f"engine {ended[:12]} no longer shadows")
        return
    wanted = store.find(digest).digest
    store.change(lambda known: known.shadowing(wanted, why, by=person))
    print(f"engine {wanted[:12]} shadows from now on")


def compare(
    old: Annotated[
        str,
        typer.Argument(
            help="The engine that judges now: active, previous, factory, a digest of the store, or a folder."
        ),
    ],
    new: Annotated[str, typer.Argument(help="The engine to compare it with, named likewise; or candidate.")],
    since: SinceOption = None,
    until: UntilOption = None,
    config: Annotated[
        Path,
        typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine."),
    ] = Path("config/demo.yaml"),
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="A copy of a rare-defect log, instead of the station's own."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Draw the parts that would change on this picture."),
        FILE_MADE,
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per part that would change.")
    ] = False,
) -> None:
    """Judge past parts again by two engines, and show the ones whose verdict would change.

    The parts are those whose surfaces the rare-defect log has kept (`paths.rare`): the doubtful ones, and the
    audit's sample of all others. Nothing is sent or written down; the station may run meanwhile.

    A change is worse if a person said so; or, where nobody did, if a rejected part would be released, or an
    accepted one stopped that the old engine did not find far from its training.

    Exit code: 0 nothing would be worse, 1 something would, 2 not compared.

    Examples:
        station engines compare active candidate --since 7d

        station engines compare active 3f9c2a11 --since 2031-03-01 --sheet changes.png

        station engines compare factory ../runs/housing/engine/servo-motor-housing --folder copy/rare

    """
    from rich.console import Console
    from rich.progress import track

    from station.assembly import load
    from station.rare.index import RareLogError
    from station.rare.store import RareStore
    from station.shadow.again import fits, judge_again, summary_of
    from station.shadow.side import open_named

    settings, recipe = load(config)
    if folder is None and settings.paths.rare is None:
        raise RareLogError(
            f"{config}: keeps no rare parts, so there are none to judge again: name a folder for them, "
            "`paths.rare`; or name a copy of a log by --folder"
        )
    store = RareStore(folder or settings.paths.rare)  # type: ignore[arg-type]  # one of them is given
    period = _period(store.entries(), since, until)
    entries = [one for one in period if fits(one.item, recipe)]
    if not entries:
        others = f" ({len(period)} are of another product)" if period else ""
        raise RareLogError(
            f"rare log {store.folder}: has no parts of recipe {recipe.name} of this time{others}: "
            "name an earlier --since"
        )
    errors = Console(stderr=True)
    with errors.status("opening and proving both engines"):
        one, other = open_named(settings, recipe, old), open_named(settings, recipe, new)
    try:
        again = judge_again(entries, store.read_picture, one, other)
        found = list(track(again, "judging", total=len(entries), console=errors, transient=True))
    finally:
        one.close()
        other.close()
    changed = sorted((each for each in found if each.judged.change != "same"), key=_rank)
    if sheet is not None and changed:
        _draw(changed, store, sheet, f"{one.label} -> {other.label}: {len(changed)} parts would change")
    if as_json:
        for each in changed:
            print(json.dumps(_as_json(each)))
    else:
        _print(changed)
    summed = summary_of(found, settings.rare.audit_good, settings.rare.audit_bad)
    parts = ", ".join(f"{count} {change}" for change, count in sorted(summed.changes.items()))
    print(f"{one.label} -> {other.label}: {summed.parts} parts: {parts}", file=sys.stderr)
    print(
        f"worse on {summed.worse}, better on {summed.better}; of all parts of this time, about "
        f"{summed.share_changed:.2%} would change (by the audit's shares)",
        file=sys.stderr,
    )
    if summed.said:
        print(
            f"of {summed.said} parts that a person spoke of, the old engine sorts {summed.old_right} right, "
            f"the new one {summed.new_right}",
            file=sys.stderr,
        )
    if elsewhere := len(period) - len(entries):
        print(f"{elsewhere} parts of other products are left out", file=sys.stderr)
    if sheet is not None:
        print(f"{len(changed)} parts on {sheet}" if changed else "nothing to draw", file=sys.stderr)
    if summed.worse:
        raise typer.Exit(1)


def _period(entries: list[Entry], since: str | None, until: str | None) -> list[Entry]:
    """The items of a time, by when they were kept."""
    from station.cli.journal_options import selection
    from station.journal.events import utc_text

    chosen = selection(since, until, None, None, None)
    low = "" if chosen.since is None else utc_text(chosen.since)
    high = "~" if chosen.until is None else utc_text(chosen.until)
    return [one for one in entries if low <= one.item.kept_at < high]


def _rank(one: JudgedAgain) -> tuple[bool, str, int]:
    """What is worse comes first."""
    return not one.judged.is_worse, str(one.judged.change), one.judged.record_id


def _worth(one: JudgedAgain) -> str:
    return "worse" if one.judged.is_worse else "better" if one.judged.is_better else ""


def _print(changed: list[JudgedAgain]) -> None:
    from rich.console import Console

    from station.cli.rows import print_rows

    colours = {"worse": "red", "better": "green", "": ""}
    rows = [
        Row(
            cells=(
                one.entry.item_id,
                str(one.entry.item.part_id),
                one.entry.item.kept_at[:19],
                f"{one.old.class_name} {one.old.confidence:.3f}",
                f"{one.new.class_name} {one.new.confidence:.3f}",
                one.judged.said or "",
                " ".join(filter(None, (str(one.judged.change), _worth(one)))),
            ),
            styles=("", "", "", "", "", "bold", colours[_worth(one)]),
            remark=one.new.reason,
        )
        for one in changed
    ]
    print_rows(Console(), COLUMNS, rows, "why")


def _as_json(one: JudgedAgain) -> dict[str, Any]:
    item = one.entry.item
    return {
        "item_id": one.entry.item_id,
        "part_id": item.part_id,
        "record_id": item.record_id,
        "kept_at": item.kept_at,
        "change": str(one.judged.change),
        "worse": one.judged.is_worse,
        "better": one.judged.is_better,
        "person_says": one.judged.said,
        "old": _verdict(one.old),
        "new": _verdict(one.new),
        "picture": str(one.entry.picture),
    }


def _verdict(verdict: Any) -> dict[str, Any]:
    names = ("outcome", "class_name", "confidence", "patch", "reason")
    return {name: getattr(verdict, name) for name in names}


def _draw(changed: list[JudgedAgain], store: RareStore, sheet: Path, title: str) -> None:
    from station.pictures.saving import write_contact_sheet

    write_contact_sheet([_view(one, store) for one in changed[:400]], sheet, title)


def _view(one: JudgedAgain, store: RareStore) -> PartView:
    from station.pictures.drawing import view_of_surface

    item = one.entry.item
    words = " ".join(filter(None, (f"{item.part_id}", _worth(one), f"{one.old.class_name} >")))
    patches = item.patches(store.read_picture(one.entry))
    return view_of_surface(words, one.new, patches, one.new_scores)
