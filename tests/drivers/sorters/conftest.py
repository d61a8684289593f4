"""Wires with a real counterpart: the simulated cell on a pty and behind a real MQTT broker."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from drivers.sorters.interface import Sorter
from drivers.sorters.messages import Message
from drivers.sorters.serial import SerialSettings, SerialSorter, frames, lines
from simulation.cell.line import PtyLine
from simulation.cell.protocol import CellProtocol, CellRules, Job, Part
from tests.broker import Broker, free_port

Spoil = Callable[[Message], list[Message]]


class LiveCell(ABC):
    """The simulated cell in a thread of its own, on a wire."""

    def __init__(self, session: int, rules: CellRules) -> None:
        self.protocol = CellProtocol(session, rules)
        self.lock = threading.Lock()
        self.hears = True
        """Whether it takes what the station says."""
        self.spoil: Spoil = lambda message: [message]
        """What is said instead of a message, from now on."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @abstractmethod
    def _serve(self) -> None: ...

    @abstractmethod
    def cut(self) -> None:
        """Cut the wire between the cell and the station."""

    @abstractmethod
    def mend(self) -> None:
        """Put it together again."""

    def start(self) -> Self:
        self._thread.start()
        return self

    def place(self, part_id: int, recipe: str = "", lot: str = "") -> None:
        now = time.monotonic_ns()
        with self.lock:
            self.protocol.waiting[part_id] = Part(part_id, recipe, placed_ns=now, next_ns=now, lot=lot)

    def ask_job(self, recipe: str) -> None:
        with self.lock:
            self.protocol.job = Job(recipe, next_ns=time.monotonic_ns())

    def restart(self, session: int) -> None:
        """The cell forgets everything and begins a new session."""
        with self.lock:
            self.protocol = CellProtocol(session, self.protocol.rules)
            self.protocol.line_up(time.monotonic_ns())

    def wait(self, condition: Callable[[CellProtocol], bool], within_s: float = 15.0) -> None:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            with self.lock:
                if condition(self.protocol):
                    return
            time.sleep(0.005)
        raise AssertionError("the cell waited in vain")

    def sorted(self, count: int) -> list[Part]:
        self.wait(lambda protocol: len(protocol.sorted_parts) >= count)
        with self.lock:
            return list(self.protocol.sorted_parts)

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


class SerialCell(LiveCell):
    """On a pty, whose other end has a name that stays the same."""

    def __init__(self, folder: Path, session: int, rules: CellRules, words: Any) -> None:
        super().__init__(session, rules)
        self._words = words
        self._line = PtyLine(str(folder / "robot"))
        self._line.plug_in()
        self.port = self._line.port
        self._decoder = words.Decoder()
        self._wanted = True

    def cut(self) -> None:
        self._wanted = False
        self.wait(lambda _: self._line.fd < 0)

    def mend(self) -> None:
        self._wanted = True
        self.wait(lambda _: self._line.fd >= 0)

    def _serve(self) -> None:
        with self.lock:
            self._say(self.protocol.line_up(time.monotonic_ns()))
        while not self._stop.wait(0.001):
            with self.lock:
                now = time.monotonic_ns()
                if self._wanted != (self._line.fd >= 0):
                    if self._wanted:
                        self._line.plug_in()
                        self._say(self.protocol.line_up(now))
                    else:
                        self._line.pull_out()
                        self.protocol.line_down()
                if self._line.fd >= 0 and select.select([self._line.fd], [], [], 0)[0]:
                    for message in self._decoder.feed(os.read(self._line.fd, 4096)):
                        if self.hears:
                            self._say(self.protocol.received(message, now))
                self._say(self.protocol.scan(now))
        if self._line.fd >= 0:
            self._line.pull_out()

    def _say(self, messages: list[Message]) -> None:
        for message in messages:
            for spoiled in self.spoil(message):
                if self._line.fd >= 0:
                    with suppress(BlockingIOError):
                        os.write(self._line.fd, self._words.encode(spoiled))


