"""A sorter whose wire serves registers: what is said stands in them, and a server of the wire shows them.

The server has a thread and a loop of its own; what the application says stands in the registers at once. The
loop looks at them by its own clock: a caller that woke it would hand it the interpreter, and wait. A server
that loses its line, or fails, is thrown away and a new one made.
"""

from __future__ import annotations

import asyncio
import contextlib
import termios
import time
from abc import abstractmethod
from typing import Generic, TypeVar

from drivers import heartbeat
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.messages import Heartbeat, Hello, Message
from drivers.sorters.registers import Cell, MailboxError, OtherVersionError, Registers
from drivers.sorters.session_sorter import SessionSorter

_LOOK_S = 0.05
_FIRST_PAUSE_S = 0.05
_START_S = 60.0
"""What the start of a server may take on a busy machine, s."""

Server = TypeVar("Server")


class RegisterSorter(SessionSorter, Generic[Server]):
    """The station's end; a wire implements what is abstract here."""

    def __init__(self, settings: HandshakeSettings, station: str, reopen_max_s: float) -> None:
        super().__init__(settings, station)
        self._resend_ns = round(settings.resend_ms * 1e6)
        self._reopen_max_s = reopen_max_s
        self._registers = Registers()
        self._taken: dict[Cell, tuple[Message, int]] = {}
        """What each mailbox of the cell held last, and since when; it is written again and again."""
        self._connections = 0
        self._bad = 0
        self._lost = ""
        """Why the server is to be replaced."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None

    # -- what a wire adds

    @abstractmethod
    async def _begin(self) -> Server:
        """A new server that listens. Raises OSError or ``termios.error`` where there is no line."""

    @abstractmethod
    async def _end(self, server: Server) -> None:
        """Give everything back."""

    async def _show(self, server: Server) -> None:
        """The registers may have changed."""

    def _look_every_s(self) -> float:
        """How long the loop may wait until it sees what the application has said."""
        return _LOOK_S

    # -- with the lock held

    def _put_out(self, messages: list[Message]) -> None:
        for message in messages:
            self._registers.put(message)
            self._sent += 1

    def _is_up(self) -> bool:
        return self._connections > 0

    def _garbled(self) -> int:
        return self._bad

    def _cell_wrote(self, at: int, values: list[int]) -> None:
        now_ns = time.monotonic_ns()
        for place, found in self._registers.take(at, values):
            if isinstance(found, OtherVersionError):
                self._do(self._session.other_version(found.version))
            elif isinstance(found, MailboxError):
                self._bad += 1
                self._session.handshake.problem = f"the cell's registers from {int(place)} on: {found}"
            elif not self._is_old(place, found, now_ns):
                self._taken[place] = (found, now_ns)
                self._do(self._session.received(found, now_ns))
        self._registers.forget_results(self._session.handshake.awaits)

    def _is_old(self, place: Cell, message: Message, now_ns: int) -> bool:
        """Whether a mailbox only still holds what it held: many PLCs write all outputs in every cycle."""
        before, taken_ns = self._taken.get(place, (None, 0))
        if message != before:
            return False
        return isinstance(message.body, Hello | Heartbeat) or now_ns - taken_ns < self._resend_ns

    def _count_connections(self, count: int) -> None:
        """So many PLCs are connected now."""
        before, self._connections = self._connections, count
        now_ns = time.monotonic_ns()
        if count and not before:
            self._opened += 1
            self._last_error = ""
            self._do(self._session.line_up(now_ns))
        elif before and not count:
            self._last_error = f"{self._place} was lost; check cable and PLC, it recovers by itself"
            self._do(self._session.line_down(now_ns))

    # -- the thread and its loop

    def _serve(self) -> None:
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                asyncio.run(self._serve_in_loop())
            except Exception as error:
                with self._lock:
                    why = self._begin_anew(error)
                    self._registers = Registers()
                    self._count_connections(0)
                    self._last_error = why
                self._stop.wait(0.2)

    async def _serve_in_loop(self) -> None:
        server: Server | None = None
        self._woken = asyncio.Event()
        with self._lock:
            self._loop = asyncio.get_running_loop()
        pause_s, try_at = _FIRST_PAUSE_S, 0.0
        try:
            while not self._stop.is_set():
                heartbeat.beat()
                if server is not None and self._lost:
                    await self._leave(server)
                    server, try_at = None, time.monotonic() + pause_s
                if server is None and time.monotonic() >= try_at:
                    server = await self._try_begin()
                    pause_s = _FIRST_PAUSE_S if server else min(2 * pause_s, self._reopen_max_s)
                    try_at = time.monotonic() + pause_s
                await self._until_due(try_at if server is None else None)
                if server is not None:
                    await self._show(server)
        finally:
            with self._lock:
                self._loop = None
            if server is not None:
                await self._leave(server)

    async def _try_begin(self) -> Server | None:
        self._lost = ""
        heartbeat.beat(_START_S)
        try:
            server = await self._begin()
        except (OSError, termios.error, ValueError) as error:
            with self._lock:
                self._last_error = f"{self._place} cannot be served ({error}); tried again by itself"
            return None
        with self._lock:
            if not self._connections:
                self._last_error = f"no PLC is connected to {self._place}"
        return server

    async def _leave(self, server: Server) -> None:
        await self._end(server)
        with self._lock:
            self._count_connections(0)
            self._last_error = self._lost or "closed"

    async def _until_due(self, at: float | None) -> None:
        """Wait for the clock, for ``at``, or for the time to look again; then do what is due."""
        assert self._woken is not None
        with self._lock:
            wait_s = (self._session.next_due_ns() - time.monotonic_ns()) / 1e9
        wait_s = min(wait_s, self._look_every_s())
        if at is not None:
            wait_s = min(wait_s, at - time.monotonic())
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), wait_s)
        self._woken.clear()
        with self._lock:
            self._do(self._session.tick(time.monotonic_ns()))
            self._registers.forget_results(self._session.handshake.awaits)

    def _wake(self) -> None:
        if self._loop is not None and self._woken is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._woken.set)
