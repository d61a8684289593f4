"""Who answers at an address: one datagram of GigE Vision's control protocol (GVCP).

A camera answers it to anybody, whoever controls it, and within milliseconds; the library's own question to a
camera that is gone takes 2.5 to 5 s (Aravis 0.8.26).
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from dataclasses import dataclass

PORT = 3956
ASK, ANSWER = 0x0002, 0x0003
"""DISCOVERY_CMD and DISCOVERY_ACK."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Present:
    """A camera that answers, as the standard's bootstrap registers describe it."""

    address: str
    maker: str
    model: str
    serial: str
    name: str
    """The name that its user gave it."""

    def __str__(self) -> str:
        """The camera in messages."""
        return " ".join(filter(None, (self.maker, self.model, self.serial)))


def who_answers(address: str, wait_s: float = 0.15, tries: int = 3) -> Present | None:
    """The camera at an address; None when none answers within ``tries`` times ``wait_s``."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.connect((address, PORT))
            for _ in range(tries):
                number = next(_numbers) % 0xFFFF + 1  # 0 is not allowed
                wire.send(struct.pack(">BBHHH", 0x42, 0x01, ASK, 0, number))
                found = _answer(wire, number, time.monotonic() + wait_s)
                if found is not None:
                    return found
    except OSError:  # no way to the address, or nobody at its port
        return None
    return None


def _answer(wire: socket.socket, number: int, until: float) -> Present | None:
    while (left_s := until - time.monotonic()) > 0:
        wire.settimeout(left_s)
        try:
            said = wire.recv(1024)
        except TimeoutError:
            return None
        if len(said) >= 8 + 248 and struct.unpack(">HHHH", said[:8]) == (0, ANSWER, len(said) - 8, number):
            return _present(said[8:])
    return None


def _present(block: bytes) -> Present:
    def text(start: int, length: int) -> str:
        return block[start : start + length].split(b"\0")[0].decode("utf-8", "replace").strip()

    address = socket.inet_ntoa(block[36:40])
    return Present(address, text(72, 32), text(104, 32), text(216, 16), text(232, 16))
