"""``station halt``, ``resume``, ``prepare`` and ``activate``: what the running station is asked to do."""

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
        str, typer.Option("--reason", help="Why; it is sent to the cell and stands in the journal.")
    ] = ("by request"),
) -> None:
    """Take no more parts until `station resume`; parts in hand are finished.

    The cell sees "not ready" with the reason. The station stays up.

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
    recipe: Annotated[str, typer.Argument(help="The recipe's name, as in the folder of recipes.")],
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
) -> None:
    """Change over to another recipe and its engine, between two parts and without stopping.

    The engine is loaded and proven first, beside the parts that go on; when anything is wrong, nothing is
    changed. The next start prepares the recipe of the configuration again.

    Examples:

        station prepare servo-motor-housing

        station prepare commutator --config /etc/station/station.yaml
    """
    _order(config, socket, "/prepare", {"recipe": recipe}, CHANGEOVER_S)


def activate(
    engine: Annotated[str, typer.Argument(help="The name of an engine's folder below paths.engines.")],
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
) -> None:
    """Change over to another engine for the same recipe, between two parts and without stopping.

    The engine is loaded and proven first, as at a start; when anything is wrong, nothing is changed. The next
    start takes the recipe's own engine again.

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
