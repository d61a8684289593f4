"""Answers Prometheus: ``GET /metrics`` at the address of the configuration, and nothing else.

A scrape is made in a thread of its own, one at a time: whoever asks meanwhile gets the same one. While a disk
does not answer, callers get 503 after :data:`SCRAPE_S`, and neither the line nor the other services wait.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import psutil
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from drivers.errors import InspectionError
from station.disk_budget import disk_uses
from station.engines.states import Engines, StoreError
from station.http_service import CALLERS, HttpService
from station.metrics.series import MOST, Seen, families
from station.observers.telemetry import TelemetryObserver
from station.preparing import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from station.config import Metrics
    from station.running import Station

log = logging.getLogger(__name__)

SCRAPE_S = 5.0
"""The longest time that a caller waits for a scrape."""


class MetricsError(InspectionError):
    """The metrics cannot be served as configured; the message says what to do about it."""


class MetricsServer:
    """Serves the metrics of one station; nothing where the configuration does not ask for it."""

    def __init__(self, look: Callable[[], Seen], settings: Metrics | None) -> None:
        self._settings = settings
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_OnePerScrape(look))
        ProcessCollector(registry=self._registry)
        self._under_way: asyncio.Future[bytes | None] | None = None
        self._service: HttpService | None = None

    def open(self) -> None:
        """Listen and answer. Raises :class:`MetricsError` where the address cannot be used."""
        if self._settings is None:
            return
        listening = _listen_at(self._settings.address, self._settings.port)
        self._service = HttpService("metrics", Starlette(routes=[Route("/metrics", self._answer)]))
        self._service.start(listening)

    def close(self) -> None:
        """Answer no more. Never raises, may be called twice."""
        if self._service is not None:
            self._service.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def _answer(self, request: Request) -> Response:
        if self._under_way is None or self._under_way.done():
            self._under_way = self._scraped()
        try:
            text = await asyncio.wait_for(asyncio.shield(self._under_way), SCRAPE_S)
        except TimeoutError:
            return PlainTextResponse("a disk or the machine does not answer", status_code=503)
        if text is None:
            return PlainTextResponse("an error of the station; its log says which", status_code=500)
        return Response(text, media_type=CONTENT_TYPE_LATEST, headers={"connection": "close"})

    def _scraped(self) -> asyncio.Future[bytes | None]:
        """A scrape in a thread that nobody waits for at the end of the process; None where it failed."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bytes | None] = loop.create_future()

        def scrape() -> None:
            text: bytes | None = None
            try:
                text = generate_latest(self._registry)
            except Exception:
                log.exception("metrics: a scrape failed")
            try:
                loop.call_soon_threadsafe(done.set_result, text)
            except RuntimeError:
                log.info("metrics: the station ended before it answered")

        threading.Thread(target=scrape, name="metrics-scrape", daemon=True).start()
        return done


class _OnePerScrape(Collector):
    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        return families(self._look())


def look_at(station: Station) -> Seen:
    """One look at a running station."""
    status = station.line.status()
    telemetry = station.observers.find(TelemetryObserver)
    return Seen(
        name=station.config.station.name,
        status=status,
        disks=tuple(disk_uses(station.config, status.observers)),
        open_records=station.journal.counts().open,
        machine_c=machine_temperatures(),
        telemetry=None if telemetry is None else telemetry.sender.status(),
        engines=_engines(station),
        keeping=station.keeping,
    )


def _engines(station: Station) -> Engines | None:
    """What the store knows; None where it is not there, or cannot be read, which the status says."""
    store = store_of(station.config, station.line.prepared.engine.info.name)
    try:
        return store.engines() if store.is_there else None
    except StoreError:
        return None


def machine_temperatures() -> dict[str, float]:
    """Sensor -> degrees Celsius as the kernel gives them; empty where it gives none."""
    found: dict[str, float] = {}
    for chip, sensors in psutil.sensors_temperatures().items():
        for number, sensor in enumerate(sensors):
            if sensor.current is not None and len(found) < MOST:
                found[f"{chip} {sensor.label or number}"] = float(sensor.current)
    return found


def _listen_at(address: str, port: int) -> socket.socket:
    """A socket that listens. Raises :class:`MetricsError`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(CALLERS)
    except OSError as error:
        listening.close()
        raise MetricsError(
            f"metrics: {address} port {port}: {error.strerror}: another program may use the port "
            "(`ss -tlnp`), or the address is none of this machine (`ip address`); correct `metrics` in the "
            "configuration"
        ) from None
    return listening