class MqttCell(LiveCell):
    """Behind a broker."""

    def __init__(self, broker: Broker, topic: str, session: int, rules: CellRules) -> None:
        super().__init__(session, rules)
        self._broker, self._topic = broker, topic
        self._client: Any = None

    def cut(self) -> None:
        self._broker.kill()

    def mend(self) -> None:
        self._broker.start()

    def vanish(self) -> None:
        """The connection ends without a word, as when the cell loses its power."""
        self._client.socket().shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        from drivers.sorters.mqtt.words import decode

        session = self.protocol.session
        version = MQTTProtocolVersion.MQTTv5
        client = self._client = Client(CallbackAPIVersion.VERSION2, f"cell-{session}", protocol=version)
        up = threading.Event()
        offline = f'{{"online":false,"session":{session}}}'
        client.will_set(f"{self._topic}/cell", offline, qos=1, retain=True)
        client.reconnect_delay_set(0.1, 0.5)
        client.on_socket_open = lambda _, __, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def connected(*_: object) -> None:
            client.subscribe(f"{self._topic}/to-cell/+", qos=1)
            online = f'{{"online":true,"session":{session}}}'
            client.publish(f"{self._topic}/cell", online, qos=1, retain=True)
            up.set()

        def arrived(_: object, __: object, message: Any) -> None:
            if self.hears:
                heard = decode(message.topic.rpartition("/")[2], message.payload)
                with self.lock:
                    self._say(self.protocol.received(heard, time.monotonic_ns()))

        client.on_connect, client.on_message = connected, arrived
        client.on_disconnect = lambda *_: up.clear()
        client.connect_async("127.0.0.1", self._broker.port, 5)
        client.loop_start()
        was_up = False
        while not self._stop.wait(0.002):
            with self.lock:
                now = time.monotonic_ns()
                if up.is_set() != was_up:
                    was_up = up.is_set()
                    if was_up:
                        self._say(self.protocol.line_up(now))
                    else:
                        self.protocol.line_down()
                if was_up:
                    self._say(self.protocol.scan(now))
        client.disconnect()
        client.loop_stop()

    def _say(self, messages: list[Message]) -> None:
        from drivers.sorters.mqtt.words import encode, name_of

        for message in messages:
            for spoiled in self.spoil(message):
                topic = f"{self._topic}/to-station/{name_of(spoiled.body)}"
                self._client.publish(topic, encode(spoiled), qos=1)


class ModbusCell(LiveCell):
    """A PLC that reads and writes registers, all mailboxes in every cycle; ``connect`` makes its client."""

    def __init__(self, session: int, rules: CellRules, connect: Callable[[], Any]) -> None:
        super().__init__(session, rules)
        self._connect = connect
        self._client: Any = None
        self._wanted = True
        self._seen: dict[int, tuple[list[int], int]] = {}

    def cut(self) -> None:
        self._wanted = False
        self.wait(lambda _: self._client is None)

    def mend(self) -> None:
        self._wanted = True

    def _serve(self) -> None:
        from pymodbus.exceptions import ModbusException

        while not self._stop.wait(0.002):
            try:
                if self._client is None and self._wanted:
                    client = self._connect()
                    if client.connect():
                        with self.lock:
                            self._client = client
                            self._say(self.protocol.line_up(time.monotonic_ns()))
                    continue
                if self._client is None:
                    continue
                if not self._wanted:
                    self._let_go()
                    continue
                self._read()
            except (ModbusException, OSError):
                self._let_go()
        self._let_go()

    def _let_go(self) -> None:
        if self._client is not None:
            self._client.close()
            with self.lock:
                self._client = None
                self.protocol.line_down()

    def _words(self) -> list[int]:
        """The registers of the station."""
        words: list[int] = []
        for at, count in ((0, 100), (100, 100), (200, 100), (300, 100)):
            answer = self._client.read_holding_registers(at, count=count, device_id=1)
            if answer.isError():
                raise OSError(str(answer))
            words += answer.registers
        return words

    def _write(self, place: int, box: list[int]) -> None:
        self._client.write_registers(place, box, device_id=1)

    def _read(self) -> None:
        from drivers.sorters.registers import SIZE, Bit, Station, Status, decode

        words = self._words()
        bits = Bit(words[Status.BITS])
        assert not (bits & Bit.OK and bits & Bit.NG)
        with self.lock:
            now = time.monotonic_ns()
            for place in Station:
                box = words[place : place + SIZE]
                before, at_ns = self._seen.get(place, ([], 0))
                if place is Station.RESULT:
                    # A result that still stands was not acknowledged.
                    known = not bits & Bit.RESULT_VALID or (box == before and now - at_ns < 100_000_000)
                else:
                    known = box == before
                message = decode(box)
                if known or message is None:
                    continue
                self._seen[place] = (box, now)
                if self.hears:
                    self._say(self.protocol.received(message, now))
            self._say(self.protocol.scan(now))

    def _say(self, messages: list[Message]) -> None:
        from drivers.sorters.messages import Fault, Heartbeat, Hello, JobBody, ResultAck, TriggerBody
        from drivers.sorters.registers import Cell, encode

        places = {
            Hello: Cell.HELLO, Heartbeat: Cell.HEARTBEAT, TriggerBody: Cell.TRIGGER,
            ResultAck: Cell.RESULT_ACK, JobBody: Cell.JOB_CHANGE, Fault: Cell.FAULT,
        }  # fmt: skip
        for message in messages:
            for spoiled in self.spoil(message):
                self._write(places[type(spoiled.body)], encode(spoiled))


