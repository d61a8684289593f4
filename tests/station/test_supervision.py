import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.engines import open_engine
from station.supervision import Readiness, State, sd_notify, start_takes


def test_a_station_is_not_ready_until_it_has_started() -> None:
    told: list[tuple[bool, str]] = []
    readiness = Readiness(lambda ready, reason: told.append((ready, reason)))
    assert not readiness.ready
    assert readiness.state(parts_in_hand=0, free_running=False) is State.PREOPERATIONAL
    readiness.clear(Readiness.STARTING)
    assert readiness.ready
    assert told == [(True, "")]


def test_ready_returns_only_when_every_reason_is_gone() -> None:
    told: list[tuple[bool, str]] = []
    readiness = Readiness(lambda ready, reason: told.append((ready, reason)))
    readiness.clear(Readiness.STARTING)
    readiness.block("camera", "camera lost")
    readiness.block("journal", "disk full")
    readiness.clear("camera")
    assert not readiness.ready
    assert readiness.reason == "disk full"
    assert readiness.state(parts_in_hand=0, free_running=False) is State.ERROR
    readiness.clear("journal")
    assert told[-1] == (True, "")


def test_the_state_follows_what_the_station_does() -> None:
    readiness = Readiness(lambda ready, reason: None)
    readiness.clear(Readiness.STARTING)
    assert readiness.state(parts_in_hand=0, free_running=False) is State.READY
    assert readiness.state(parts_in_hand=1, free_running=False) is State.SINGLE_EXECUTION
    assert readiness.state(parts_in_hand=1, free_running=True) is State.CONTINUOUS
    readiness.block(Readiness.STOPPING, "stop")
    assert readiness.state(parts_in_hand=0, free_running=True) is State.HALTED


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.settimeout(5)
        ear.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield ear


def test_systemd_hears_the_station(systemd: socket.socket) -> None:
    assert sd_notify("READY=1")
    assert systemd.recv(100) == b"READY=1"


def test_a_long_step_of_the_start_asks_systemd_for_its_time(systemd: socket.socket) -> None:
    start_takes("starting: a plan is built", 1800)
    assert systemd.recv(200) == b"STATUS=starting: a plan is built\nEXTEND_TIMEOUT_USEC=1800000000"


def test_every_engine_that_is_loaded_asks_for_time(
    systemd: socket.socket, tiny_engine: Path, tmp_path: Path
) -> None:
    open_engine(tiny_engine, backend="onnxruntime-cpu", precision="fp32", cache=tmp_path / "cache").close()
    heard = [systemd.recv(200).decode() for _ in range(2)]  # measured, then proven
    assert all("onnxruntime-cpu fp32 loads tiny\nEXTEND_TIMEOUT_USEC=120000000" in step for step in heard)


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sd_notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    assert not sd_notify("READY=1")
