"""``retrain fleet``: what the stations of a plant say of themselves, and how far an order may go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.repository_options import (
    Channel,
    EngineVersionOption,
    KeyOption,
    ProductOption,
    now,
    sign,
)
from station.cli.text import one_line, printable, told

if TYPE_CHECKING:
    from deploy.fleet.witness import Seen

app = typer.Typer(
    name="fleet",
    help="Look at the stations of a plant by their signed manifests, and let orders grow by what they say.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

ManifestsOption = Annotated[
    Path, typer.Option("--manifests", help="The folder with the stations' manifests, `NAME.manifest`.")
]
StationsOption = Annotated[
    Path,
    typer.Option(
        "--stations", help="The folder with the public key of each station, `NAME.pub`; no others count."
    ),
]
MemoryOption = Annotated[
    Path,
    typer.Option("--memory", help="The file that keeps what was seen. Store it where no station can write."),
]
MaxAgeOption = Annotated[
    float,
    typer.Option("--max-age", min=1, help="Seconds after which a manifest says nothing of now any more."),
]
HOUR_S = 3600.0


@app.command("show")
def show(
    manifests: ManifestsOption,
    stations: StationsOption,
    memory: MemoryOption,
    max_age: MaxAgeOption = HOUR_S,
) -> None:
    """Show every station: engine, state, health, the last event of its journal, age.

    Manifests are verified by the keys of the stations. A journal that went back, or is another one than
    before, is an alarm until a person ends it by `retrain fleet anew`.

    Exit code: 0 all stations are well, 1 a manifest is refused, a station is silent, or there is an alarm.

    Examples:

        retrain fleet show --manifests /srv/fleet --stations keys/stations --memory fleet.json

    """
    from rich.console import Console

    from deploy.fleet.witness import enrolled, watch

    seen = watch(manifests, enrolled(stations), memory, max_age)
    Console().print(_table(seen))
    for one in seen:
        if one.trouble:
            print(printable(f"{one.station}: {one.trouble}"))
    if any(one.trouble for one in seen):
        raise typer.Exit(1)


@app.command("advance")
def advance(
    director: Annotated[Path, typer.Argument(help="The plant's repository of orders.")],
    product: ProductOption,
    manifests: ManifestsOption,
    stations: StationsOption,
    memory: MemoryOption,
    channel: Annotated[Channel, typer.Option(help="Channel of the engine.")] = Channel.STABLE,
    version: EngineVersionOption = None,
    max_age: MaxAgeOption = HOUR_S,
    key: KeyOption = None,
) -> None:
    """Let an order grow from 1 to 10 to 100 % of the stations, or halt it, by what its stations say.

    It grows by one stage where every station that it takes found the engine good. It is halted where one
    found it bad. Else it waits, and nothing is signed. A person runs this with a key of their own for each
    stage; or a timer does, with the key of a rule.

    Exit code: 0 it has grown, or is done; 1 it waits, was halted, or lacks signatures.

    Examples:

        retrain fleet advance director --product housing --manifests /srv/fleet --stations keys/stations
        --memory fleet.json --key keys/shift.pem --key keys/plant.pem

    """
    from deploy.fleet.rollout import Next, decide
    from deploy.fleet.witness import enrolled, watch
    from deploy.repository import changes
    from deploy.repository.folder import open_repository
    from deploy.repository.words import whom

    keys = enrolled(stations)
    with open_repository(director, now()) as opened:
        target, order = changes.order_of(opened, product, channel.value, version)
        digest = Path(target.path).stem
        seen = [one for one in watch(manifests, keys, memory, max_age) if one.station in keys]
        decision = decide(order, digest, seen)
        name = f"{product} version {order.version} ({digest[:12]})"
        print(one_line(f"{name}, {whom(order)}: {decision.next.value}"))
        for why in decision.why:
            print(printable(f"  {why}"))
        if decision.next is Next.HALT and not order.halted:
            changes.halt(opened, product, order.version)
            print("halted: no further station installs it")
            sign(opened, key)
        elif decision.next is Next.ADVANCE:
            wider = changes.advance(opened, target, order, decision.percent)
            print(one_line(f"{name}: {whom(wider)}"))
            sign(opened, key)
    if decision.next in (Next.HALT, Next.WAIT):
        raise typer.Exit(1)


@app.command("anew")
def anew(
    station: Annotated[str, typer.Argument(help="The station whose alarm a person has looked into.")],
    memory: MemoryOption,
    by: Annotated[str, typer.Option(help="Who says so.")],
    why: Annotated[str, typer.Option(help="What had happened; it is kept.")],
) -> None:
    """End the alarm about a station's journal: from now on, its journal as it is now is the known one.

    Examples:

        retrain fleet anew line-3 --memory fleet.json --by "M. Ito" --why "disk replaced, ticket 812"

    """
    from deploy.fleet.witness import FleetError, begin_anew, read_memory, write_memory
    from station.files import locked

    if not by.strip() or not why.strip():
        raise typer.BadParameter("say who and why: --by NAME --why REASON")
    if station not in read_memory(memory).stations:
        raise FleetError(
            f"{memory}: remembers no station {station}: `retrain fleet show` names those it has seen"
        )
    with locked(memory.absolute().parent, FleetError):
        write_memory(memory, begin_anew(read_memory(memory), station, by, why, now()))
    print(one_line(f"{station}: its journal is known anew, by {by}: {why}"))


def _table(seen: list[Seen]) -> object:
    from rich.table import Table

    table = Table()
    for column in ("station", "engine", "state", "health", "journal", "age"):
        table.add_column(column, justify="right" if column == "age" else "left")
    for one in seen:
        found = one.manifest
        if found is None:
            table.add_row(told(one.station), "", "", told(one.trouble), "", "", style="red")
            continue
        version = "" if found.version is None else f" v{found.version}"
        trial = f" {found.trial.parts}/{found.trial.of}" if found.trial else ""
        health = one.trouble or "; ".join(found.problems) or found.reason
        table.add_row(
            told(one.station),
            told(f"{found.product} {found.engine[:12]}{version} {found.engine_state}{trial}"),
            told(found.state),
            told(health[:80] or "well"),
            f"{found.head.seq} {found.head.digest[:12]}",
            _age(one.age_s or 0.0),
            style="red" if one.trouble else "yellow" if found.problems else "",
        )
    return table


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
