import socket
from pathlib import Path

import pytest

from station.supervision import Readiness, State, sd_notify


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


def test_systemd_hears_the_station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        assert sd_notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sd_notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    assert not sd_notify("READY=1")
