"""A cell by OPC UA: the station is the server, the PLC its client (docs/opcua.md).

asyncua serves in a thread and a loop of its own. A server that fails is thrown away and a new one made: an
object that is used again may hang for ever (opcua-asyncio#1660).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drivers.registry import Package
from drivers.settings import Seconds, mistake
from drivers.sorters import PROTOCOLS
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.opcua.nodes import OWN, Nodes, make_nodes
from drivers.sorters.register_sorter import RegisterSorter
from drivers.sorters.registers import Cell
from drivers.sorters.settings import is_address

if TYPE_CHECKING:
    from asyncua.server.address_space import NodeManagementService
    from asyncua.server.binary_server_asyncio import OPCUAProtocol
    from asyncua.server.internal_server import InternalServer
    from asyncua.server.server import Server as UaServer

_LOOK_S = 0.003
"""So soon a client sees what the station says, s."""
_CONNECTIONS = 8
"""So many PLCs and panels at a time. One more pushes out the one that has been silent longest: a PLC that
lost its power leaves a connection behind that never ends by itself, and must find a place again."""
_SILENT_S, _UNNAMED_S = 30.0, 5.0
"""After so long a client that says nothing is cut off; one that has not begun a session."""
_LARGEST = 1 << 20
"""Bytes of a message; asyncua itself keeps what a stranger sends until there is no memory."""


class OpcUaSettings(HandshakeSettings):
    """A PLC that is a client of the station's OPC UA server, docs/opcua.md."""

    kind: Literal["opcua"] = "opcua"
    """the sorter's protocol"""
    listen: Annotated[str, StringConstraints(min_length=1, max_length=45)]
    """the address of this machine at which the PLC connects, such as 192.168.0.4"""
    port: Annotated[int, Field(ge=1, le=65535)] = 4840
    """the port"""
    reopen_max_s: Seconds = 1.0
    """the longest pause between two attempts to serve an address that is not there, s; the first is 0.05 s"""

    @model_validator(mode="after")
    def _listens_at_an_address(self) -> Self:
        if not is_address(self.listen):
            raise mistake(
                "listen",
                f"is {self.listen!r}, which is no address",
                "write an address of this machine as a number, such as 192.168.0.4, and the port in `port`",
            )
        return self


@dataclass
class _Serving:
    server: UaServer
    nodes: Nodes


@PROTOCOLS.register(OpcUaSettings, needs=Package("asyncua", extra="opcua"))
class OpcUaSorter(RegisterSorter[_Serving]):
    """The station's end of docs/opcua.md; ``station`` is its name."""

    def __init__(self, settings: OpcUaSettings, station: str = "station") -> None:
        super().__init__(settings, station, settings.reopen_max_s)
        self._settings, self._name = settings, station
        self._standard: Future[InternalServer] | None = _make_standard()

    @property
    def _place(self) -> str:
        host = f"[{self._settings.listen}]" if ":" in self._settings.listen else self._settings.listen
        return f"opc.tcp://{host}:{self._settings.port}"

    @property
    def _described(self) -> str:
        return f"OPC UA {self._place}"

    async def _begin(self) -> _Serving:
        from asyncua import ua
        from asyncua.server.server import Server as UaServer

        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what callers do wrong is counted here
        _try_address(self._settings.listen, self._settings.port)
        standard = self._standard or _make_standard()
        self._standard = None
        inside = await asyncio.wrap_future(standard)
        server = UaServer(iserver=inside)
        await server.init()
        await server.set_application_uri(f"{OWN}:{self._name}")
        server.set_endpoint(f"{self._place}/")
        server.set_server_name(f"inspection station {self._name}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.iserver.max_connections = _CONNECTIONS + 1
        server.iserver.max_session_timeout_ms = 1000 * _SILENT_S
        server.iserver.max_pending_activation_seconds = _UNNAMED_S
        server.limits.max_message_size, server.limits.max_chunk_count = _LARGEST, _LARGEST >> 16
        nodes = await make_nodes(server, self._written, self.is_simulated)
        await server.start()
        return _Serving(server, nodes)

    async def _end(self, server: _Serving) -> None:
        await server.server.stop()

    async def _show(self, server: _Serving) -> None:
        binary = server.server.bserver
        clients = list(binary.clients) if binary is not None else []
        for client in clients:
            if len(client._buffer) > _LARGEST:
                self._cut_off(client, f"a client of {self._place} sent more than any PLC does")
        if len(clients) > _CONNECTIONS:
            why = f"more than {_CONNECTIONS} clients at {self._place}: the one longest silent was cut off"
            self._cut_off(min(clients, key=_heard_of), why)
        with self._lock:
            words = self._registers.read(0, len(server.nodes.shown))
            connections = len(binary.clients) if binary is not None else 0
            if connections != self._connections:
                self._count_connections(connections)
        await server.nodes.show(words)

    def _cut_off(self, client: OPCUAProtocol, why: str) -> None:
        if client.transport is not None:
            client.transport.abort()
            with self._lock:
                self._bad += 1
                self._session.handshake.problem = why

    def _look_every_s(self) -> float:
        return _LOOK_S if self._connections else super()._look_every_s()

    def _written(self, place: Cell, words: list[int] | None) -> None:
        with self._lock:
            if words is None:
                self._bad += 1
                self._session.handshake.problem = f"the cell wrote {place.name} as no array of 48 numbers"
            else:
                self._cell_wrote(place, words)
        self._wake()


def _make_standard() -> Future[InternalServer]:
    """Make the nodes of the standard in a thread: more than a second, while the station loads its engine."""
    made: Future[InternalServer] = Future()
    made.set_running_or_notify_cancel()  # who stops waiting for it does not cancel it

    def make() -> None:
        try:
            with _kept_for_good():
                made.set_result(_standard_nodes())
        except BaseException as error:
            made.set_exception(error)  # raised where the server begins

    threading.Thread(target=make, name="makes the nodes of OPC UA", daemon=True).start()
    return made


def _standard_nodes() -> InternalServer:
    from asyncua.crypto.permission_rules import User, UserRole
    from asyncua.server.internal_server import InternalServer
    from asyncua.server.standard_address_space import standard_address_space
    from asyncua.server.user_managers import UserManager

    class Guests(UserManager):
        """Nobody may change the server; the cell writes what is made to be written."""

        def get_user(self, *who: object, **more: object) -> User:
            return User(role=UserRole.User)

    class Made(InternalServer):
        async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
            """They are there."""

    inside = Made(user_manager=Guests())
    fill: Callable[[NodeManagementService], None] = standard_address_space.fill_address_space
    fill(inside.node_mgt_service)
    return inside


def _heard_of(client: OPCUAProtocol) -> float:
    """When a client last asked for something in a session; 0 before it has one."""
    return (client.processor and client.processor.session_last_activity) or 0.0


@contextlib.contextmanager
def _kept_for_good() -> Iterator[None]:
    """Keep Python's collector of garbage away from what is made meanwhile, then and later.

    The 6,000 nodes of the standard are 400,000 objects that stay. The collector looks through them again and
    again while they are made, which takes two thirds of a start; later, each of its full rounds would hold
    every thread of the station for 0.3 s.
    """
    if gc.get_freeze_count():  # a server before this one, which is garbage now
        gc.unfreeze()
        gc.collect()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _try_address(address: str, port: int) -> None:
    """Raise OSError where the address is not of this machine, or used: asyncua itself only logs it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trying.bind((address, port))
