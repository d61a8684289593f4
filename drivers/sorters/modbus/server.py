"""A cell by Modbus: the station serves registers, the PLC reads and writes them (docs/modbus.md).

A server that loses its line, or is flooded, is thrown away and a new one made: a Modbus object that is used
again may never connect again (pymodbus#1635).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drivers.registry import Package
from drivers.settings import Seconds, mistake
from drivers.sorters import PROTOCOLS
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import SorterError
from drivers.sorters.register_sorter import RegisterSorter
from drivers.sorters.registers import CELL_AREA, END
from drivers.sorters.serial.port import Port, refuse_permanent_errors
from drivers.sorters.settings import is_address

if TYPE_CHECKING:
    from pymodbus.constants import ExcCodes
    from pymodbus.server.base import ModbusBaseServer

_READS, _WRITES = (3, 4, 23), (6, 16, 23)
"""Function codes that are served; 23 writes and then reads."""
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
        if self.listen is not None and not is_address(self.listen):
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


@PROTOCOLS.register(ModbusSettings, needs=Package("pymodbus", extra="modbus"))
class ModbusSorter(RegisterSorter["ModbusBaseServer"]):
    """The station's end of docs/modbus.md; ``station`` is its name."""

    def __init__(self, settings: ModbusSettings, station: str = "station") -> None:
        super().__init__(settings, station, settings.reopen_max_s)
        self._settings = settings
        self._window, self._in_window, self._waiting = 0.0, 0, 0

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

    def _begin_service(self) -> None:
        settings = self._settings
        if settings.device is not None:
            refuse_permanent_errors(settings.device)
        elif settings.port < 1024 and not _may_listen(str(settings.listen), settings.port):
            raise SorterError(
                f"port {settings.port} may not be opened by this user; write a `port` of 1024 or more, or "
                "give the service the right CAP_NET_BIND_SERVICE"
            )
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what callers do wrong is counted here

    async def _begin(self) -> ModbusBaseServer:
        server = self._made()
        if not await server.listen():
            raise OSError("there is no such line, or the address is used, or not of this machine")
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

    def _connected(self, is_up: bool) -> None:
        """A PLC has connected or left; on a serial line, the line was opened or lost."""
        with self._lock:
            self._count_connections(max(0, self._connections + (1 if is_up else -1)))
        if self._connections > _CONNECTIONS:
            self._lost = f"{self._place} was flooded with connections; check what is connected"
        if not is_up and self._settings.device is not None:
            self._lost = f"{self._settings.device} was lost; plug it in, then it recovers by itself"

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
