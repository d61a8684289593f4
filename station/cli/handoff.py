"""``station handoff``: what waits for the workshop, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def handoff(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine."),
    ] = Path("config/demo.yaml"),
    now: Annotated[bool, typer.Option("--now", help="Hand over now, and wait for the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show which rare parts wait for the workshop, and why.

    Without --now, the command looks at this machine's disk only. With --now, it opens the target that the
    configuration names, as the running station does from time to time.

    Exit code: 0 nothing waits, 1 something waits.

    Examples:

        station handoff --config /etc/station/station.yaml

        station handoff --now

    """
    from station.cli.service_user import run_as, service_user
    from station.cli.text import printable
    from station.config import load_config
    from station.handoff.sender import Sender

    loaded = load_config(config)
    user = service_user(loaded.paths.journal.parent)
    if user is not None:
        words = ["handoff", "--config", str(config.absolute())]
        raise typer.Exit(run_as(user, [*words, *(["--now"] * now), *(["--json"] * as_json)]))
    sender = Sender(loaded)
    found = sender.round() if now else sender.waiting()
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        print(f"in no bundle yet    {found.items} items, {found.items_mb:.1f} MB")
        print(f"without a receipt   {len(found.bundles)} bundles, {found.bundles_mb:.1f} MB")
        for name in found.bundles:
            print(f"                    {name[:24]}")
        print(f"last receipt        {f'bundle {found.handed_over}' if found.handed_over else 'none'}")
        print(f"last round          {found.last_round or 'none yet'}")
        if found.problem:
            print(printable(f"why (since {found.since})  {found.problem}"))
    if found.items or found.bundles:
        raise typer.Exit(1)
