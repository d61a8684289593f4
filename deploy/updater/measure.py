"""``python -m deploy.updater.measure``: what many updaters cost one static server, printed.

It signs a repository of engines and a director of its own, orders one engine for every station, serves both
from a static HTTP server, and starts one updater process per station, each with a folder of its own. In the
first round each of them fetches and installs the engine, in the second one there is nothing new. What the
server was asked for and sent is counted for each station by its own; what 1,000 stations would ask for is
computed from it, and shown with the arithmetic.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Annotated, Any

import typer

from drivers.errors import InspectionError
from station.cli.ending import run as run_to_its_end
from station.cli.parameters import FILE_MADE, careful

MANY = 1000
"""Stations that the figures are extrapolated to."""
LONGEST_S = 1800.0
"""What one round may take, s."""
PERIOD_S = 3600.0
"""Between two updates of a station: `systemd/station-updater.timer`."""
LINK_BITS_S = 1e9

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


class MeasureError(InspectionError):
    """An updater did not do what it should; the message has its words."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one update of every station took."""

    name: str
    stations: int
    wall_s: float
    """Until the last updater had ended; all began at once."""
    requests: float
    """Per updater, the mean."""
    sent_bytes: float
    """Per updater, the mean, without headers."""
    median_s: float
    """From the start of a process to its end."""
    slowest_s: float
    cpu_s: float
    """Of a process, the mean, with the start of Python."""
    memory_mb: float
    """The largest resident memory of a process."""


@app.command()
def measure(
    engine: Annotated[Path, typer.Option(help="The folder of the engine that is fetched.")] = Path(
        "engines/servo-motor-housing"
    ),
    stations: Annotated[int, typer.Option(min=1, max=500, help="Updaters, all started at once.")] = 50,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file."), FILE_MADE
    ] = None,
) -> None:
    """Let many updaters fetch one engine from one static server, and print what that takes.

    Each updater is a process that takes up to 250 MB of memory, and three times the bundle on the disk.

    Examples:

        python -m deploy.updater.measure

        python -m deploy.updater.measure --stations 3 --engine engines/servo-motor-housing

    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="station-updaters-") as folder,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task("updates", total=2 * stations)
        found, size = run(Path(folder), engine, stations, partial(progress.advance, bar))
    table = Table(
        title=f"{stations} updaters at once, one static server, a bundle of {size / 1e6:.1f} MB",
        title_justify="left",
    )
    for column in ("per updater", *(one.name for one in found)):
        table.add_column(column, justify="left" if column == "per updater" else "right")
    for words, cell in (
        ("requests", lambda one: f"{one.requests:.1f}"),
        ("sent by the server, kB", lambda one: f"{one.sent_bytes / 1e3:.1f}"),
        ("time, median, s", lambda one: f"{one.median_s:.1f}"),
        ("time, slowest, s", lambda one: f"{one.slowest_s:.1f}"),
        ("processor, s", lambda one: f"{one.cpu_s:.2f}"),
        ("memory, at most, MB", lambda one: f"{one.memory_mb:.0f}"),
        ("all together, s", lambda one: f"{one.wall_s:.1f}"),
    ):
        table.add_row(words, *map(cell, found))
    console.print(table)
    for line in on_paper(*found):
        print(line)
    if json_file is not None:
        from station.files import write_json

        write_json(json_file, {"bundle_bytes": size, "rounds": [asdict(one) for one in found]})


def on_paper(first: Round, quiet: Round) -> list[str]:
    """What :data:`MANY` stations would ask of one server, with the arithmetic."""
    asked, sent = MANY * quiet.requests, MANY * quiet.sent_bytes
    whole = MANY * first.sent_bytes
    return [
        f"{MANY} stations, nothing new, one update per hour each (on paper):",
        f"  {MANY} x {quiet.requests:.1f} requests / {PERIOD_S:.0f} s = {asked / PERIOD_S:.1f} requests/s",
        f"  {MANY} x {quiet.sent_bytes / 1e3:.1f} kB / {PERIOD_S:.0f} s = {sent / PERIOD_S / 1e3:.1f} kB/s, "
        f"{24 * sent / 1e9:.2f} GB per day",
        f"{MANY} stations fetch one engine (on paper):",
        f"  {MANY} x {first.sent_bytes / 1e6:.1f} MB = {whole / 1e9:.1f} GB; within one hour "
        f"{whole / PERIOD_S / 1e6:.1f} MB/s",
        f"  at 1 Gbit/s: {whole / 1e9:.1f} GB x 8 / 1 Gbit/s = {whole * 8 / LINK_BITS_S:.0f} s at least",
        f"  a first stage of 1 %: {whole / MANY * 10 / 1e6:.0f} MB; of 10 %: {whole / 10 / 1e9:.2f} GB",
    ]


def run(
    folder: Path, engine: Path, stations: int, done: Callable[[], object] = lambda: None
) -> tuple[tuple[Round, Round], int]:
    """Both rounds, and the size of the bundle, bytes. Raises :class:`MeasureError`, ``InspectionError``."""
    names = [f"line-{number:03}" for number in range(1, stations + 1)]
    product, size = _publish(folder / "plant", engine)
    with _serving(folder / "plant") as server:
        for name in names:
            _settle(folder / name, name, product, f"{server.address}/{name}", folder / "plant")
        first = _round("the first update", folder, names, server, done)
        for name in names:
            store = folder / name / "engines" / f"{product}.store"
            if not (store / "state.json").is_file():
                raise MeasureError(f"{name}: nothing is installed in {store}")
        quiet = _round("nothing new", folder, names, server, done)
    return (first, quiet), size


def _publish(plant: Path, engine: Path) -> tuple[str, int]:
    """A repository with one engine, and a director that orders it for all; product and size of the bundle."""
    from deploy.bundle import write_bundle
    from deploy.repository import changes
    from deploy.repository.folder import new_repository, open_repository, read_repository
    from deploy.repository.keys import make_keys, signers
    from station.engines.folder import load_manifest

    now, product = datetime.now(UTC), load_manifest(engine).name
    (public,) = make_keys(plant / "keys", ["plant"])

    def no_pin(token: str) -> str:
        raise MeasureError(f"{token}: no token is used here")

    def make(into: Path, version: int) -> Path:
        return write_bundle(engine, into, version=version, data=["0" * 64], licences=["Apache-2.0"])

    with signers([str(plant / "keys" / "plant.pem")], no_pin) as keys:
        for name, kind in (("images", changes.ENGINES), ("director", changes.ORDERS)):
            with new_repository(plant / name, now) as made:
                changes.begin(made, kind, [public], 1, public, [public], 1)
                made.finish(keys)
        with open_repository(plant / "images", now) as images:
            changes.add_product(images, product, [public], [public], 1)
            images.finish(keys)
        with open_repository(plant / "images", now) as images:
            path, _ = changes.add_engine(images, product, "stable", make, None)
            images.finish(keys)
        with open_repository(plant / "director", now) as director:
            images = read_repository(plant / "images", now)
            changes.order(director, images, product, "stable", None, None, 100)
            director.finish(keys)
    return product, next((plant / "images" / "targets").rglob(f"*.{Path(path).name}")).stat().st_size


def _settle(folder: Path, name: str, product: str, address: str, plant: Path) -> None:
    """What a station's updater needs."""
    folder.mkdir()
    for repository in ("images", "director"):
        root = (plant / repository / "metadata" / "1.root.json").read_bytes()
        (folder / f"{repository}.root.json").write_bytes(root)
    (folder / "updater.yaml").write_text(
        f"station: {name}\nengines: engines\nstate: state\n"
        f'images: {{url: "{address}/images", root: images.root.json}}\n'
        f'director: {{url: "{address}/director", root: director.root.json}}\n'
        f"products: [{{product: {product}}}]\n"
    )


