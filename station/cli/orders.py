"""``station halt``, ``resume``, ``prepare`` and ``activate``: the orders to a running station."""

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
    _order(config, socket, "/halt", {"reason": reason})


def resume(config: Configuration = Path("config/demo.yaml"), socket: Socket = None) -> None:
    """Take parts again after `station halt`.

    Examples:

        station resume

        station resume --config /etc/station/station.yaml
    """
    _order(config, socket, "/resume", {})


def prepare(
    recipe: Annotated[str, typer.Argument(help="The recipe's name in the folder of recipes.")],
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
) -> None:
    """Change over to another recipe and its engine, between two parts and without stopping.

    The station loads and proves the engine first and inspects parts meanwhile. If anything is wrong, it
    changes nothing. The next start of the station prepares the recipe of the configuration again.

    Examples:

        station prepare servo-motor-housing

        station prepare commutator --config /etc/station/station.yaml
    """
    _order(config, socket, "/prepare", {"recipe": recipe}, CHANGEOVER_S)


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
    _order(config, socket, "/activate", {"engine": engine}, CHANGEOVER_S)


def _order(config: Path, socket: Path | None, what: str, body: dict[str, Any], timeout_s: float = 10) -> None:
    from station.control import ask

    found = ask(socket_of(config, socket), "POST", what, body, timeout_s)
    prepared, reason = found["prepared"], found["reason"]
    print(
        f"{found['state']}{f' ({reason})' if reason else ''}: recipe {prepared['recipe']}, engine "
        f"{prepared['engine']} {prepared['engine_digest'][:12]}"
    )
