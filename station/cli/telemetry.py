"""``station telemetry``: how far the consumers of records are, and the schemas of the messages."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from station.cli.rows import Column, Row, console_for_tables, print_rows

app = typer.Typer(
    help="Records on their way to dashboards and databases: lag per consumer, schemas.", no_args_is_help=True
)
COLUMNS = (
    Column("consumer"),
    Column("stream"),
    Column("held", right=True),
    Column("waiting", right=True),
    Column("moved", spare=1),
)


@app.command("status")
def status(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine."),
    ] = Path("config/demo.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what each consumer holds, and how many messages wait for it.

    The command reads the journal and its cursors on this machine's disk. If a station runs, it also asks the
    station for its connection to the broker. It opens no connection to the broker.

    Exit code: 0 nothing waits, 1 something waits or the broker is not connected, 2 there is no telemetry.

    Examples:

        station telemetry status --config /etc/station/station.yaml

        station telemetry status --json | jq '.consumers[] | select(.waiting > 0)'

    """
    from station.cli.text import printable
    from station.config import load_config
    from station.control import ask
    from station.control.asking import ControlError
    from station.telemetry.lag import delivered
    from station.telemetry.schema import TelemetryError

    loaded = load_config(config)
    if loaded.telemetry is None:
        raise TelemetryError(
            f"{config}: has no section `telemetry`, so nothing is sent: write one (docs/mqtt.md)"
        )
    rows = delivered(loaded.paths.journal, loaded.telemetry)
    try:
        live = ask(loaded.control_socket, "GET", "/status").get("telemetry")
    except ControlError:
        live = None
    if as_json:
        print(json.dumps({"consumers": [asdict(one) for one in rows], "live": live}, indent=2))
    else:
        lines = [
            Row(
                (one.consumer, one.stream, str(one.held), str(one.waiting), one.moved_at[:19] or "never"),
                ("bold", "", "", "yellow" if one.waiting else "", "dim"),
                one.note,
            )
            for one in rows
        ]
        print_rows(console_for_tables(), COLUMNS, lines, "note")
        if live is None:
            print("no station runs with this configuration")
        else:
            link = "connected" if live["connected"] else "not connected"
            print(printable(f"broker {live['broker']}, topic {live['topic']}: {link}"))
            print(
                f"receipts {live['receipts']}; {live['repeats']} sent again, {live['gauges_dropped']} gauges "
                f"dropped, {live['receipts_ignored']} receipts ignored"
            )
            if live["problem"]:
                print(printable(live["problem"]))
            if sparkplug := live["sparkplug"]:
                link = "connected" if sparkplug["connected"] else "not connected"
                born = "its births are sent" if sparkplug["born"] else "its births are not sent yet"
                print(printable(f"Sparkplug B {sparkplug['node']}: {link}, {born}"))
                if sparkplug["problem"]:
                    print(printable(sparkplug["problem"]))
    links = [] if live is None else [live, live["sparkplug"] or live]
    if any(one.waiting for one in rows) or not all(one["connected"] for one in links):
        raise typer.Exit(1)


@app.command("schema")
def schema(
    name: Annotated[str, typer.Argument(help="The name of a schema; without it, all names are listed.")] = "",
) -> None:
    """Print the JSON schema of a message.

    Examples:

        station telemetry schema

        station telemetry schema record-1 > record-1.json

    """
    from station.telemetry.schema import NAMES, OTHERS, TelemetryError, schema_text

    if not name:
        print("\n".join((*NAMES, *OTHERS)))
        return
    if name not in (*NAMES, *OTHERS):
        raise TelemetryError(f"there is no schema {name!r}; there are: {', '.join((*NAMES, *OTHERS))}")
    print(schema_text(name), end="")
