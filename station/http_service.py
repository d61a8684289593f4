"""HTTP for a few callers, in a thread of its own that is watched and that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

from starlette.applications import Starlette
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from drivers import heartbeat

log = logging.getLogger(__name__)

CALLERS = 16
"""Connections at a time; a further one is closed."""
PATIENCE_S = 2.0
"""The time limit for receiving a request, and for its answer to be read."""
LARGEST_REQUEST = 16_384
"""Bytes of a request's body."""


class HttpService:
    """Serves an application on a socket that listens already."""

    def __init__(self, name: str, app: Starlette) -> None:
        """``name``: of the thread, and in the log."""
        self._name = name
        self._socket: socket.socket | None = None
        self._server = Server(
            Config(
                app,
                http=_Caller,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="error",  # what callers do wrong is theirs to read, not the station's log's
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                backlog=CALLERS,
                h11_max_incomplete_event_size=LARGEST_REQUEST,
                callback_notify=_beat,
                timeout_notify=1,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self, listening: socket.socket) -> None:
        """Begin to answer."""
        self._socket = listening
        self._thread.start()

    def close(self) -> None:
        """Answer the requests under way, for a moment, and close the socket. Never raises."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        heartbeat.begin(self._name, vital=False)
        assert self._socket is not None
        try:
            # In a thread that is not the main one, uvicorn leaves the process's signal handlers alone.
            self._server.run(sockets=[self._socket])
        except Exception:
            log.exception("%s: it is no longer served; the inspection goes on", self._name)
            self._socket.close()  # callers are refused, and do not wait for nobody
            return  # without `end`, so that the watcher finds a thread that died
        heartbeat.end()


async def _beat() -> None:
    """The loop that answers requests lives: it calls this every second."""
    heartbeat.beat()


class _Caller(H11Protocol):
    """One connection, one request, within a time; uvicorn itself waits for ever for the first byte."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CALLERS:
            transport.abort()
        else:
            self._look_again = self.loop.call_later(PATIENCE_S, self._drop_if_idle)

    def _drop_if_idle(self) -> None:
        if self.transport.is_closing() and self.transport.get_write_buffer_size() == 0:
            return
        if self.cycle is not None and not self.cycle.response_complete:  # a changeover may take a minute
            self._look_again = self.loop.call_later(PATIENCE_S, self._drop_if_idle)
        else:
            self.transport.abort()
