"""The network between a PLC and the station: a relay of TCP that can be cut, and mended."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading

_RESET = struct.pack("ii", 1, 0)
"""Lingering like this, a connection is reset when it is closed."""


class Relay:
    """Carries what comes in at :attr:`port` to ``station``, and back, until it is closed."""

    def __init__(self, station: int) -> None:
        self._station = station
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        """Where the PLC finds the station."""
        self._ends: dict[socket.socket, socket.socket] = {}
        """The PLC's end of each connection -> the station's end."""
        self._forgotten: list[socket.socket] = []
        """The station's ends of connections whose PLC is gone without a word."""
        self._waiting: list[socket.socket] = []
        """The PLC's ends of connections that the station has not accepted yet."""
        self._whole = threading.Event()
        self._whole.set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="relay", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """From now on nothing passes; who is connected hears nothing of it."""
        self._whole.clear()

    def mend(self) -> None:
        """What the ends have said meanwhile arrives now, as TCP sends it again."""
        self._whole.set()

    def reset(self) -> None:
        """Reset all connections, as a firewall does that starts anew."""
        with self._lock:
            for pair in self._ends.items():
                for end in pair:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.close()
            self._ends.clear()

    def vanish(self) -> None:
        """The PLC loses its power: it forgets its connections, and the station is not told."""
        with self._lock:
            for plc, station in self._ends.items():
                plc.close()
                self._forgotten.append(station)
            self._ends.clear()

    def close(self) -> None:
        """End the thread and all connections."""
        self._ended.set()
        self._whole.set()
        self._thread.join(5)
        for one in (self._listening, *self._ends, *self._ends.values(), *self._forgotten, *self._waiting):
            one.close()

    def _carry(self) -> None:
        while not self._ended.is_set():
            self._whole.wait()
            self._waiting = [plc for plc in self._waiting if not self._connect(plc)]
            with self._lock:
                other = self._ends | {station: plc for plc, station in self._ends.items()}
            try:
                readable = select.select([self._listening, *other], [], [], 0.02)[0]
            except (OSError, ValueError):  # an end was closed meanwhile
                continue
            for end in readable if self._whole.is_set() else []:
                if end is self._listening:
                    self._waiting.append(end.accept()[0])
                elif not self._pass(end, other[end]):
                    self._part(end, other[end])

    def _connect(self, plc: socket.socket) -> bool:
        """Whether the station is there; else it is tried again, as TCP does with a machine that is off."""
        try:
            station = socket.create_connection(("127.0.0.1", self._station), timeout=1)
        except OSError:
            return False
        for end in (plc, station):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(1)
        with self._lock:
            self._ends[plc] = station
        return True

    @staticmethod
    def _pass(end: socket.socket, other: socket.socket) -> bool:
        """Carry what has come; False where the connection has ended."""
        with contextlib.suppress(OSError):
            data = end.recv(1 << 16)
            other.sendall(data)
            return bool(data)
        return False

    def _part(self, end: socket.socket, other: socket.socket) -> None:
        with self._lock:
            if end in self._ends or other in self._ends:  # else it was reset or forgotten meanwhile
                self._ends.pop(end, None)
                self._ends.pop(other, None)
                end.close()
                other.close()
