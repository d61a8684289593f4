"""``python -m deploy.telemetry_sink.outage``: what arrives when broker and station are killed, printed.

It starts a mosquitto of its own with persistence, a process with the journal and the telemetry of a station
that writes parts at a pace, a subscriber, and, with receipts, the reference consumer. Then, twice each, it
kills the broker and the station's process (``kill -9``), once while the subscriber is away and the broker
keeps its messages, lets the broker be away for a long time, and compares the journal with what arrived.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.telemetry_sink.stores import Parquet
from simulation.broker import KEEPING, Broker
from station.cli.ending import run as run_to_its_end
from station.cli.parameters import FILE_MADE, careful

TOPIC = "outage/station"
CONSUMER = "historian"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@dataclass(frozen=True, slots=True)
class Figures:
    """One run."""

    receipts: str
    records: int
    """In the journal."""
    arrived: int
    """Different records at the subscriber, which sends no receipts."""
    lost: int
    late_lost: int
    """Lost to a subscriber that came after the first parts; those before it came are not counted."""
    stored: int
    """Different records at the reference consumer, which came late; without receipts there is none."""
    stored_in_order: bool
    repeats: int
    """Messages marked as repeats."""
    unmarked_repeats: int
    """Messages with a number that had arrived before, and no mark."""


@app.command()
def outage(
    outage_s: Annotated[
        float, typer.Option(min=0.0, max=86_400, help="How long the broker is away, seconds.")
    ] = 600.0,
    rate_hz: Annotated[float, typer.Option(min=0.1, max=1000, help="Parts per second.")] = 5.8,
    between_s: Annotated[
        float, typer.Option(min=0.5, max=3600, help="Seconds before and between the kills.")
    ] = 10.0,
    replay_s: Annotated[float, typer.Option(min=0.0, max=3600, help="`telemetry.replay_s`.")] = 10.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file."), FILE_MADE
    ] = None,
) -> None:
    """Kill broker and station, twice each, let the broker be away, and print what arrived.

    It runs once with receipts and once without, each in a new folder for temporary files. It needs mosquitto.

    Exit code: 0 with receipts every record arrived in order and every repeat was marked, 1 it did not.

    Examples:

        python -m deploy.telemetry_sink.outage

        python -m deploy.telemetry_sink.outage --outage-s 5 --rate-hz 50 --between-s 2

    """
    from rich.console import Console
    from rich.table import Table

    console, status = Console(), Console(stderr=True)
    found = []
    with status.status("") as show:
        for receipts in ("required", "none"):

            def say(what: str, receipts: str = receipts) -> None:
                show.update(f"receipts {receipts}: {what}")

            with tempfile.TemporaryDirectory(prefix="station-outage-") as folder:
                found.append(_run(Path(folder), receipts, outage_s, rate_hz, between_s, replay_s, say))
    table = Table(
        title=f"2 broker kills, 2 station kills, the broker away for {outage_s:g} s, {rate_hz:g} parts/s",
        title_justify="left",
    )
    table.add_column("receipts")
    for one in found:
        table.add_column(one.receipts, justify="right")
    rows = {
        "records in the journal": "records",
        "at the subscriber": "arrived",
        "lost to the subscriber": "lost",
        "lost to a late subscriber": "late_lost",
        "stored by the consumer, which came late": "stored",
        "stored in order": "stored_in_order",
        "repeats, marked": "repeats",
        "repeats without a mark": "unmarked_repeats",
    }
    for words, name in rows.items():
        cells = [
            "" if name.startswith("stored") and one.receipts == "none" else getattr(one, name)
            for one in found
        ]
        table.add_row(words, *("yes" if cell is True else str(cell) for cell in cells))
    console.print(table)
    if json_file is not None:
        from station.files import write_json

        write_json(json_file, [asdict(one) for one in found])
    with_receipts = found[0]
    whole = with_receipts.stored == with_receipts.records and with_receipts.stored_in_order
    if not whole or any(one.unmarked_repeats for one in found):
        raise typer.Exit(1)


class _Subscriber:
    """Counts what arrives; its session outlives a broker that is killed, if the broker has saved it."""

    def __init__(self, port: int, name: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.numbers: set[int] = set()
        self.repeats = self.unmarked = 0
        self.heard_at = time.monotonic()
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_message = lambda client, data, message: self._heard(message)
        self._properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        self._properties.SessionExpiryInterval = 3600
        self._port = port
        self.come()

    def come(self) -> None:
        """Connect, with the session of before."""
        self._client.connect_async("127.0.0.1", self._port, 5, clean_start=False, properties=self._properties)
        self._client.loop_start()

    def leave(self) -> None:
        """Disconnect; the broker keeps the session."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, *_: Any) -> None:
        self._client.subscribe(f"{TOPIC}/records", qos=1)

    def _heard(self, message: Any) -> None:
        words = json.loads(message.payload)
        self.repeats += words["repeat"]
        # What the broker itself sends a second time bears its own mark.
        self.unmarked += words["number"] in self.numbers and not words["repeat"] and not message.dup
        self.numbers.add(words["number"])
        self.heard_at = time.monotonic()


