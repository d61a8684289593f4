"""``station status``: what the station on this machine does now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

Configuration = Annotated[
    Path, typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine.")
]
Socket = Annotated[
    Path | None, typer.Option("--socket", help="The control socket, instead of a configuration.")
]


def status(
    config: Configuration = Path("config/demo.yaml"),
    socket: Socket = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, for other programs.")
    ] = False,
) -> None:
    """Show the state of the running station: recipe, engine, counts, times, queues, devices, disk.

    Exit code: 0 the station answered, 2 no station answered.

    Examples:

        station status --config /etc/station/station.yaml

        station status --json | jq .parts
    """
    from rich.console import Console

    from station.control import ask

    found = ask(socket_of(config, socket), "GET", "/status")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        Console().print(shown(found), highlight=False)


def socket_of(config: Path, socket: Path | None) -> Path:
    """The control socket: as named, or as the configuration has it. Raises ``ConfigError``."""
    if socket is not None:
        return socket
    from station.config import load_config

    return load_config(config).control_socket


def disk_use(use: dict[str, Any]) -> str:
    """What one store takes, of what it may take, and what is free beside it."""
    used = "not known yet" if use["used_mb"] is None else f"{use['used_mb']:.1f} MB"
    limit = "no limit" if use["limit_mb"] is None else f"at most {use['limit_mb']:.0f} MB"
    free = "" if use["free_mb"] is None else f", {use['free_mb']:.0f} MB free"
    return f"{used}, {limit}{free}"


DUTIES = {
    "trial": "the trial is not watched, and its engine goes back soon",
    "steps": "steps of engines are not in the journal",
    "proof": "new engines are not proven",
    "shadow": "no engine is sent to the shadow or promoted",
}
"""What it means that a duty of the keeper (``station/engine_keeper.py``) cannot be done."""


def _new_engines(home: dict[str, Any]) -> tuple[str, ...]:
    """Which engine of the store judges, and which one shadows, in words."""
    if "problem" in home:
        return (home["problem"],)
    active = "the factory engine judges"
    if home["state"] is not None:
        active = f"{home['active'][:12]} judges, {home['state']} since {home['since'][:19]}Z: {home['why']}"
    shadows = f"{home['candidate'][:12]} shadows" if home["candidate"] else ""
    return active, f"back to {home['previous'][:12]} if need be" if home["state"] else "", shadows


def shown(found: dict[str, Any]) -> RenderableType:
    """The status document for people."""
    from rich.table import Table
    from rich.text import Text

    from station.cli.text import printable

    table = Table.grid(padding=(0, 2))
    prepared, parts, journal = found["prepared"], found["parts"], found["journal"]
    camera, sorter = found["camera"], found["sorter"]

    def row(name: str, *texts: str, style: str = "") -> None:
        table.add_row(
            Text(printable(name), style="dim"),
            Text(printable("; ".join(text for text in texts if text)), style=style),
        )

    row("station", found["station"], f"software {found['software_version']}")
    row("state", found["state"], found["reason"], style="bold")
    row("recipe", prepared["recipe"], prepared["recipe_digest"][:12])
    row("marks", *(f"{name} {text}" for name, text in found["marks"].items() if text))
    for risk in found["accepted_risks"]:
        row("risk", risk, style="bold yellow")
    row(
        "engine",
        prepared["engine"],
        prepared["engine_digest"][:12],
        f"{prepared['backend']} {prepared['precision']}",
    )
    if home := found.get("new_engines"):
        row("new engines", *_new_engines(home), style="bold red" if "problem" in home else "")
        if trial := home["trial"]:
            judged = f"{trial['digest'][:12]} has judged {trial['parts']} of {trial['of']} parts"
            row("trial", judged, *(f"not compared: {one}" for one in trial["not_compared"]))
        for duty, problem in home["problems"].items():
            row(DUTIES[duty], problem, style="bold red")
    if canary := found["canary"]:
        row(
            "golden parts",
            f"{canary['passed']} judged right since the engine was opened, each of {canary['golden']} "
            f"every {canary['period_s']:g} s",
            f"a part waited {canary['longest_step_ms']:.0f} ms at most",
            canary["problem"],
            style="bold red" if canary["problem"] else "",
        )
    row(
        "parts",
        f"{parts['triggers']}: {parts['accepted']} accepted, {parts['rejected']} rejected, "
        f"{parts['faulted']} faulted, {parts['in_hand']} in hand",
        f"yield {parts['yield']:.1%}",
        f"{parts['per_second']:.1f} parts/s",
        f"{parts['overloaded']} waited until their deadline (overload)" if parts["overloaded"] else "",
    )
    for name, of in found["trigger_to_ms"].items():
        row(f"to {name}", f"p50 {of['p50']:.0f} ms, p95 {of['p95']:.0f} ms, p99 {of['p99']:.0f} ms")
    for queue in found["queues"]:
        row(
            f"queue {queue['name']}",
            f"{queue['length']} of {queue['capacity']}, {queue['highest']} at most, {queue['shed']} dropped",
        )
    for one in found["observers"]:
        row(one["name"], one["note"] or f"{one['observed']} parts", one["problem"])
    if telemetry := found.get("telemetry"):
        row(
            f"telemetry to {telemetry['broker']}",
            "connected" if telemetry["connected"] else "LOST",
            *(f"{one['holder']} lacks {one['waiting']} {one['stream']}" for one in telemetry["lags"]),
            telemetry["problem"],
        )
        if sparkplug := telemetry["sparkplug"]:
            link = "connected" if sparkplug["connected"] else "LOST"
            row("Sparkplug B", link, f"{sparkplug['waiting']} records wait", sparkplug["problem"])
    row(
        "camera",
        "connected" if camera["connected"] else "LOST",
        camera["description"],
        f"{camera['delivered']} frames, {camera['lost']} lost, {camera['incomplete']} incomplete, "
        f"{camera['discarded']} discarded, reopened {camera['reopened']} times",
        f"{camera['temperature_c']:.0f} degrees C" if camera["temperature_c"] is not None else "",
        camera["last_error"],
    )
    row(
        "sorter",
        "connected" if sorter["connected"] else "LOST",
        sorter["description"],
        f"{sorter['resent']} resent, {sorter['garbled']} garbled, {sorter['refused']} triggers refused, "
        f"{sorter['misplaced']} misplaced, {sorter['unacknowledged']} unacknowledged",
        sorter["last_error"],
    )
    row(
        "journal",
        f"{journal['records']} records, {journal['open']} open",
        f"head {journal['head']['seq']} {journal['head']['digest'][:12]}",
        journal["path"],
    )
    for use in found["disk"]:
        row(f"disk {use['name']}", disk_use(use))
    for problem in found["disk_problems"]:
        row("disk", problem, style="bold yellow")
    return table
