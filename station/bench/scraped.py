"""What metrics cost beside the line: counted on its path, and scraped over HTTP once per second."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.cameras.interface import CameraHealth
from drivers.sorters.interface import SorterHealth
from station.config import Metrics
from station.engines.interface import EngineInfo
from station.journal import Journal
from station.line_values import LineStatus
from station.metrics.series import Seen
from station.metrics.server import MetricsServer, machine_temperatures
from station.observers import Observer
from station.statistics import Settled, Statistics
from station.supervision import State

if TYPE_CHECKING:
    from station.part import InspectedPart

EVERY_S = 1.0
"""Between two scrapes; Prometheus itself asks every 15 s unless told otherwise."""


class Scraped(Observer):
    """Counts each part as the line does, and reads its own metrics as Prometheus does.

    The line counts anyway, with and without metrics, so that the cost measured so is an upper bound.
    """

    name = "metrics"

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._statistics = Statistics()
        self._engine: EngineInfo | None = None
        self._next_s = 0.0
        self.scrapes = 0
        self._server = MetricsServer(self._look, Metrics(port=self._port))
        self._server.open()

    def wants(self, part: InspectedPart) -> bool:
        """Count the part on the decision path; offered to the thread once per second."""
        self._engine = part.part.prepared.engine.info
        self._statistics.trigger()
        self._statistics.verdict(Settled(part.part_id, part.verdict, 25.0))
        return time.monotonic() >= self._next_s

    def observe(self, part: InspectedPart) -> None:
        """One scrape."""
        self._next_s = time.monotonic() + EVERY_S
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            size = len(answer.read())
        self.scrapes += 1
        self.note = f"{self.scrapes} scrapes of {size / 1000:.0f} kB"

    def close(self) -> None:
        """Serve no more."""
        self._server.close()

    def _look(self) -> Seen:
        assert self._engine is not None, "a part comes before a scrape"
        status = LineStatus(
            state=State.READY,
            reason="",
            recipe="bench",
            recipe_digest="",
            engine=self._engine,
            statistics=self._statistics.snapshot(),
            camera=CameraHealth(True, "frames in memory", 0, 0, 0, 0),
            sorter=SorterHealth(True, "none", 0, 0, 0, 0, 0, 0),
            queues=(),
            observers=(),
            failure="",
        )
        return Seen("bench", status, machine_c=machine_temperatures())


def scraped_metrics(journal: Journal, folder: Path) -> Sequence[Observer]:
    """For ``station.bench.beside.cost_beside``."""
    return [Scraped()]
