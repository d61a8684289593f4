"""Faults of a PLC's network, where the wire is Modbus: others at the same port."""

from __future__ import annotations

import random
import socket
import struct
import time
from contextlib import suppress

from drivers.sorters.registers import SIZE, Cell
from simulation.campaign.kind import kind
from simulation.campaign.plant import Plant


def _request(function: int, *words: int) -> bytes:
    """A Modbus TCP request of unit 1."""
    body = bytes((1, function)) + struct.pack(f">{len(words)}H", *words)
    return struct.pack(">HHH", 1, 0, len(body)) + body


@kind("requests-flood", "registers", "somebody asks as fast as the line takes it", quick=True, wire="modbus")
def _requests_flood(plant: Plant, rng: random.Random) -> None:
    until = time.monotonic() + rng.uniform(0.5, 1.5)
    with suppress(OSError), socket.create_connection(("127.0.0.1", plant.port), timeout=0.2) as line:
        while time.monotonic() < until:
            with suppress(TimeoutError):
                line.sendall(_request(3, 0, 100) * 50)


@kind("connections-flood", "registers", "somebody opens twenty connections and says nothing", wire="modbus")
def _connections_flood(plant: Plant, rng: random.Random) -> None:
    opened: list[socket.socket] = []
    with suppress(OSError):
        opened += [socket.create_connection(("127.0.0.1", plant.port), timeout=1) for _ in range(20)]
    time.sleep(rng.uniform(0.1, 0.5))
    for one in opened:
        one.close()


@kind("stranger-writes", "registers", "somebody writes nonsense into the cell's mailboxes", wire="modbus")
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
