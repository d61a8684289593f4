"""Faults of a PLC's network, where the wire is Modbus or OPC UA: the link, and others at the same port."""

from __future__ import annotations

import random
import socket
import struct
import time
from contextlib import suppress

from drivers.sorters.registers import SIZE, Cell
from simulation.campaign.kind import kind
from simulation.campaign.plant import Plant
from simulation.campaign.relay import Relay

MODBUS, BOTH = ("modbus",), ("modbus", "opcua")


def _network(plant: Plant) -> Relay:
    assert plant.relay is not None, "there is no network; use --wire modbus or opcua"
    return plant.relay


def _cut(plant: Plant, for_s: float) -> None:
    _network(plant).cut()
    time.sleep(for_s)
    _network(plant).mend()


@kind("link-cut", "registers", "nothing passes between PLC and station for two seconds", wires=BOTH)
def _link_cut(plant: Plant, rng: random.Random) -> None:
    _cut(plant, 2.0)


@kind("link-cut-long", "registers", "nothing passes for seven seconds", times=10, wires=BOTH)
def _link_cut_long(plant: Plant, rng: random.Random) -> None:
    _cut(plant, 7.0)


@kind("link-stutters", "registers", "the link fails five times for up to 0.3 s", wires=BOTH)
def _link_stutters(plant: Plant, rng: random.Random) -> None:
    for _ in range(5):
        _cut(plant, rng.uniform(0.02, 0.3))
        time.sleep(rng.uniform(0.0, 0.1))


@kind("link-reset", "registers", "all connections are reset", quick=True, wires=BOTH)
def _link_reset(plant: Plant, rng: random.Random) -> None:
    _network(plant).reset()


@kind(
    "plc-vanishes",
    "registers",
    "the PLC loses its power and comes back; the station is never told that its connection is gone",
    wires=BOTH,
)
def _plc_vanishes(plant: Plant, rng: random.Random) -> None:
    _network(plant).vanish()


def _request(function: int, *words: int) -> bytes:
    """A Modbus TCP request of unit 1."""
    body = bytes((1, function)) + struct.pack(f">{len(words)}H", *words)
    return struct.pack(">HHH", 1, 0, len(body)) + body


@kind("requests-flood", "registers", "somebody asks as fast as the line takes it", quick=True, wires=MODBUS)
def _requests_flood(plant: Plant, rng: random.Random) -> None:
    until = time.monotonic() + rng.uniform(0.5, 1.5)
    with suppress(OSError), socket.create_connection(("127.0.0.1", plant.port), timeout=0.2) as line:
        while time.monotonic() < until:
            with suppress(TimeoutError):
                line.sendall(_request(3, 0, 100) * 50)


@kind("connections-flood", "registers", "somebody opens twenty connections and says nothing", wires=BOTH)
def _connections_flood(plant: Plant, rng: random.Random) -> None:
    opened: list[socket.socket] = []
    with suppress(OSError):
        opened += [socket.create_connection(("127.0.0.1", plant.port), timeout=1) for _ in range(20)]
    time.sleep(rng.uniform(0.1, 0.5))
    for one in opened:
        one.close()


@kind("stranger-writes", "registers", "somebody writes nonsense into the cell's mailboxes", wires=MODBUS)
def _stranger_writes(plant: Plant, rng: random.Random) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", plant.port), timeout=1) as line:
        for _ in range(30):
            box = [rng.randrange(1 << 16) for _ in range(SIZE)]
            box[SIZE - 2 :] = box[:2]  # as if it were whole
            box[2] = rng.choice((box[2], 0x0310, 0x0302, 0x0321))
            head = _request(16, rng.choice(list(Cell)), SIZE)
            data = head[6:] + bytes((2 * SIZE,)) + struct.pack(f">{SIZE}H", *box)
            line.sendall(struct.pack(">HHH", 1, 0, len(data)) + data)
            line.recv(64)
            time.sleep(rng.uniform(0.0, 0.01))
