"""A cell by Modbus: the station serves registers, the PLC reads and writes them (docs/modbus.md).

pymodbus serves in a thread and a loop of their own; what the application says stands in the registers at
once, without waiting for either. A server that loses its line, or is flooded, is thrown away and a new one
made: a Modbus object that is used again may never connect again (pymodbus#1635).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import termios
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drivers import heartbeat
from drivers.registry import Package
from drivers.settings import Seconds, mistake
from drivers.sorters import PROTOCOLS
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import SorterError
from drivers.sorters.messages import Heartbeat, Hello, Message
from drivers.sorters.modbus.registers import (
    CELL_AREA,
    END,
    Cell,
    MailboxError,
    OtherVersionError,
    Registers,
)
from drivers.sorters.serial.port import Port, refuse_permanent_errors
from drivers.sorters.session_sorter import SessionSorter

if TYPE_CHECKING:
    from pymodbus.constants import ExcCodes
    from pymodbus.server.base import ModbusBaseServer

log = logging.getLogger(__name__)

_READS, _WRITES = (3, 4, 23), (6, 16, 23)
"""Function codes that are served; 23 writes and then reads."""
_LONGEST_WAIT_S = 0.2
_FIRST_PAUSE_S = 0.05
_AT_MOST = 4000
"""Requests per second that are answered at once; further ones wait for the next second."""
_CONNECTIONS = 8
"""So many PLCs and panels at a time."""
_WAITING = 256
"""So many requests that wait, and the connections are closed: nobody who waits for answers has them."""


class ModbusSettings(HandshakeSettings):
    """A PLC that reads and writes the station's registers by Modbus TCP or RTU, docs/modbus.md."""

    kind: Literal["modbus"] = "modbus"
    """the sorter's protocol"""
    listen: Annotated[str, StringConstraints(min_length=1, max_length=45)] | None = None
    """for Modbus TCP: the address of this machine at which the PLC connects, such as 192.168.0.4"""
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    """for Modbus TCP: the port"""
    device: Port | None = None
    """for Modbus RTU: the serial device; a name in /dev/serial/by-id/ stays the same after a replug"""
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 19_200
    """for Modbus RTU: the baud rate"""
    parity: Literal["none", "even", "odd"] = "even"
    """for Modbus RTU: the parity; with `none` there are two stop bits, as the standard has it"""
    unit: Annotated[int, Field(ge=1, le=247)] = 1
    """the station's unit id; requests to others are not answered by this station"""
    reopen_max_s: Seconds = 1.0
    """the longest pause between two attempts to serve a line that was lost, s; the first pause is 0.05 s"""

    @model_validator(mode="after")
    def _has_one_line(self) -> Self:
        if (self.listen is None) == (self.device is None):
            what = "is missing, and `device` too" if self.listen is None else "is set, and `device` too"
            raise mistake("listen", what, "write `listen` for Modbus TCP, or `device` for Modbus RTU")
        if self.device is not None and "://" in self.device:
            raise mistake(
                "device",
                f"is a URL, {self.device}, and Modbus RTU needs a serial device",
                "write the device, or `listen` and `port` for Modbus TCP",
            )
        if self.listen is not None and not _is_address(self.listen):
            raise mistake(
                "listen",
                f"is {self.listen!r}, which is no address",
                "write an address of this machine as a number, such as 192.168.0.4, and the port in `port`",
            )
        given = self.model_fields_set
        for key in ("baud", "parity") if self.device is None else ("port",):
            if key in given:
                other = "device" if self.device is None else "listen"
                raise mistake(key, f"is set without `{other}`", "remove it")
        return self


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, text)
            return True
    return False


