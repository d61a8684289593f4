"""A journal that grows, a sender beside it, and subscribers on a real broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulation.broker import Broker
from station.bench.journal import RECIPE, finished_parts
from station.journal import Journal
from station.telemetry.sender import TelemetrySender
from station.telemetry.settings import Telemetry
from tests.waiting import PATIENCE_S

TOPIC = "plant/station-4"


@dataclass
class Message:
    topic: str
    words: dict[str, Any]
    retained: bool


def read(payload: bytes) -> Any:
    """What a message says; the bytes themselves where it is no JSON."""
    try:
        return json.loads(payload)
    except ValueError:
        return payload


class Subscriber:
    """A client of paho's own that keeps what it receives, and may send receipts."""

    def __init__(self, broker: Broker, name: str, *topics: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self.messages: list[Message] = []
        self.subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.on_connect = lambda *_: self._client.subscribe(
            [(f"{TOPIC}/{one}", 1) for one in topics or ("#",)]
        )
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_disconnect = lambda *_: self.subscribed.clear()
        self._client.on_message = lambda client, data, message: self.messages.append(
            Message(
                message.topic.removeprefix(f"{TOPIC}/"),
                read(message.payload),
                message.retain,
            )
        )
        self._client.connect_async("127.0.0.1", broker.port, 5)
        self._client.loop_start()
        assert self.subscribed.wait(PATIENCE_S)

    def of(self, topic: str) -> list[dict[str, Any]]:
        return [one.words for one in self.messages if one.topic == topic]

    def numbers(self, topic: str = "records", *, repeats: bool | None = None) -> list[int]:
        return [one["number"] for one in self.of(topic) if repeats is None or one["repeat"] is repeats]

    def publish(self, topic: str, payload: bytes | str, retain: bool = False) -> None:
        self._client.publish(f"{TOPIC}/{topic}", payload, qos=1, retain=retain).wait_for_publish(10)

    def holds(self, consumer: str, journal: str, held: int, missing: list[int | None] | None = None) -> None:
        words = {
            "schema": "receipt/1",
            "journal": journal,
            "stream": "records",
            "held": held,
            "missing": missing,
        }
        self.publish(f"receipts/{consumer}", json.dumps(words))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Bench:
    """A journal, a broker, and what was started beside them."""

    folder: Path
    broker: Broker
    journal: Journal
    subscribers: list[Subscriber] = field(default_factory=list)
    senders: list[TelemetrySender] = field(default_factory=list)
    seed: int = 0

    def parts(self, count: int) -> None:
        self.seed += 1
        made = finished_parts(count, self.seed)
        self.journal.write_finished(made, recipe=RECIPE, mode="cell", is_simulated=True)  # type: ignore[arg-type]

    def settings(self, **values: object) -> Telemetry:
        own = {"host": "127.0.0.1", "port": self.broker.port, "topic": TOPIC, "reopen_max_s": 0.2}
        return Telemetry(**(own | values))  # type: ignore[arg-type]

    def sender(self, **values: object) -> TelemetrySender:
        made = TelemetrySender(
            self.settings(**values),
            "station 4",
            self.journal.path,
            lambda: self.journal.head.seq,
            is_simulated=True,
        )
        self.senders.append(made)
        return made

    def subscriber(self, name: str, *topics: str) -> Subscriber:
        made = Subscriber(self.broker, name, *topics)
        self.subscribers.append(made)
        return made

    @property
    def journal_id(self) -> str:
        return self.journal.head.journal_id


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    pytest.importorskip("paho")
    broker = Broker(tmp_path)
    broker.start()
    with Journal(tmp_path / "journal.db", station="station 4") as journal:
        made = Bench(tmp_path, broker, journal)
        yield made
        for one in made.subscribers:
            one.close()
        for sender in made.senders:
            sender.close()
    broker.kill()
