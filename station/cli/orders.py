"""The orders to a running station: halt, resume, prepare, activate, mark, review."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from station.cli.status import Configuration, Socket, socket_of

CHANGEOVER_S = 600.0
"""An engine may have to be built for this machine before it is proven."""


def halt(
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
    reason: Annotated[
        str, typer.Option("--reason", help="The reason; the station sends it to the cell and writes it down.")
    ] = ("by request"),
) -> None:
    """Stop taking parts until `station resume`; the station finishes the parts in hand.

    The cell receives "not ready" with the reason. The station program keeps running.

    Examples:

        station halt --reason "tool change"

        station halt --config /etc/station/station.yaml
    """
    order(config, socket, "/halt", {"reason": reason})


def resume(config: Configuration = Path("config/demo.yaml"), socket: Socket = None) -> None:
    """Take parts again after `station halt`.

    Examples:

        station resume

        station resume --config /etc/station/station.yaml
    """
    order(config, socket, "/resume", {})


def prepare(
    recipe: Annotated[str, typer.Argument(help="The recipe's name in the folder of recipes, or NAME@WIDTH.")],
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
) -> None:
    """Change over to another recipe and its engine, between two parts and without stopping.

    The station loads and proves the engine first and inspects parts meanwhile. If anything is wrong, it
    changes nothing. The next start of the station prepares the recipe of the configuration again.

    Behind an @ stands the width of the parts, px, where the recipe has several and the cell names none.

    Examples:

        station prepare servo-motor-housing@1065

        station prepare commutator --config /etc/station/station.yaml
    """
    order(config, socket, "/prepare", {"recipe": recipe}, CHANGEOVER_S)


def activate(
    engine: Annotated[str, typer.Argument(help="The name of the engine's folder in paths.engines.")],
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
) -> None:
    """Change over to another engine for the same recipe, between two parts and without stopping.

    The station loads and proves the engine first, as at a start. If anything is wrong, it changes nothing.
    The next start of the station takes the recipe's own engine again.

    Examples:

        station activate servo-motor-housing-2

        station activate servo-motor-housing --config /etc/station/station.yaml
    """
    order(config, socket, "/activate", {"engine": engine}, CHANGEOVER_S)


def mark(
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
    lot: Annotated[str, typer.Option(help="The lot of the parts from now on.")] = "",
    shift: Annotated[str, typer.Option(help="The shift.")] = "",
    operator: Annotated[str, typer.Option(help="The person at the line.")] = "",
) -> None:
    """Write lot, shift and operator into the record of every part from now on.

    The marks replace the earlier ones; without options, the station writes none. The next start of the
    station begins without marks.

    Examples:

        station mark --lot 4711-B --shift early --operator "J. Novak"

        station mark
    """
    order(config, socket, "/marks", {"lot": lot, "shift": shift, "operator": operator})


def review(
    class_name: Annotated[str, typer.Option("--class", help="What the part really is.")],
    by: Annotated[str, typer.Option(help="The name of the person who looked at the part.")],
    record: Annotated[
        int | None, typer.Argument(help="The record's number, as `station journal list` shows it.")
    ] = None,
    part: Annotated[
        int | None, typer.Option(help="The part id instead; the latest record of it is meant.")
    ] = None,
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
) -> None:
    """Write down what a person says an inspected part really is.

    The review becomes an event of the journal's chain. The record and its verdict stay as they are.

    Examples:

        station review 1204 --class scratches --by "J. Novak"

        station review --part 4711 --class defect-free --by "J. Novak"
    """
    body = {"record": record, "part": part, "class_name": class_name, "by": by}
    order(config, socket, "/review", body)


def order(config: Path, socket: Path | None, what: str, body: dict[str, Any], timeout_s: float = 10) -> None:
    """Send an order to the running station and print what came of it. Raises ``ControlError``."""
    from station.control import ask

    found = ask(socket_of(config, socket), "POST", what, body, timeout_s)
    prepared, reason = found["prepared"], found["reason"]
    print(
        f"{found['state']}{f' ({reason})' if reason else ''}: recipe {prepared['recipe']}, engine "
        f"{prepared['engine']} {prepared['engine_digest'][:12]}"
    )