@PROTOCOLS.register(ModbusSettings, needs=Package("pymodbus", extra="modbus"))
class ModbusSorter(SessionSorter):
    """The station's end of docs/modbus.md; ``station`` is its name."""

    def __init__(self, settings: ModbusSettings, station: str = "station") -> None:
        super().__init__(settings, station)
        self._settings = settings
        self._registers = Registers()
        self._taken: dict[Cell, tuple[Message, int]] = {}
        """What each mailbox of the cell held last, and since when; it is written again and again."""
        self._connections = 0
        self._bad = 0
        self._lost = ""
        """Why the server is to be replaced."""
        self._window, self._in_window, self._waiting = 0.0, 0, 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Serve from now on; a line or an address that is not there yet is waited for, in the background."""
        if self._thread is not None:
            raise SorterError("this sorter was already opened once; make a new one")
        settings = self._settings
        if settings.device is not None:
            refuse_permanent_errors(settings.device)
        elif settings.port < 1024 and not _may_listen(str(settings.listen), settings.port):
            raise SorterError(
                f"port {settings.port} may not be opened by this user; write a `port` of 1024 or more, or "
                "give the service the right CAP_NET_BIND_SERVICE"
            )
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what callers do wrong is counted here
        self._thread = threading.Thread(target=self._serve, name=f"sorter {self._place}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say "not ready", give the open results their bad receipts, release the line."""
        if self._stop.is_set():
            return
        with self._lock:
            self._do(self._session.close(time.monotonic_ns()))
        self._stop.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)

    @property
    def _place(self) -> str:
        settings = self._settings
        return settings.device or f"{settings.listen}:{settings.port}"

    @property
    def _described(self) -> str:
        settings = self._settings
        if settings.device is None:
            return f"Modbus TCP {self._place} unit {settings.unit}"
        return f"Modbus RTU {settings.device} {settings.baud} unit {settings.unit}"

    # -- with the lock held

    def _put_out(self, messages: list[Message]) -> None:
        for message in messages:
            self._registers.put(message)
            self._sent += 1
        self._wake()

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
        return isinstance(message.body, Hello | Heartbeat) or (
            now_ns - taken_ns < self._settings.resend_ms * 1e6
        )

    # -- the thread and its loop

    def _serve(self) -> None:
        heartbeat.begin("sorter")
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                asyncio.run(self._serve_in_loop())
            except Exception as error:  # a mistake of ours must not end the service of the wire
                log.exception("sorter %s: the registers are served anew", self._place)
                with self._lock:
                    why = f"an error of this software ({error!r}); please report it; it recovers by itself"
                    self._last_error = why
                    self._give_up_all(why)
                    self._registers = Registers()
                    self._connections = 0
                self._stop.wait(0.2)
        heartbeat.end()

    async def _serve_in_loop(self) -> None:
        server: ModbusBaseServer | None = None
        self._woken = asyncio.Event()
        with self._lock:
            self._loop = asyncio.get_running_loop()
        pause_s, try_at = _FIRST_PAUSE_S, 0.0
        try:
            while not self._stop.is_set():
                heartbeat.beat()
                if server is not None and self._lost:
                    await self._end(server)
                    server, try_at = None, time.monotonic() + pause_s
                if server is None and time.monotonic() >= try_at:
                    server = await self._begin()
                    pause_s = _FIRST_PAUSE_S if server else min(2 * pause_s, self._settings.reopen_max_s)
                    try_at = time.monotonic() + pause_s
                await self._until_due(try_at if server is None else None)
        finally:
            with self._lock:
                self._loop = None
            if server is not None:
                await self._end(server)

    async def _begin(self) -> ModbusBaseServer | None:
        """A new server object that listens; None where there is no line or address."""
        self._lost = ""
        try:
            server = self._made()
            if not await server.listen():
                raise OSError("the address is used by another program, or not of this machine")
        except (OSError, termios.error, ValueError) as error:
            with self._lock:
                self._last_error = f"{self._place} cannot be served ({error}); tried again by itself"
            return None
        with self._lock:
            self._last_error = "" if self._settings.device else f"no PLC is connected to {self._place}"
        return server

    def _made(self) -> ModbusBaseServer:
        from pymodbus.framer import FramerType
        from pymodbus.server import ModbusSerialServer, ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        settings = self._settings
        words = SimData(0, count=END, values=0, datatype=DataType.REGISTERS)
        device = SimDevice(settings.unit, simdata=[words], action=self._accessed)
        if settings.device is None:
            address = (str(settings.listen), settings.port)
            return ModbusTcpServer(device, address=address, trace_connect=self._connected)
        return ModbusSerialServer(
            device,
            framer=FramerType.RTU,
            port=settings.device,
            baudrate=settings.baud,
            parity=settings.parity[0].upper(),
            stopbits=2 if settings.parity == "none" else 1,
            ignore_missing_devices=True,
            trace_connect=self._connected,
        )

    async def _end(self, server: ModbusBaseServer) -> None:
        await server.shutdown()  # type: ignore[no-untyped-call]
        with self._lock:
            self._connections = 0
            self._last_error = self._lost or "closed"
            self._do(self._session.line_down(time.monotonic_ns()))

    def _connected(self, is_up: bool) -> None:
        """A PLC has connected or left; on a serial line, the line was opened or lost."""
        with self._lock:
            self._connections = max(0, self._connections + (1 if is_up else -1))
            now_ns = time.monotonic_ns()
            if is_up and self._connections == 1:
                self._opened += 1
                self._last_error = ""
                self._do(self._session.line_up(now_ns))
            elif not is_up and not self._connections:
                self._last_error = f"{self._place} was lost; check cable and PLC, it recovers by itself"
                self._do(self._session.line_down(now_ns))
        if self._connections > _CONNECTIONS:
            self._lost = f"{self._place} was flooded with connections; check what is connected"
        if not is_up and self._settings.device is not None:
            self._lost = f"{self._settings.device} was lost; plug it in, then it recovers by itself"

    async def _until_due(self, at: float | None) -> None:
        """Wait for what the application says, for the clock or for ``at``; then do what is due."""
        assert self._woken is not None
        with self._lock:
            wait_s = min((self._session.next_due_ns() - time.monotonic_ns()) / 1e9, _LONGEST_WAIT_S)
        if at is not None:
            wait_s = min(wait_s, at - time.monotonic())
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), wait_s)
        self._woken.clear()
        with self._lock:
            self._do(self._session.tick(time.monotonic_ns()))
            self._registers.forget_results(self._session.handshake.awaits)

    async def _accessed(
        self, function: int, start: int, at: int, count: int, current: list[int], values: Any
    ) -> ExcCodes | None:
        """A request: answer it from the registers as they are now, or take what it writes."""
        from pymodbus.constants import ExcCodes

        if function not in (_READS if values is None else _WRITES):
            return ExcCodes.ILLEGAL_FUNCTION
        if not await self._in_turn():
            return ExcCodes.DEVICE_BUSY
        if values is None:
            with self._lock:
                current[at - start : at - start + count] = self._registers.read(at, count)
            return None
        if at < CELL_AREA:
            return ExcCodes.ILLEGAL_ADDRESS
        with self._lock:
            self._cell_wrote(at, [int(value) for value in values])
        return None

    async def _in_turn(self) -> bool:
        """Wait where requests come faster than any PLC needs; False where they must end."""
        now = time.monotonic()
        if now >= self._window:
            self._window, self._in_window = now + 0.05, 0
        self._in_window += 1
        if self._in_window <= _AT_MOST * 0.05:
            return True
        if self._waiting >= _WAITING:
            self._lost = f"{self._place} was flooded with requests; check what is connected"
            return False
        self._waiting += 1
        try:
            await asyncio.sleep(max(0.0, self._window - now))
        finally:
            self._waiting -= 1
        return True

    def _wake(self) -> None:
        if self._loop is not None and self._woken is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._woken.set)


def _may_listen(address: str, port: int) -> bool:
    """Whether this user may open the port; whether it is free is another question."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind((address, port))
        except PermissionError:
            return False
        except OSError:
            return True
    return True