@dataclass(slots=True)
class _Server:
    """Counts by station, whose name is the first folder of each address."""

    address: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)


@contextmanager
def _serving(plant: Path) -> Iterator[_Server]:
    counted = _Server()

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return super().translate_path("/" + path.lstrip("/").partition("/")[2])

        def do_GET(self) -> None:
            with counted.lock:
                counted.requests[self.path.split("/")[1]] += 1
            super().do_GET()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            size = os.fstat(source.fileno()).st_size
            super().copyfile(source, outputfile)
            with counted.lock:
                counted.sent[self.path.split("/")[1]] += size

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1024

    with Server(("127.0.0.1", 0), partial(Handler, directory=str(plant))) as server:
        counted.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield counted
        server.shutdown()
        thread.join()


def _round(name: str, folder: Path, names: list[str], server: _Server, done: Callable[[], object]) -> Round:
    """Start an updater per station at once, and wait for all. Raises :class:`MeasureError`."""
    server.requests.clear()
    server.sent.clear()
    begun = time.monotonic()
    running: dict[str, subprocess.Popen[bytes]] = {}
    took: dict[str, float] = {}
    used: list[Any] = []
    try:
        for one in names:
            with (folder / one / "said.txt").open("wb") as said:
                command = [
                    sys.executable,
                    "-m",
                    "deploy.updater",
                    "--config",
                    str(folder / one / "updater.yaml"),
                ]
                running[one] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
                )
        while running:
            for one, process in [*running.items()]:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if not pid:
                    continue
                process.returncode = os.waitstatus_to_exitcode(status)
                del running[one]
                took[one] = time.monotonic() - begun
                used.append(usage)
                done()
                if process.returncode:
                    words = (folder / one / "said.txt").read_text(errors="replace").strip()[-2000:]
                    raise MeasureError(f"{one}: the updater ended with {process.returncode}: {words}")
            if time.monotonic() - begun > LONGEST_S:
                raise MeasureError(f"{len(running)} updaters have not ended after {LONGEST_S:g} s")
            time.sleep(0.01)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return Round(
        name=name,
        stations=len(names),
        wall_s=max(took.values()),
        requests=statistics.mean(server.requests[one] for one in names),
        sent_bytes=statistics.mean(server.sent[one] for one in names),
        median_s=statistics.median(took.values()),
        slowest_s=max(took.values()),
        cpu_s=statistics.mean(one.ru_utime + one.ru_stime for one in used),
        memory_mb=max(one.ru_maxrss for one in used) / 1e3,
    )


careful(app)

if __name__ == "__main__":
    run_to_its_end("updaters", app)
