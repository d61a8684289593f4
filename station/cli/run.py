"""``station run``: the line, with a live view and a summary."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from station.cli.logs import LogFormat
from station.cli.parameters import FILE_MADE

if TYPE_CHECKING:
    from station.running import Station


def run(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine."),
    ] = Path("config/demo.yaml"),
    parts: Annotated[int | None, typer.Option(min=1, help="Stop after this many parts.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print plain lines, also on a terminal.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what the devices do, and one line per part.")
    ] = False,
    log: Annotated[
        LogFormat,
        typer.Option("--log", help="The form of the log; `auto` is `journal` under systemd, else `plain`."),
    ] = LogFormat.AUTO,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Save the last live view to this SVG file."), FILE_MADE
    ] = None,
) -> None:
    """Inspect parts until Ctrl-C or SIGTERM, or until --parts are done.

    With a `simulation:` section in the configuration, the command starts a simulated plant too. It renders
    the frames once, a simulated robot cell places the parts over a real serial line, and the summary
    compares the verdicts with the ground truth.

    Exit code: 0 a clean end, 1 the line halted by itself, 2 it could not start, 3 a thread died. After
    1 and 3 systemd starts it again.

    Examples:

        station run --config config/demo.yaml --parts 200

        station run --config /etc/station/station.yaml --plain

        station run --config station.yaml --plain --verbose --log json 2> parts.jsonl
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from drivers import heartbeat
    from drivers.settings import accepted_risks
    from station.assembly import assemble
    from station.bench.memory import MemoryLog
    from station.cli.ending import leave_threads
    from station.cli.live import live_view, save_picture
    from station.cli.logs import under_systemd, written_by_a_thread
    from station.cli.service_user import warnings_of_root
    from station.cli.summary import print_summary
    from station.cli.text import printable, styled, told
    from station.control.server import ControlServer
    from station.disk_budget import budget_problems, disk_uses
    from station.disks import share_warnings
    from station.metrics.server import MetricsServer, look_at
    from station.observers.truth import GroundTruth
    from station.supervision import Watcher, sd_notify, start_takes

    if verbose:
        logging.getLogger().setLevel(logging.INFO)
    console = Console(force_terminal=False if plain or under_systemd(sys.stdout) else None)
    stop = threading.Event()
    begun = time.monotonic()
    progress = Progress(console=console, transient=True)
    bar = progress.add_task("rendering the simulated frames (once)", visible=False)

    def rendered(done: int, total: int) -> None:
        start_takes(f"starting: {done} of {total} simulated frames rendered", 60)
        progress.update(bar, completed=done, total=total, visible=True)
        if not console.is_terminal and done % 10 == 0 and done < total:
            console.print(f"rendering the simulated frames (once): {done} of {total}", highlight=False)

    with (
        written_by_a_thread(log),
        _set_by_signals(stop),
        progress,
        assemble(config, parts, rendered) as station,
        ControlServer(station, station.config.control_socket),
        MetricsServer(lambda: look_at(station), station.config.metrics),
    ):
        progress.stop()
        for record in station.doubtful:
            console.print(styled("[yellow]left over from the last run:[/] {}", record))
        warnings = share_warnings(station.config) + budget_problems(disk_uses(station.config))
        for warning in warnings + warnings_of_root(station.config.paths.journal.parent):
            console.print(Text(printable(f"warning: {warning}"), style="yellow"))
        for risk in accepted_risks(station.config):
            console.print(Text(printable(f"risk: {risk}"), style="bold yellow"))
        line, prepared = station.line, station.line.prepared
        recipe, info = prepared.recipe, prepared.engine.info
        line.start(parts)
        sd_notify("READY=1")
        ready_s = time.monotonic() - begun
        console.print(
            told(
                f"ready after {ready_s:.1f} s: recipe {recipe.name}, engine {info.digest[:12]} on "
                f"{info.backend} {info.precision}"
            ),
        )
        title = f"station {station.config.station.name}"
        memory = MemoryLog()
        with Watcher() as watcher, live_view(console, title, parts) as show:
            # Parts do not need this thread: a terminal that takes no output holds it, and nothing else.
            heartbeat.begin("main", vital=False)
            while not stop.is_set() and not line.wait(0.25):
                heartbeat.beat()
                if dead := watcher.asks_to_stop():
                    line.give_up(dead)
                    break
                status = line.status()
                show(status)
                memory.sample()
                sd_notify(f"STATUS={status.state}: {status.statistics.triggers} parts")
            heartbeat.end()
            last = line.status()
            sd_notify("STOPPING=1")
            line.stop()
        if picture is not None:
            save_picture(picture, last, title, parts)
        station.observers.close()
        status = line.status()
        truth = station.observers.find(GroundTruth)
        confusion = truth.confusion() if truth is not None else None
        print_summary(console, status, str(memory), confusion, _pictures(station))
    code = (3 if status.died else 1) if status.failure else 0
    leave_threads(code)
    raise typer.Exit(code)


@contextmanager
def _set_by_signals(stop: threading.Event) -> Iterator[None]:
    """Meanwhile, SIGTERM and Ctrl-C ask for a clean stop."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pictures(station: Station) -> tuple[str, ...]:
    """Where the pictures of the run are."""
    from station.pictures.saving import PictureError, PictureSaver

    saver = station.observers.find(PictureSaver)
    if saver is None:
        return ()
    lines = [f"{len(saver.saved())} parts in {saver.folder}"]
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        what = "rejected and faulted parts" if saver.uncut_frames else "rejected parts"
        sheet = saver.write_contact_sheet(saver.folder / f"contact-sheet-{moment}.png", what)
    except PictureError as error:
        lines.append(f"no contact sheet: {error}")
    else:
        lines += [f"all on one sheet: {sheet}"] if sheet is not None else []
    return tuple(lines)
