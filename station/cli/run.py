"""``station run``: the line, with a live view and a summary."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer


def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="STATION_CONFIG", help="station.yaml of this machine.")
    ] = Path("config/demo.yaml"),
    parts: Annotated[int | None, typer.Option(min=1, help="Stop by itself after this many parts.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines even on a terminal.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the devices do.")] = False,
) -> None:
    """Inspect parts until told to stop (Ctrl-C, SIGTERM) or until --parts are done.

    With a `simulation:` section in the configuration a simulated plant is started beside the station:
    frames are rendered once, a robot cell places the parts over a real serial line, and the summary
    compares the verdicts with the ground truth.

    Exit code: 0 a clean end, 1 the line halted by itself (systemd starts it afresh), 2 it could not begin.

    Examples:
        station run --config config/demo.yaml --parts 200

        station run --config /etc/station/station.yaml --plain

    """
    from rich.console import Console

    from station.assembly import assemble
    from station.cli.live import live_view
    from station.cli.summary import print_summary
    from station.supervision import sd_notify

    if verbose:
        logging.getLogger().setLevel(logging.INFO)
    console = Console(force_terminal=False if plain else None)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    begun = time.monotonic()
    with assemble(config, parts=parts, console=console) as station:
        for record in station.doubtful:
            console.print(f"[yellow]in doubt after the last end, now faulted:[/] {record}", highlight=False)
        line = station.line
        line.start(parts)
        sd_notify("READY=1")
        console.print(f"ready after {time.monotonic() - begun:.1f} s: {station.description}", highlight=False)
        with live_view(console, station.title, parts) as show:
            while not stop.is_set() and not line.wait(0.25):
                status = line.status()
                show(status)
                sd_notify(f"WATCHDOG=1\nSTATUS={status.state}: {status.statistics.triggers} parts")
            sd_notify("STOPPING=1")
            line.stop()
        status = line.status()
        print_summary(console, status, station.recipe, station.finish_pictures())
    if status.failure:
        raise typer.Exit(1)
