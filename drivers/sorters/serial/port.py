"""A cell on a serial line: its settings, and pyserial and one thread around the session.

The thread reads, watches the clock and opens the line again after it was lost; what the application
says is written by the caller itself, without waiting for the thread. Writes never block: what the line
does not take at once is kept, up to a limit, and what passes the limit is lost as if on the wire, which
the protocol heals.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import termios
import threading
import time
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, model_validator

from drivers import heartbeat
from drivers.settings import Seconds, beside_the_file, mistake
from drivers.sorters import PROTOCOLS
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import SorterError
from drivers.sorters.messages import Message
from drivers.sorters.serial import frames, lines
from drivers.sorters.serial.opening import Line, is_url, open_line, problem_of
from drivers.sorters.session import Action
from drivers.sorters.session_sorter import SessionSorter

_LINE_LOST = (OSError, termios.error)
"""What an unplugged line raises; SerialException is an OSError, termios.error is not."""
_OUTBOX_LIMIT = 4096
_LONGEST_WAIT_S = 0.5
_FIRST_PAUSE_S = 0.05


def _port_beside_the_file(port: str, info: ValidationInfo) -> str:
    if "/" not in port or is_url(port):
        return port
    return str(beside_the_file(Path(port), info))


Port = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_port_beside_the_file)]


class SerialSettings(HandshakeSettings):
    """A robot or PLC on a serial line, docs/serial-protocol.md."""

    kind: Literal["serial"] = "serial"
    """the sorter's protocol"""
    port: Port
    """the serial device; a name in /dev/serial/by-id/ stays the same after a replug. Or the raw TCP port of
    a serial converter, `socket://192.168.0.7:4001`, with the address as a number"""
    words: Literal["frames", "lines"] = "frames"
    """how messages are written: `frames` of bytes, or `lines` of text for a cell without bit operations"""
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115_200
    """the baud rate"""
    rtscts: bool = False
    """whether RTS/CTS flow control is used; the cable needs these wires"""
    dtr: bool | None = None
    """the level of the DTR wire while the line is open; some converters are powered or switched by it;
    without it, the system sets it"""
    rts: bool | None = None
    """the level of the RTS wire while the line is open, as for `dtr`"""
    reopen_max_s: Seconds = 1.0
    """the longest pause between two attempts to open a lost line, s; the first pause is 0.05 s"""

    @model_validator(mode="after")
    def _port_has_these_wires(self) -> Self:
        if self.rtscts and self.rts is not None:
            raise mistake("rts", "is set, and `rtscts` uses this wire too", "remove one of the two")
        if not is_url(self.port):
            return self
        problem = problem_of(self.port)
        if problem is not None:
            raise mistake("port", *problem)
        used = {"rtscts": self.rtscts, "dtr": self.dtr is not None, "rts": self.rts is not None}
        for key, given in used.items():
            if given:
                raise mistake(key, "is set, and a TCP connection has no such wire", "set it in the converter")
        return self


