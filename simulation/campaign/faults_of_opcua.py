"""Faults of a PLC's network, where the wire is OPC UA: others who speak to the same server, or do not."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from drivers.sorters.registers import SIZE, Cell, Station
from simulation.campaign.kind import kind
from simulation.campaign.plant import Plant

OPCUA = ("opcua",)


@contextmanager
def _stranger(plant: Plant) -> Iterator[tuple[Any, Any]]:
    """Another client of the server, and where it finds the nodes of the handshake."""
    from asyncua.sync import Client

    client = Client(f"opc.tcp://127.0.0.1:{plant.port}/", timeout=2)
    client.connect()
    try:
        index = client.get_namespace_index("urn:inspection-station")
        yield client, lambda name: client.get_node(f"ns={index};s=VisionSystem/Handshake/{name}")
    finally:
        with suppress(OSError, TimeoutError):
            client.disconnect()


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


@kind("reads-flood", "nodes", "somebody reads all mailboxes as fast as it goes", quick=True, wires=OPCUA)
def _reads_flood(plant: Plant, rng: random.Random) -> None:
    until = time.monotonic() + rng.uniform(0.5, 1.5)
    with _stranger(plant) as (client, node):
        nodes = [node(f"ToCell/{_camel(place.name)}") for place in Station] * 10
        while time.monotonic() < until:
            client.read_values(nodes)


@kind(
    "nodes-written",
    "nodes",
    "somebody writes nonsense into the cell's mailboxes, and into nodes that nobody may write",
    wires=OPCUA,
)
def _nodes_written(plant: Plant, rng: random.Random) -> None:
    from asyncua import ua
    from asyncua.ua.uaerrors import UaError

    with _stranger(plant) as (_, node):
        for _ in range(30):
            box = [rng.randrange(1 << 16) for _ in range(rng.choice((SIZE, SIZE, SIZE, 0, 7, 5000)))]
            if len(box) == SIZE:
                box[SIZE - 2 :] = box[:2]  # as if it were whole
                box[2] = rng.choice((box[2], 0x0310, 0x0302, 0x0321))
            name = rng.choice([f"ToStation/{_camel(place.name)}" for place in Cell] + ["ToCell/Result"])
            with suppress(UaError):
                node(name).write_value(ua.Variant(box, ua.VariantType.UInt16))
            with suppress(UaError):
                node("Bits").write_value(ua.Variant(rng.randrange(1 << 16), ua.VariantType.UInt16))
            time.sleep(rng.uniform(0.0, 0.01))


@kind(
    "messages-spoilt",
    "nodes",
    "somebody begins messages of OPC UA that are cut short, random or without an end",
    wires=OPCUA,
)
def _messages_spoilt(plant: Plant, rng: random.Random) -> None:
    for _ in range(20):
        head = rng.choice((b"HELF", b"OPNF", b"MSGF", b"MSGC", b"CLOF", rng.randbytes(4)))
        size = rng.choice((0, 7, 8, 200, 70_000, 0x7FFF_FFFF))
        with suppress(OSError), socket.create_connection(("127.0.0.1", plant.port), timeout=1) as line:
            line.sendall(head + size.to_bytes(4, "little") + rng.randbytes(rng.randint(0, 3000)))
            time.sleep(rng.uniform(0.0, 0.02))
