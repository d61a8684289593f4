"""``retrain sign``: who may change what in a repository, and what is released to stations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import listed
from retraining.cli.repository_options import (
    Channel,
    EngineVersionOption,
    KeyOption,
    ProductOption,
    RepositoryArgument,
    now,
    sign,
)
from station.cli.parameters import FOLDER_MADE, refuse_given
from station.cli.text import one_line, printable

app = typer.Typer(
    name="sign",
    help="Make repositories, sign their changes, promote engines, and order them for stations.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

DaysOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=365, help="Days for which stations trust it without a fresh timestamp. Default: 7."
    ),
]


@app.command("new")
def new(
    repository: Annotated[Path, typer.Argument(help="A new folder for the repository."), FOLDER_MADE],
    people: Annotated[
        list[Path], typer.Option(help="Public key (.pub) of a person who signs the root; several times.")
    ],
    online: Annotated[
        Path, typer.Option(help="Public key of the machine that signs snapshots and timestamps.")
    ],
    threshold: Annotated[int, typer.Option(min=1, help="How many of the people must sign.")] = 2,
    targets: Annotated[
        list[Path] | None,
        typer.Option(
            help="Public key of who signs the list of products, or a director's orders; several times. "
            "Default: the same people."
        ),
    ] = None,
    targets_threshold: Annotated[
        int | None, typer.Option(min=1, help="How many of them must sign. Default: 1, or as for the people.")
    ] = None,
    director: Annotated[
        bool, typer.Option("--director", help="A plant's repository of orders, and not one of engines.")
    ] = False,
    days: DaysOption = None,
    key: KeyOption = None,
) -> None:
    """Make a repository: of engines, by the workshop, or of orders, by the plant (the director).

    A station installs an engine only where both list it, so neither the workshop's keys nor the plant's alone
    can install anything. Give `metadata/1.root.json` of both to each station, by a way that you trust.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain sign new repository --people keys/anna.pub --people keys/ben.pub
        --people keys/clara.pub --online keys/online.pub --key keys/anna.pem --key keys/ben.pem
        --key keys/online.pem

        retrain sign new director --director --people keys/boss.pub --threshold 1
        --targets keys/shift.pub --online keys/plant.pub --key keys/boss.pem --key keys/shift.pem
        --key keys/plant.pem

    """
    from deploy.repository.changes import ENGINES, ORDERS, begin
    from deploy.repository.folder import new_repository
    from deploy.repository.keys import read_public, read_publics

    root = read_publics(people)
    lists = read_publics(targets) if targets else root
    needed = targets_threshold or (1 if targets else threshold)
    with new_repository(repository, now()) as made:
        begin(made, ORDERS if director else ENGINES, root, threshold, read_public(online), lists, needed)
        sign(made, key, days=days)


@app.command("product")
def product(
    repository: RepositoryArgument,
    product: Annotated[str, typer.Argument(help="The engine's name, which recipes give as `engine`.")],
    canary: Annotated[
        list[Path], typer.Option(help="Public key of who ships to the canary channel; several times.")
    ],
    stable: Annotated[
        list[Path], typer.Option(help="Public key of who promotes to the stable channel; several times.")
    ],
    stable_threshold: Annotated[
        int, typer.Option(min=1, help="How many of them must sign for the stable channel.")
    ] = 1,
    key: KeyOption = None,
) -> None:
    """Add a product to a repository of engines, and say who ships it.

    The keys of the list of products sign this, and those of both channels.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain sign product repository housing --canary keys/workshop.pub --stable keys/anna.pub
        --key keys/anna.pem --key keys/ben.pem --key keys/workshop.pem --key keys/online.pem

    """
    from deploy.repository.changes import add_product
    from deploy.repository.folder import open_repository
    from deploy.repository.keys import read_publics

    with open_repository(repository, now()) as opened:
        add_product(opened, product, read_publics(canary), read_publics(stable), stable_threshold)
        sign(opened, key)


@app.command("pending")
def pending(
    repository: RepositoryArgument,
    key: KeyOption = None,
    other: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Take over the signatures that were made in this copy of the repository."
        ),
    ] = None,
) -> None:
    """Sign the changes that wait, and publish them when nothing is missing.

    Every person runs this with their own key, in the repository's folder or in a copy of it. The machine that
    has the online key runs it last.

    Exit code: 0 published, 1 it waits for further signatures.

    Examples:

        retrain sign pending repository --key keys/ben.pem

        retrain sign pending repository --from /media/stick/repository --key keys/online.pem

    """
    from deploy.repository.errors import RepositoryError
    from deploy.repository.folder import open_repository
    from deploy.repository.words import changes_of

    with open_repository(repository, now()) as opened:
        if not key and other is None:
            raise typer.BadParameter("give --key, --from, or both")
        if not opened.pending:
            raise RepositoryError(f"{repository}: no change waits for signatures")
        print(printable("\n".join(changes_of(opened))))
        if other is not None:
            print(f"{opened.take_signatures(other)} signatures taken over from {other}")
        sign(opened, key, everything=True)


@app.command("refresh")
def refresh(
    repository: RepositoryArgument,
    role: Annotated[
        str | None,
        typer.Option(help="Sign this one anew too, before it expires: root, targets or a channel."),
    ] = None,
    days: DaysOption = None,
    key: KeyOption = None,
) -> None:
    """Sign a new snapshot and timestamp, so that stations know that they see the newest state.

    A machine that has the online key runs this every day. For stations that get a stick once per month, give
    more --days.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain sign refresh repository --key keys/online.pem

        retrain sign refresh repository --role root --key keys/anna.pem --key keys/ben.pem
        --key keys/online.pem

    """
    from deploy.repository.folder import open_repository

    with open_repository(repository, now()) as opened:
        if role in ("snapshot", "timestamp"):
            raise typer.BadParameter(f"--role: {role} is signed anew by every refresh; leave it out")
        if role is not None:
            opened.propose(role)
        sign(opened, key, refresh=True, days=days)


@app.command("promote")
def promote(
    repository: RepositoryArgument,
    product: ProductOption,
    version: EngineVersionOption = None,
    key: KeyOption = None,
) -> None:
    """List an engine of the canary channel in the stable channel too.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain sign promote repository --product housing --key keys/anna.pem --key keys/online.pem

        retrain sign promote repository --product housing --version 3 --key keys/anna.pem

    """
    from deploy.repository.changes import promote as change
    from deploy.repository.folder import open_repository

    with open_repository(repository, now()) as opened:
        entry = change(opened, product, version)
        print(f"{product} version {entry.version}: stable")
        sign(opened, key)


@app.command("order")
def order(
    context: typer.Context,
    director: Annotated[Path, typer.Argument(help="The plant's repository of orders.")],
    product: ProductOption,
    repository: Annotated[
        Path | None, typer.Option(help="The repository of engines, or a copy of its metadata.")
    ] = None,
    channel: Annotated[Channel, typer.Option(help="Channel of the engine.")] = Channel.STABLE,
    version: EngineVersionOption = None,
    stations: Annotated[
        str | None, typer.Option(help="Names of the stations that are to have it, separated by commas.")
    ] = None,
    percent: Annotated[
        int | None,
        typer.Option(
            min=0, max=100,
            help="Or a share of all stations, by the hash of their names; 10 % have all those of 1 %.",
        ),
    ] = None,
    halt: Annotated[
        bool, typer.Option("--halt", help="Let no further station install what was ordered.")
    ] = False,
    key: KeyOption = None,
) -> None:  # fmt: skip
    """Order an engine for stations of a plant, for more of them, or stop an order.

    An order for the same engine is replaced. Orders for other versions of the product stay: a station takes
    the highest version of which an order names it.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain sign order director --repository repository --product housing --channel canary
        --stations line-3,line-4 --key keys/shift.pem --key keys/plant.pem

        retrain sign order director --repository repository --product housing --percent 10
        --key keys/shift.pem --key keys/plant.pem

        retrain sign order director --product housing --halt --key keys/shift.pem

    """  # fmt: skip
    from deploy.repository import changes
    from deploy.repository.folder import open_repository, read_repository
    from deploy.repository.words import whom

    with open_repository(director, now()) as opened:
        if halt:
            refuse_given(context, ("repository", "channel", "stations", "percent"), "with --halt")
        elif (stations is None) == (percent is None):
            raise typer.BadParameter("give either --stations, --percent or --halt")
        elif repository is None:
            raise typer.BadParameter("--repository is missing: name the repository of engines")
        if halt or repository is None:
            orders = changes.halt(opened, product, version)
        else:
            ordered = changes.order(
                opened, read_repository(repository, now(), pending=False), product, channel, version,
                None if stations is None else listed(stations), percent or 0,
            )  # fmt: skip
            orders = [ordered]
        for path, found in orders:
            print(f"{path}: {whom(found)}")
        sign(opened, key)


@app.command("withdraw")
def withdraw(
    context: typer.Context,
    repository: Annotated[
        Path, typer.Argument(help="A repository of engines, or a director with an order to take back.")
    ],
    product: ProductOption,
    channel: Annotated[
        Channel | None, typer.Option(help="The channel to take it out of; for a repository of engines.")
    ] = None,
    version: EngineVersionOption = None,
    why: Annotated[
        str | None, typer.Option(help="The reason, which is signed with it; for a repository of engines.")
    ] = None,
    key: KeyOption = None,
) -> None:
    """Take an engine out of a channel for good, or an order of the plant back.

    No station installs a withdrawn engine any more. One that the plant has ordered to have it gets no engine
    until the plant withdraws its order, too, or orders another one; then an earlier order counts again. A
    station that has it keeps it: `station engines rollback` there. Its version is never used again; to list
    the engine once more, ship it under a later one.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain sign withdraw repository --product housing --channel stable --version 4
        --why "blind to burrs" --key keys/anna.pem --key keys/online.pem

        retrain sign withdraw director --product housing --version 4 --key keys/shift.pem
        --key keys/plant.pem

    """
    from deploy.repository import changes
    from deploy.repository.folder import open_repository
    from deploy.repository.words import whom

    with open_repository(repository, now()) as opened:
        if changes.kind_of(opened) == changes.ORDERS:
            refuse_given(context, ("channel", "why"), "for a director")
            for path, found in changes.withdraw_order(opened, product, version):
                print(one_line(f"{path}: no longer ordered, was {whom(found)}"))
        else:
            if channel is None:
                raise typer.BadParameter("--channel is missing: canary or stable")
            if not (why and why.strip()):
                raise typer.BadParameter("--why is missing: say the reason, for those who sign and read it")
            path, entry = changes.withdraw(opened, product, channel, version, why)
            print(one_line(f"{path}: version {entry.version} is withdrawn from {channel.value}"))
        sign(opened, key)


@app.command("drop")
def drop(repository: RepositoryArgument) -> None:
    """Give up the changes that wait for signatures.

    Examples:

        retrain sign drop repository

    """
    from deploy.repository.folder import open_repository

    with open_repository(repository, now()) as opened:
        roles = opened.drop()
    print(f"given up: {', '.join(roles)}" if roles else "no change was waiting")


@app.command("show")
def show(repository: RepositoryArgument) -> None:
    """Show what a repository lists, how long it counts, and what waits for signatures.

    Examples:

        retrain sign show repository

    """
    from deploy.repository.changes import (
        ORDERS,
        engines_in,
        kind_of,
        orders_in,
        products_of,
        withdrawn_from,
    )
    from deploy.repository.folder import TOP, read_repository
    from deploy.repository.orders import CHANNELS
    from deploy.repository.words import changes_of, whom

    opened = read_repository(repository, now())
    if kind_of(opened) == ORDERS:
        for target, found in orders_in(opened):
            print(one_line(f"{target.path}: version {found.version}, {whom(found)}"))
    for name in products_of(opened):
        for channel in CHANNELS:
            versions = [
                f"{entry.version} ({Path(target.path).stem[:12]})"
                for target, entry in engines_in(opened, name, channel)
            ]
            print(one_line(f"{name} {channel}: {', '.join(versions) or 'nothing'}"))
            for path, number, why in withdrawn_from(opened, name, channel):
                print(one_line(f"  version {number} ({Path(path).stem[:12]}) was withdrawn: {why}"))
    for role in (*TOP, *opened.channels):
        document = opened.published.get(role)
        if document is not None:
            signed = document.signed
            late = "  EXPIRED" if signed.is_expired(opened.now) else ""
            print(f"{role:40} {signed.version:5}  until {signed.expires:%Y-%m-%d %H:%M}{late}")
    print(printable("\n".join(changes_of(opened))), end="\n" if opened.pending else "")
    for role in opened.pending:
        if opened.missing(role):
            print(f"waits for {opened.missing(role)}")