@PROTOCOLS.register(SerialSettings)
class SerialSorter(SessionSorter):
    """The station's end of docs/serial-protocol.md on a serial port; ``station`` is its name."""

    def __init__(self, settings: SerialSettings, station: str = "station") -> None:
        super().__init__(settings, station)
        self._settings = settings
        self._words = lines if settings.words == "lines" else frames
        self._line: Line | None = None
        self._decoder: frames.Decoder | lines.Decoder = self._words.Decoder()
        self._outbox = bytearray()
        self._garbled_before = 0
        self._broken = False
        self._wake_r = self._wake_w = -1

    @property
    def _place(self) -> str:
        return self._settings.port

    def _begin_service(self) -> None:
        refuse_permanent_errors(self._settings.port)
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._try_open()

    @property
    def _described(self) -> str:
        port = self._settings.port
        return f"serial over {port}" if is_url(port) else f"serial {port} {self._settings.baud} 8N1"

    def _end_service(self) -> None:
        self._drop_line("closed")
        for fd in (self._wake_r, self._wake_w):
            if fd >= 0:
                os.close(fd)
        self._wake_r = self._wake_w = -1

    # -- with the lock held

    def _put_out(self, messages: list[Message]) -> None:
        for message in messages:
            if self._line is not None and len(self._outbox) < _OUTBOX_LIMIT:
                self._outbox += self._words.encode(message)
                self._sent += 1
        self._flush()
        self._wake()

    def _is_up(self) -> bool:
        return self._line is not None

    def _garbled(self) -> int:
        return self._garbled_before + self._decoder.garbled

    def _flush(self) -> None:
        if self._line is None or not self._outbox or self._broken:
            return
        try:
            written = os.write(self._line.fileno(), self._outbox)
            del self._outbox[:written]
        except BlockingIOError:
            pass
        except _LINE_LOST as error:
            self._broken = True
            self._last_error = f"writing to {self._settings.port} failed ({error}); check the cable"

    def _drop_line(self, why: str) -> None:
        if self._line is None:
            return
        line, self._line = self._line, None
        self._outbox.clear()
        self._garbled_before += self._decoder.garbled
        self._decoder = self._words.Decoder()
        self._broken = False
        self._last_error = why
        try:
            line.close()
        except _LINE_LOST as error:
            self._last_error = f"{why}; closing failed too ({error})"
        self._do(self._session.line_down(time.monotonic_ns()))

    # -- the thread

    def _serve(self) -> None:
        pause_s = _FIRST_PAUSE_S
        open_at = time.monotonic() + pause_s
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                if self._line is None and time.monotonic() >= open_at and not self._try_open():
                    pause_s = min(2 * pause_s, self._settings.reopen_max_s)
                    open_at = time.monotonic() + pause_s
                self._serve_once(open_at)
                if self._line is not None:
                    pause_s = _FIRST_PAUSE_S
            except _LINE_LOST as error:
                with self._lock:
                    port = self._settings.port
                    self._drop_line(f"{port} was lost ({error}); plug it in, then it recovers by itself")
                open_at = time.monotonic() + pause_s
            except Exception as error:
                with self._lock:
                    self._drop_line(self._begin_anew(error))
                pause_s = min(2 * pause_s, self._settings.reopen_max_s)
                open_at = time.monotonic() + pause_s
                self._stop.wait(min(pause_s, 0.2))  # an error that comes each time must not fill the log

    def _try_open(self) -> bool:
        settings = self._settings
        try:
            line = open_line(
                settings.port, settings.baud, rtscts=settings.rtscts, dtr=settings.dtr, rts=settings.rts
            )
        except (*_LINE_LOST, ValueError) as error:
            with self._lock:
                self._last_error = f"{settings.port} cannot be opened ({error}); tried again by itself"
            return False
        with self._lock:
            self._line = line
            self._opened += 1
            self._last_error = ""
            self._do(self._session.line_up(time.monotonic_ns()))
        return True

    def _serve_once(self, open_at: float) -> None:
        poll = select.poll()
        poll.register(self._wake_r, select.POLLIN)
        with self._lock:
            fd = -1 if self._line is None else self._line.fileno()
            wait_s = min((self._session.next_due_ns() - time.monotonic_ns()) / 1e9, _LONGEST_WAIT_S)
            if fd >= 0:
                poll.register(fd, select.POLLIN | (select.POLLOUT if self._outbox else 0))
            else:
                wait_s = min(wait_s, open_at - time.monotonic())
        happened = dict(poll.poll(max(0.0, wait_s) * 1000))
        if self._wake_r in happened:
            os.read(self._wake_r, 4096)
        data = b""
        if happened.get(fd, 0) & ~select.POLLOUT:
            data = os.read(fd, 4096)
            if not data:
                raise OSError("the device hung up")
        with self._lock:
            if self._broken:
                raise OSError(self._last_error)
            now_ns = time.monotonic_ns()
            actions: list[Action] = []
            for message in self._decoder.feed(data):
                actions += self._session.received(message, now_ns)
            if self._decoder.other_version is not None:
                actions += self._session.other_version(self._decoder.other_version)
                self._decoder.other_version = None
            actions += self._session.tick(now_ns)
            self._do(actions)

    def _wake(self) -> None:
        if self._wake_w < 0 or self._thread is threading.current_thread():
            return
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_w, b"\0")


def refuse_permanent_errors(port: str) -> None:
    """Raise :class:`SorterError` for a port that can never be opened as it is."""
    try:
        mode = os.stat(port).st_mode
    except OSError:
        return  # absent: it may be plugged in later
    if not stat.S_ISCHR(mode):
        raise SorterError(f"{port} is not a serial device; find the right one in /dev/serial/by-id")
    if not os.access(port, os.R_OK | os.W_OK):
        raise SorterError(
            f"{port} may not be opened by this user; add the user to the group that owns it "
            "(`sudo usermod -aG dialout $USER`) and log in again"
        )
