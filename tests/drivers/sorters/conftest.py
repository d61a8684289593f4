"""Wires with a real counterpart: the simulated cell on a pty and behind a real MQTT broker."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from drivers.sorters.interface import Sorter
from drivers.sorters.serial import SerialSettings, SerialSorter, frames, lines
from simulation.broker import Broker, free_port
from simulation.cell.live import LiveCell, MqttCell, RegisterCell, SerialCell
from simulation.cell.peers import ModbusPeer, OpcUaPeer
from simulation.cell.protocol import CellRules


class CellAndBroker(MqttCell):
    """Whose wire is cut at the broker."""

    def __init__(self, broker: Broker, topic: str, session: int, rules: CellRules) -> None:
        super().__init__(broker.port, topic, session, rules)
        self._broker = broker

    def cut(self) -> None:
        self._broker.kill()

    def mend(self) -> None:
        self._broker.start()


@dataclass
class Wire:
    """A sorter and the cell at the other end."""

    sorter: Sorter
    cell: LiveCell

    def connected(self, is_connected: bool = True) -> None:
        until = time.monotonic() + 15
        while self.sorter.health().connected is not is_connected:
            assert time.monotonic() < until, self.sorter.health()
            time.sleep(0.005)
        if is_connected:
            self.cell.wait(lambda protocol: protocol.station_ready)


@pytest.fixture
def bus() -> Iterator[tuple[str, str]]:
    """Two serial devices, and a cable between them."""
    pairs = [pty.openpty() for _ in range(2)]
    for _, slave in pairs:
        tty.setraw(slave)
    stop = threading.Event()
    ends = [master for master, _ in pairs]

    def carry() -> None:
        while not stop.is_set():
            for end in select.select(ends, [], [], 0.05)[0]:
                os.write(ends[1 - ends.index(end)], os.read(end, 4096))

    thread = threading.Thread(target=carry)
    thread.start()
    yield os.ttyname(pairs[0][1]), os.ttyname(pairs[1][1])
    stop.set()
    thread.join()
    for pair in pairs:
        for end in pair:
            os.close(end)


@pytest.fixture
def ack_timeout_ms() -> float:
    """The sorter's; a test that waits for its end names a shorter one."""
    return 2000.0


@pytest.fixture
def link_timeout_ms() -> float:
    """Of both ends."""
    return 3000.0


@pytest.fixture
def wire(
    request: pytest.FixtureRequest, tmp_path: Path, ack_timeout_ms: float, link_timeout_ms: float
) -> Iterator[Wire]:
    """A sorter and a cell on the wire that the parameter names, connected."""
    rules = CellRules(verdict_ms=20_000.0, link_timeout_ms=link_timeout_ms)
    times = {"link_timeout_ms": link_timeout_ms, "ack_timeout_ms": ack_timeout_ms, "resend_ms": 100.0}
    cell: LiveCell
    sorter: Sorter
    if request.param in ("frames", "lines"):
        words = lines if request.param == "lines" else frames
        cell = SerialCell(tmp_path, 7, rules, words).start()
        sorter = SerialSorter(SerialSettings(port=cell.port, words=request.param, **times))
    elif request.param == "modbus":
        pytest.importorskip("pymodbus")
        from pymodbus.client import ModbusTcpClient

        from drivers.sorters.modbus import ModbusSettings, ModbusSorter

        port = free_port()
        connect = partial(ModbusTcpClient, "127.0.0.1", port=port, timeout=1)
        cell = RegisterCell(7, rules, lambda: ModbusPeer(connect())).start()
        sorter = ModbusSorter(ModbusSettings(listen="127.0.0.1", port=port, **times))
    elif request.param == "modbus-rtu":
        pytest.importorskip("pymodbus")
        from pymodbus.client import ModbusSerialClient

        from drivers.sorters.modbus import ModbusSettings, ModbusSorter

        ours, theirs = request.getfixturevalue("bus")
        connect = partial(ModbusSerialClient, theirs, baudrate=115_200, timeout=0.5)
        cell = RegisterCell(7, rules, lambda: ModbusPeer(connect())).start()
        sorter = ModbusSorter(ModbusSettings(device=ours, baud=115_200, parity="none", **times))
    elif request.param == "opcua":
        pytest.importorskip("asyncua")
        from drivers.sorters.opcua import OpcUaSettings, OpcUaSorter

        port = free_port()
        cell = RegisterCell(7, rules, lambda: OpcUaPeer(f"opc.tcp://127.0.0.1:{port}/")).start()
        sorter = OpcUaSorter(OpcUaSettings(listen="127.0.0.1", port=port, **times))
    else:
        from drivers.sorters.mqtt import MqttSettings, MqttSorter

        broker = request.getfixturevalue("broker")
        cell = CellAndBroker(broker, "plant/cell-4", 7, rules).start()
        sorter = MqttSorter(MqttSettings(host="127.0.0.1", port=broker.port, topic="plant/cell-4", **times))
    sorter.prepare("housing")
    sorter.open()
    sorter.set_ready(True)
    made = Wire(sorter, cell)
    made.connected()
    yield made
    sorter.close()
    cell.end()


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts brokers with lines of their own configuration."""
    made: list[Broker] = []

    def make(*lines: str) -> Broker:
        folder = tmp_path / f"broker-{len(made)}"
        folder.mkdir()
        made.append(Broker(folder, list(lines)))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    made.start()
    yield made
    made.kill()
