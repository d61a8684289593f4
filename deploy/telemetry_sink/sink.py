"""The loop of the reference consumer: take, keep, commit, and only then say what is held."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploy.telemetry_sink.holding import Fate, Holding
from deploy.telemetry_sink.stores import STREAMS, Batch, Gone, Store, StoreError
from drivers.mqtt import BrokerSettings, make_client
from station.telemetry.schema import problems

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

SCHEMAS = {"records": "record-1", "events": "event-1", "gone": "gone-1", "station": "presence-1"}
_WAITING = 10_000
_STORE_AGAIN_S = 2.0


@dataclass
class Counts:
    """What the sink did."""

    kept: int = 0
    repeats: int = 0
    gaps: int = 0
    """Times that something was missing and was asked for."""
    gone: int = 0
    """Numbers that no station has any more."""
    unfit: int = 0
    """Messages that do not fit their schema, and were not kept."""
    store_failures: int = 0
    held: dict[str, int] = field(default_factory=dict)
    """``journal/stream`` -> the highest number that is kept without a gap."""


class Sink:
    """One consumer of one or several stations."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: list[str],
        name: str,
        open_store: Callable[[], Store],
        *,
        commit_s: float = 0.5,
        commit_at: int = 500,
    ) -> None:
        """``topics``: of the stations. ``name``: as in ``telemetry.consumers``. Raises ``StoreError``."""
        self.counts = Counts()
        self._topics, self._name = topics, name
        self._open_store, self._commit_s, self._commit_at = open_store, commit_s, commit_at
        self._store: Store | None = open_store()
        self._arrived: queue.Queue[tuple[str, bytes]] = queue.Queue(_WAITING)
        self._holdings: dict[tuple[str, str], Holding] = {}
        self._topic_of: dict[str, str] = {}
        """Journal -> its station's topic."""
        self._batch: dict[str, list[dict[str, Any]]] = {stream: [] for stream in STREAMS}
        self._gone: list[Gone] = []
        self._committed_at, self._open_at = time.monotonic(), 0.0
        self._say: set[tuple[str, str]] = set()
        """Holdings whose receipt is due after the next commit."""
        self._connected = threading.Event()
        self._client = self._made(settings)

    def _made(self, settings: BrokerSettings) -> Client:
        client = make_client(settings, settings.client_id or f"sink-{self._name}")
        client.reconnect_delay_set(1, 5)
        wanted = [(f"{topic}/{one}", 1) for topic in self._topics for one in SCHEMAS]

        def connected(*_: Any) -> None:
            client.subscribe(wanted)
            self._connected.set()

        client.on_connect = connected
        client.on_disconnect = lambda *_: self._connected.clear()
        # Where this is full, paho's thread waits, and with it the broker.
        client.on_message = lambda c, data, message: self._arrived.put(
            (message.topic, bytes(message.payload))
        )
        client.connect_async(settings.host, settings.port_used, settings.keepalive_s)
        return client

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._connected.is_set()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Take messages until ``is_over``; what was taken then is committed."""
        self._client.loop_start()
        try:
            while not is_over():
                with suppress(queue.Empty):
                    self._take(*self._arrived.get(timeout=0.1))
                self._ask_again()
                full = sum(map(len, self._batch.values())) >= self._commit_at
                if full or time.monotonic() > self._committed_at + self._commit_s:
                    self._commit()
            self._commit()
        finally:
            self._client.disconnect()
            self._client.loop_stop()
            if self._store is not None:
                self._store.close()

    def _take(self, topic: str, payload: bytes) -> None:
        base, _, kind = topic.rpartition("/")
        if not payload:  # a retained message that somebody has removed
            return
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            message = None
        if kind not in SCHEMAS or problems(SCHEMAS[kind], message):
            self.counts.unfit += 1
            log.warning("a message on %s does not fit its schema and is not kept", topic[:100])
            return
        journal = message["journal"]
        self._topic_of[journal] = base
        if self._store is None:
            return  # asked for when it is there again
        try:
            self._take_of(journal, kind, message)
        except StoreError as error:
            self._lose_store(error)

    def _take_of(self, journal: str, kind: str, message: dict[str, Any]) -> None:
        if kind == "station":
            if message["online"]:
                for stream in STREAMS:
                    self._ask(self._holding(journal, stream))
        elif kind == "gone":
            one = Gone(journal, message["stream"], message["first"], message["last"])
            if self._holding(journal, one.stream).skip(one.first, one.last):
                self._gone.append(one)
                self.counts.gone += one.last - one.first + 1
                self._say.add((journal, one.stream))
        else:
            self._keep(self._holding(journal, kind), message)

    def _keep(self, holding: Holding, message: dict[str, Any]) -> None:
        fate = holding.take(message)
        if fate is Fate.STORE:
            self._batch[holding.stream].append(message)
        elif fate is Fate.GAP:
            if holding.asked_at is None:
                self._ask(holding)
        else:
            self.counts.repeats += 1
        self._say.add((holding.journal, holding.stream))

    def _holding(self, journal: str, stream: str) -> Holding:
        key = (journal, stream)
        if key not in self._holdings:
            assert self._store is not None
            held = self._store.held(journal, stream)
            self._holdings[key] = Holding(journal, stream, held)
            self.counts.held[f"{journal}/{stream}"] = held
        return self._holdings[key]

    def _ask(self, holding: Holding) -> None:
        if holding.asks(time.monotonic()):
            self.counts.gaps += 1
            self._send(holding, asks=True)

    def _ask_again(self) -> None:
        for holding in self._holdings.values():
            if holding.asked_at is not None:
                self._ask(holding)

    def _send(self, holding: Holding, *, asks: bool) -> None:
        """Say what is durable: what was only taken is no receipt."""
        if not self.is_connected:
            return
        words = holding.receipt(asks=asks) | {"held": self.counts.held[_key(holding)]}
        topic = f"{self._topic_of[holding.journal]}/receipts/{self._name}"
        self._client.publish(topic, json.dumps(words), qos=1)

    def _commit(self) -> None:
        """Keep what was taken, then say so; where the store fails, forget it: the station has it still."""
        self._committed_at = time.monotonic()
        if self._store is None:
            self._open_again()
            return
        try:
            if any(self._batch.values()) or self._gone:
                self._store.commit(Batch(self._batch, self._gone))
        except StoreError as error:
            self._lose_store(error)
            return
        self.counts.kept += sum(map(len, self._batch.values()))
        self._batch, self._gone = {stream: [] for stream in STREAMS}, []
        for key in self._say:
            holding = self._holdings[key]
            self.counts.held[_key(holding)] = holding.held
            self._send(holding, asks=False)
        self._say.clear()

    def _lose_store(self, error: StoreError) -> None:
        """Nothing is taken until the store is open again, and then everything after what it holds."""
        log.warning("%s; tried again", error)
        self.counts.store_failures += 1
        if self._store is not None:
            self._store.close()
        self._store, self._batch, self._gone = None, {stream: [] for stream in STREAMS}, []
        self._say.clear()
        self._holdings.clear()
        self.counts.held.clear()
        self._open_at = time.monotonic() + _STORE_AGAIN_S

    def _open_again(self) -> None:
        if time.monotonic() < self._open_at:
            return
        try:
            self._store = self._open_store()
            for journal in self._topic_of:
                for stream in STREAMS:
                    self._ask(self._holding(journal, stream))
        except StoreError as error:
            self._lose_store(error)


def _key(holding: Holding) -> str:
    return f"{holding.journal}/{holding.stream}"
