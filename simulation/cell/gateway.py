"""A line whose other end is a thread: what a cell says is carried on there to another wire."""

from __future__ import annotations

import contextlib
import socket
import threading
from abc import ABC, abstractmethod


class Gateway(ABC):
    """For the cell a line like any other, plugged in and pulled out; frames of bytes go both ways."""

    def __init__(self, port: str) -> None:
        self.port = port
        self._inner: socket.socket | None = None
        self._outer: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def fd(self) -> int:
        """Where frames are read and written; -1 while it is pulled out."""
        return self._outer.fileno() if self._outer is not None else -1

    def plug_in(self) -> None:
        """Connect, and go on trying where there is nobody."""
        self._outer, self._inner = socket.socketpair()
        self._outer.setblocking(False)
        self._thread = threading.Thread(target=self._serve, args=(self._inner,), name="gateway", daemon=True)
        self._thread.start()

    def pull_out(self) -> None:
        """Vanish; what was not carried on yet is lost."""
        for end in (self._outer, self._inner):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        for end in (self._outer, self._inner):
            if end is not None:
                end.close()
        self._outer = self._inner = self._thread = None

    @abstractmethod
    def _serve(self, inner: socket.socket) -> None:
        """Carry on what is read from ``inner``, until it ends."""
