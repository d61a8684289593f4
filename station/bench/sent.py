"""What telemetry costs beside the line: one record per part, sent to a broker beside it and confirmed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.broker import KEEPING, Broker
from station.bench.journal import RECIPE, finished_parts
from station.journal import Journal
from station.journal.following import JournalFollower
from station.observers import Observer
from station.telemetry.schema import TelemetryError
from station.telemetry.sender import TelemetrySender
from station.telemetry.settings import Telemetry
from station.telemetry.streams import Numbered, RecordStream, Stream

if TYPE_CHECKING:
    from station.part import InspectedPart

RECORDS = 20_000
"""Records that can be sent; a longer measurement is refused."""
TOPIC = "bench/station"
DELIVERED_S = 60.0


class SentRecords(Observer):
    """For each part, one record of a journal goes to the broker, and the next part counts when it has.

    The records were written before, because a station writes them with and without telemetry.
    """

    name = "telemetry"
    capacity = 1000

    def __init__(self, folder: Path) -> None:
        self._parts = self._delivered = 0
        self._journal = Journal(folder / "sent.db", station="bench")
        for seed in range(RECORDS // 2000):
            made = finished_parts(2000, seed)
            self._journal.write_finished(made, recipe=RECIPE, mode="cell", is_simulated=True)
        self._broker = Broker(folder / "broker", list(KEEPING))
        self._broker.start()
        command = ["mosquitto_sub", "-p", str(self._broker.port), "-V", "5", "-q", "1", "-t", f"{TOPIC}/#"]
        until = time.monotonic() + 10.0
        while True:
            try:
                self._subscriber = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            except FileNotFoundError:
                raise TelemetryError(
                    "mosquitto_sub is not installed: apt-get install mosquitto-clients"
                ) from None
            time.sleep(0.5)
            if self._subscriber.poll() is None or time.monotonic() > until:
                break
        self._sender = TelemetrySender(
            Telemetry(host="127.0.0.1", port=self._broker.port, topic=TOPIC, history=True),
            "bench",
            self._journal.path,
            lambda: self._parts,
            is_simulated=True,
            streams=self._streams,
        )

    def wants(self, part: InspectedPart) -> bool:
        """Let one more record go."""
        self._parts += 1
        return True

    def observe(self, part: InspectedPart) -> None:
        """Wait for the confirmation, beside the line, so that no work falls on the other side."""
        self._delivered += 1
        if self._delivered > RECORDS:
            raise TelemetryError(f"more than {RECORDS} parts were measured: give less --seconds or --rounds")
        until = time.monotonic() + DELIVERED_S
        while not (lags := self._sender.status().lags) or lags[0].held < self._delivered:
            if time.monotonic() > until:
                raise TelemetryError(f"the broker confirms nothing: {self._sender.status().problem}")
            time.sleep(0.05)
        self.note = f"{lags[0].held} records sent and confirmed"

    def close(self) -> None:
        """End sender, subscriber and broker."""
        self._sender.close()
        self._subscriber.terminate()
        self._subscriber.wait()
        self._broker.kill()
        self._journal.close()

    def _streams(self, reader: JournalFollower) -> tuple[Stream, ...]:
        sent = self

        class OnePerPart(RecordStream):
            def read(self, after: int, limit: int) -> list[Numbered]:
                room = sent._parts - after
                return super().read(after, min(limit, room)) if room > 0 else []

        return (OnePerPart(reader),)


def sent_records(journal: Journal, folder: Path) -> Sequence[Observer]:
    """For ``station.bench.beside.cost_beside``."""
    return [SentRecords(folder)]
