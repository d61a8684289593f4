"""Opening the line to a cell: a serial device of this machine, or a serial converter on the network.

A converter is reached by its raw TCP port, ``socket://192.168.0.7:4001``; speed and parity are set in the
converter. Its address is a number: a name server that does not answer would keep the line waiting.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Protocol
from urllib.parse import urlsplit

import serial

TCP = "socket"
CONNECT_S = 2.0
"""The time limit of one attempt to connect, s; the attempts go on by themselves."""
_SILENT_MS = 5000
"""Bytes that the converter does not take for this long mean that the connection is lost, ms."""


class Line(Protocol):
    """An open line: a file descriptor that does not block."""

    def fileno(self) -> int:
        """The descriptor."""

    def close(self) -> None:
        """Release the line. Raises OSError or ``termios.error``."""


def is_url(port: str) -> bool:
    """Whether the port is no device of this machine."""
    return "://" in port


def problem_of(port: str) -> tuple[str, str] | None:
    """What is wrong with a port that is a URL, and the remedy; None when it can be opened."""
    scheme = port.partition("://")[0].lower()
    right = "write socket://ADDRESS:PORT, with the address as a number"
    if scheme == "rfc2217":
        return (
            "asks for RFC 2217, which this station does not speak",
            "set the converter to raw TCP, with speed and parity set there, and write socket://ADDRESS:PORT",
        )
    if scheme != TCP:
        return f"begins with `{scheme}://`, which this station does not know", right
    try:
        _address(port)
    except ValueError as error:
        return f"cannot be used: {error}", right
    return None


def open_line(
    port: str, baud: int, *, rtscts: bool = False, dtr: bool | None = None, rts: bool | None = None
) -> Line:
    """Open a device or a URL that :func:`problem_of` has passed; ``dtr`` and ``rts``: None leaves the wire
    to the system. Raises OSError, ``termios.error`` or ValueError.
    """
    if is_url(port):
        return _connect(*_address(port))
    line = serial.Serial(None, baud, timeout=0, write_timeout=0, rtscts=rtscts, exclusive=True)
    line.port = port
    # Set before the line is opened: a converter would see an edge otherwise.
    if dtr is not None:
        line.dtr = dtr
    if rts is not None:
        line.rts = rts
    line.open()
    # FTDI adapters hold bytes back for 16 ms otherwise; ptys and many UARTs do not know the call.
    with contextlib.suppress(OSError, ValueError):
        line.set_low_latency_mode(True)
    return line


def _connect(host: str, port: int) -> Line:
    line = socket.create_connection((host, port), timeout=CONNECT_S)
    line.setblocking(False)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Without it, a converter that lost its power is waited for until TCP gives up, which takes 15 minutes.
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MS)
    return line


def _address(port: str) -> tuple[str, int]:
    """Host and port of a URL. Raises ValueError."""
    found = urlsplit(port)
    host, number = found.hostname, found.port
    if not host or not number or found.path not in ("", "/") or found.query or found.username:
        raise ValueError("it is not of the form socket://ADDRESS:PORT")
    ipaddress.ip_address(host)
    return host, number
