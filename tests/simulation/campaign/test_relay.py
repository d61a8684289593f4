"""The network between a PLC and the station can be cut, mended, reset, and lose an end without a word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from simulation.campaign.relay import Relay


class Station:
    """Answers everything with the same, and knows how many connections have ended."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listening.getsockname()[1])
        self.ended = threading.Semaphore(0)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                one = self.listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def _answer(self, one: socket.socket) -> None:
        with one:
            try:
                while said := one.recv(100):
                    one.sendall(said)
            except ConnectionResetError:
                pass
        self.ended.release()


@pytest.fixture
def station() -> Iterator[Station]:
    station = Station()
    yield station
    station.listening.close()


@pytest.fixture
def relay(station: Station) -> Iterator[Relay]:
    relay = Relay(station.port)
    yield relay
    relay.close()


def plc(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=2)


def test_what_is_said_while_the_link_is_cut_arrives_when_it_is_mended(relay: Relay) -> None:
    with plc(relay) as end:
        end.sendall(b"one")
        assert end.recv(9) == b"one"
        relay.cut()
        end.sendall(b"two")
        end.settimeout(0.2)
        with pytest.raises(TimeoutError):
            end.recv(9)
        relay.mend()
        end.settimeout(2)
        assert end.recv(9) == b"two"


def test_a_reset_ends_both_ends_and_a_new_connection_works(relay: Relay, station: Station) -> None:
    with plc(relay) as end, plc(relay) as again:
        end.sendall(b"one")
        assert end.recv(9) == b"one"
        relay.reset()
        with pytest.raises(ConnectionResetError):
            end.recv(9)
        assert station.ended.acquire(timeout=2)
        again.close()
        with plc(relay) as third:
            third.sendall(b"three")
            assert third.recv(9) == b"three"


def test_of_a_plc_that_loses_its_power_the_station_hears_nothing(relay: Relay, station: Station) -> None:
    with plc(relay) as end:
        end.sendall(b"one")
        assert end.recv(9) == b"one"
        relay.vanish()
        assert not station.ended.acquire(timeout=0.2)
    with plc(relay) as back:
        back.sendall(b"two")
        assert back.recv(9) == b"two"
