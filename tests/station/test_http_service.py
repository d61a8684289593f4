"""HTTP beside the line: a server that dies is found from outside, and nobody waits for it."""

from __future__ import annotations

import os
import socket
import time

import pytest
from starlette.applications import Starlette
from uvicorn import Server

from drivers import heartbeat
from station.http_service import HttpService
from station.watcher import Thread, threads


def served() -> tuple[socket.socket, int]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening, listening.getsockname()[1]


def watched(name: str) -> list[Thread]:
    """The threads of this name that the watcher still expects to live."""
    memory = os.pread(heartbeat.file_descriptor(), heartbeat.SIZE, 0)
    return [one for one in threads(memory) if one.name == name]


def test_a_server_that_dies_is_found_dead_by_the_watcher_and_refuses_callers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def out_of_memory(server: Server, counter: int) -> bool:
        raise MemoryError("no room")

    monkeypatch.setattr(Server, "on_tick", out_of_memory)
    listening, port = served()
    service = HttpService("a dying one", Starlette())
    service.start(listening)
    ends = time.monotonic() + 10
    while not (one := watched("a dying one")) or os.path.exists(f"/proc/self/task/{one[0].number}"):
        assert time.monotonic() < ends, "the server does not die"
        time.sleep(0.01)
    assert not one[0].vital, "the inspection goes on without it"
    assert "it is no longer served" in caplog.text
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    service.close()


def test_a_server_that_is_closed_is_watched_no_more() -> None:
    listening, port = served()
    service = HttpService("a closed one", Starlette())
    service.start(listening)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
        caller.sendall(b"GET /nothing HTTP/1.1\r\nhost: here\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 404")
    service.close()
    assert not watched("a closed one")