class OpcUaCell(ModbusCell):
    """A PLC that is a client of the station's OPC UA server."""

    def __init__(self, session: int, rules: CellRules, url: str) -> None:
        super().__init__(session, rules, lambda: _OpcUaClient(url))

    def _words(self) -> list[int]:
        from drivers.sorters.registers import END, Station, Status

        words = [0] * END
        bits, *boxes = self._client.read([f"ToCell/{place.name}" for place in Station])
        words[Status.BITS] = bits
        for place, box in zip(Station, boxes, strict=True):
            words[place : place + len(box)] = box
        return words

    def _write(self, place: int, box: list[int]) -> None:
        from drivers.sorters.registers import Cell

        self._client.write(f"ToStation/{Cell(place).name}", box)


class _OpcUaClient:
    """asyncua's client, as a reader and writer of mailboxes."""

    def __init__(self, url: str) -> None:
        from asyncua.sync import Client

        self._client = Client(url, timeout=2)
        self._nodes: dict[str, Any] = {}

    def connect(self) -> bool:
        try:
            self._client.connect()
        except OSError:
            self._client.tloop.stop()
            return False
        self._own = self._client.get_namespace_index("urn:inspection-station")
        return True

    def _node(self, name: str) -> Any:
        if name not in self._nodes:
            way = name.replace("JOB_ANSWER", "JobAnswer").replace("JOB_CHANGE", "JobChange")
            way = way.replace("RESULT_ACK", "ResultAck")
            folder, _, last = way.rpartition("/")
            last = last.capitalize() if last.isupper() else last
            node_id = f"ns={self._own};s=VisionSystem/Handshake/{folder}/{last}".replace("//", "/")
            self._nodes[name] = self._client.get_node(node_id)
        return self._nodes[name]

    def read(self, names: list[str]) -> list[Any]:
        """Bits and mailboxes, in one request."""
        bits, *boxes = self._client.read_values([self._node("Bits"), *map(self._node, names)])
        return [bits, *boxes]

    def write(self, name: str, box: list[int]) -> None:
        from asyncua import ua

        self._node(name).write_value(ua.Variant(box, ua.VariantType.UInt16))

    def close(self) -> None:
        with suppress(OSError, TimeoutError):
            self._client.disconnect()


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
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    """A sorter and a cell on the wire that the parameter names, connected."""
    rules = CellRules(verdict_ms=20_000.0, link_timeout_ms=3000.0)
    times = {"link_timeout_ms": 3000.0, "ack_timeout_ms": 2000.0, "resend_ms": 100.0}
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
        cell = ModbusCell(7, rules, connect).start()
        sorter = ModbusSorter(ModbusSettings(listen="127.0.0.1", port=port, **times))
    elif request.param == "opcua":
        pytest.importorskip("asyncua")
        from drivers.sorters.opcua import OpcUaSettings, OpcUaSorter

        port = free_port()
        cell = OpcUaCell(7, rules, f"opc.tcp://127.0.0.1:{port}/").start()
        sorter = OpcUaSorter(OpcUaSettings(listen="127.0.0.1", port=port, **times))
    else:
        from drivers.sorters.mqtt import MqttSettings, MqttSorter

        broker = request.getfixturevalue("broker")
        cell = MqttCell(broker, "plant/cell-4", 7, rules).start()
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
