"""Faults of the broker between cell and station, where the wire is MQTT."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simulation.broker import Broker
from simulation.campaign.kind import kind
from simulation.campaign.plant import TOPIC, Plant

MQTT = ("mqtt",)


def _broker(plant: Plant) -> Broker:
    assert plant.broker is not None, "there is no broker; use --wire mqtt"
    return plant.broker


@contextmanager
def _stranger(plant: Plant, client_id: str = "stranger") -> Iterator[Any]:
    """Another client of the broker."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", _broker(plant).port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


@kind("broker-killed", "broker", "the broker is killed and started anew", quick=True, wires=MQTT)
def _broker_killed(plant: Plant, rng: random.Random) -> None:
    _broker(plant).kill()
    time.sleep(rng.uniform(0.0, 0.5))
    _broker(plant).start()


@kind("broker-away", "broker", "the broker is away for two to four seconds", times=5, wires=MQTT)
def _broker_away(plant: Plant, rng: random.Random) -> None:
    _broker(plant).kill()
    time.sleep(rng.uniform(2.0, 4.0))
    _broker(plant).start()


@kind(
    "broker-stopped",
    "broker",
    "the broker stands still (SIGSTOP) for up to 1.5 s",
    quick=True,
    wires=MQTT,
)
def _broker_stopped(plant: Plant, rng: random.Random) -> None:
    process = _broker(plant).process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1.5))
    process.send_signal(signal.SIGCONT)


@kind(
    "broker-hangs",
    "broker",
    "the broker accepts and never answers for four to six seconds",
    times=5,
    wires=MQTT,
)
def _broker_hangs(plant: Plant, rng: random.Random) -> None:
    process = _broker(plant).process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(4.0, 6.0))
    process.send_signal(signal.SIGCONT)


@kind("stranger-on-topics", "broker", "somebody publishes nonsense on the topics of both ends", wires=MQTT)
def _stranger_on_topics(plant: Plant, rng: random.Random) -> None:
    names = ("trigger", "result-ack", "heartbeat", "hello", "job-change", "nothing-known")
    with _stranger(plant) as client:
        for _ in range(60):
            topic = f"{TOPIC}/{rng.choice(('to-station', 'to-cell'))}/{rng.choice(names)}"
            nonsense = rng.choice((rng.randbytes(rng.randint(0, 2000)), b"{}", b"[" * 900, b"null"))
            client.publish(topic, nonsense, qos=rng.choice((0, 1)))
            time.sleep(rng.uniform(0.0, 0.01))


@kind(
    "stranger-retains",
    "broker",
    "old triggers are retained, so that each new subscriber gets them",
    wires=MQTT,
)
def _stranger_retains(plant: Plant, rng: random.Random) -> None:
    from drivers.sorters.mqtt.words import encode
    from drivers.sorters.serial.frames import Decoder

    topic = f"{TOPIC}/to-station/trigger"
    with _stranger(plant) as client:
        for old in Decoder().feed(plant.wire.last_trigger):
            client.publish(topic, encode(old), qos=1, retain=True)
        time.sleep(rng.uniform(0.1, 0.4))
        client.publish(topic, b"", qos=1, retain=True).wait_for_publish(5)


@kind("message-of-10-mb", "broker", "10 MB are published on the station's topic", wires=MQTT)
def _message_of_10_mb(plant: Plant, rng: random.Random) -> None:
    with _stranger(plant) as client:
        client.publish(f"{TOPIC}/to-station/trigger", rng.randbytes(10_000_000), qos=1).wait_for_publish(10)
