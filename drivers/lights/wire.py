"""Question and answer in text, over TCP, UDP or a serial line, with a deadline."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import time
from typing import Protocol

from drivers.lights.interface import LightLostError
from drivers.lights.settings import LightSettings
from drivers.sorters.serial.opening import open_line

_LONGEST = 4096
"""Bytes; an answer that is longer is none."""
_LINE_LOST = (OSError, termios.error)


class _Line(Protocol):
    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Wire:
    """One line to a controller, opened at the first question, and opened anew by the first after a failure.

    So that no late answer is taken for the answer to the next question, it belongs to a connection that is
    gone (TCP), or what has come in is thrown away before a question (UDP, serial). A connection that the
    controller closed between two questions is opened anew: Gardasoft's TR-RT closes it after 10 idle seconds.
    """

    def __init__(self, settings: LightSettings, ends: bytes, *, local_port: int = 0) -> None:
        """``ends``: the bytes at an answer's end; ``local_port``: where UDP answers go, 0 for any."""
        self._settings, self._ends, self._local_port = settings, ends, local_port
        self._line: _Line | None = None

    def ask(self, question: bytes) -> str:
        """Send, and wait for the answer, without the bytes at its end. Raises :class:`LightLostError`."""
        deadline = time.monotonic() + self._settings.timeout_ms / 1000
        try:
            line = self._opened(deadline)
            self._send(line, question, deadline)
            answer = self._receive(line, deadline)
        except _LINE_LOST as error:
            self.close()
            raise LightLostError(
                f"{self._settings.address}: no answer to {_shown(question)} ({error}); check the light "
                "controller's power and cable, and its address"
            ) from None
        return answer

    def close(self) -> None:
        """Leave the line."""
        if self._line is not None:
            with contextlib.suppress(*_LINE_LOST):
                self._line.close()
        self._line = None

    def _opened(self, deadline: float) -> _Line:
        if self._line is not None and not self._drained(self._line):
            self.close()
        if self._line is None:
            self._line = self._open(max(0.01, deadline - time.monotonic()))
        return self._line

    def _open(self, timeout_s: float) -> _Line:
        network = self._settings.network
        if network is None:
            baud = self._settings.baud or self._settings.default_baud
            return open_line(self._settings.address, baud)
        scheme, host, port = network
        if scheme == "tcp":
            line = socket.create_connection((host, port), timeout=timeout_s)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            line = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            line.bind(("", self._local_port))
            line.connect((host, port))
        line.setblocking(False)
        return line

    def _drained(self, line: _Line) -> bool:
        """Throw away what has come in; False when the other end has left."""
        while select.select([line], [], [], 0)[0]:
            try:
                if not os.read(line.fileno(), _LONGEST):
                    return False
            except ConnectionError:
                return False
        return True

    def _send(self, line: _Line, question: bytes, deadline: float) -> None:
        while question:
            if not select.select([], [line], [], max(0.0, deadline - time.monotonic()))[1]:
                raise TimeoutError("the line takes no bytes")
            question = question[os.write(line.fileno(), question) :]

    def _receive(self, line: _Line, deadline: float) -> str:
        answer = b""
        while not answer.endswith(self._ends):
            if not select.select([line], [], [], max(0.0, deadline - time.monotonic()))[0]:
                waited = f"nothing within {self._settings.timeout_ms:g} ms"
                raise TimeoutError(f"{waited} but {_shown(answer)}" if answer else waited)
            more = os.read(line.fileno(), _LONGEST)
            if not more:
                raise ConnectionError("the controller closed the connection")
            answer += more
            if len(answer) > _LONGEST:
                raise ConnectionError(f"an answer of more than {_LONGEST} bytes")
        return answer[: -len(self._ends)].decode("ascii", "replace")


def _shown(data: bytes) -> str:
    return repr(data[:60].decode("ascii", "replace"))