def _run(
    folder: Path,
    receipts: str,
    outage_s: float,
    rate_hz: float,
    between_s: float,
    replay_s: float,
    say: Callable[[str], None],
) -> Figures:
    broker, journal = Broker(folder, list(KEEPING)), folder / "journal.db"
    settings: dict[str, object] = {"host": "127.0.0.1", "port": broker.port, "topic": TOPIC}
    settings |= {"replay_s": replay_s, "receipts": receipts}
    settings |= {"consumers": [CONSUMER]} if receipts == "required" else {}
    seeds = iter(range(1, 100))

    def start_station() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "deploy.telemetry_sink.outage_station", str(journal)]
        return subprocess.Popen([*command, json.dumps(settings), str(rate_hz), str(next(seeds))])

    broker.start()
    subscriber = _Subscriber(broker.port, "subscriber")
    station = start_station()
    late: _Subscriber | None = None
    consumer: subprocess.Popen[bytes] | None = None
    try:
        _wait(between_s, say, "the first parts")
        late = _Subscriber(broker.port, "late")
        if receipts == "required":
            command = [sys.executable, "-m", "deploy.telemetry_sink", "--port", str(broker.port)]
            command += ["--topic", TOPIC, "--name", CONSUMER, "--commit-s", "0.5"]
            consumer = subprocess.Popen(
                [*command, "--parquet", str(folder / "parquet")], stderr=subprocess.DEVNULL
            )
        for number in (1, 2):
            _wait(between_s, say, f"before broker kill {number}")
            if number == 2:
                # What the broker keeps for it in memory goes with the broker, and was confirmed.
                subscriber.leave()
                _wait(between_s, say, "the subscriber is away")
            broker.kill()
            broker.start()
            if number == 2:
                subscriber.come()
            _wait(between_s, say, f"before station kill {number}")
            station.kill()
            station.wait()
            station = start_station()
        _wait(between_s, say, "before the outage")
        broker.kill()
        _wait(outage_s, say, "the broker is away")
        broker.start()
        _wait(between_s, say, "after the outage")
        say("the last messages")
        station.send_signal(signal.SIGTERM)
        station.wait(700)
        while time.monotonic() < subscriber.heard_at + 3.0:
            time.sleep(0.1)
    finally:
        for process in (station, consumer):
            if process is not None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
        for one in (subscriber, late):
            if one is not None:
                one.leave()
        broker.kill()
    return _compared(folder, journal, receipts, subscriber, late)


def _compared(
    folder: Path, journal: Path, receipts: str, subscriber: _Subscriber, late: _Subscriber
) -> Figures:
    from station.journal.reading import JournalReader

    with JournalReader(journal) as reader:
        records = reader.counts()["triggers"]
    every = set(range(1, records + 1))
    stored: list[int] = []
    if receipts == "required":
        Parquet(folder / "parquet")
        import pyarrow.parquet as pq

        files = sorted(
            (folder / "parquet").glob("records-*.parquet"), key=lambda file: int(file.stem.split("-")[2])
        )
        stored = [number for file in files for number in pq.read_table(file)["number"].to_pylist()]
    return Figures(
        receipts=receipts,
        records=records,
        arrived=len(subscriber.numbers & every),
        lost=len(every - subscriber.numbers),
        late_lost=len({number for number in every if number >= min(late.numbers, default=1)} - late.numbers),
        stored=len(set(stored) & every),
        stored_in_order=bool(stored) and stored == sorted(set(stored)),
        repeats=subscriber.repeats,
        unmarked_repeats=subscriber.unmarked,
    )


def _wait(seconds: float, say: Callable[[str], None], what: str) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        say(f"{what}, {left:.0f} s")
        time.sleep(min(left, 0.5))


careful(app)

if __name__ == "__main__":
    run_to_its_end("telemetry-outage", app)
