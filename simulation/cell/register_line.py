"""A gateway between a cell that speaks frames and a station that serves registers, as plants have them.

For the cell's side it is a line like any other, which is plugged in and pulled out. Behind it is a
PLC's client by Modbus or OPC UA, which connects again by itself.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable

from drivers.sorters.serial.frames import Decoder, encode
from simulation.cell.gateway import Gateway
from simulation.cell.peers import Peer

_CYCLE_S = 0.003


class RegisterLine(Gateway):
    """The end of the line that is a PLC."""

    def __init__(self, port: str, make_peer: Callable[[], Peer]) -> None:
        super().__init__(port)
        self._make_peer = make_peer

    def _serve(self, inner: socket.socket) -> None:
        decoder = Decoder()
        peer: Peer | None = None
        while True:
            data = b""
            if select.select([inner], [], [], _CYCLE_S)[0]:
                data = inner.recv(4096)
                if not data:
                    break
            said = decoder.feed(data)
            if peer is None:
                made = self._make_peer()
                if not made.connect():
                    time.sleep(0.05)
                    continue  # what the cell says meanwhile is lost, as on a wire that is cut
                peer = made
            try:
                for message in said:
                    peer.say(message)
                heard = b"".join(encode(message) for message in peer.news(time.monotonic_ns()))
            except OSError:
                peer.close()
                peer = None
                continue
            with contextlib.suppress(OSError):  # it is being pulled out
                inner.send(heard)
        if peer is not None:
            peer.close()
