"""The serial sorter on a real pty, with the cell's machine or the cell's process at the other end."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import re
import select
import socket
import statistics
import struct
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import serial
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.sorters import PROTOCOLS
from drivers.sorters.interface import Outcome, Receipt, Result, SorterError
from drivers.sorters.serial import frames as wire
from drivers.sorters.serial.port import SerialSettings, SerialSorter
from simulation.cell.line import PtyLine
from simulation.cell.protocol import CellProtocol, CellRules
from tests.waiting import PATIENCE_S, wait_for


class CellOnPty:
    """The cell's machine in a thread of this process; it does what the test says, when it says it."""

    def __init__(self, link: Path) -> None:
        self.line = PtyLine(str(link))
        self.protocol = CellProtocol(11, CellRules(verdict_ms=5000))
        self.decoder = wire.Decoder()
        self.lock = threading.RLock()
        self.deaf = False
        self._end = threading.Event()
        self.plug_in()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def plug_in(self) -> None:
        with self.lock:
            self.line.plug_in()
            self._send(self.protocol.line_up(time.monotonic_ns()))

    def pull_out(self) -> None:
        with self.lock:
            self.line.pull_out()
            self.protocol.line_down()

    def place(self, part_id: int) -> None:
        with self.lock:
            self._send(self.protocol.place(part_id, "", time.monotonic_ns()))

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self.line.pull_out()

    def _send(self, messages: list[wire.Message]) -> None:
        for message in messages:
            os.write(self.line.fd, wire.encode(message))

    def _serve(self) -> None:
        while not self._end.is_set():
            with self.lock:
                fd = self.line.fd
                readable = fd >= 0 and not self.deaf and select.select([fd], [], [], 0)[0]
                now = time.monotonic_ns()
                if fd >= 0:
                    for message in self.decoder.feed(os.read(fd, 4096)) if readable else ():
                        self._send(self.protocol.received(message, now))
                    self._send(self.protocol.scan(now))
            time.sleep(0.0005)


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[CellOnPty]:
    made = CellOnPty(tmp_path / "port")
    yield made
    made.close()


@pytest.fixture
def sorter(tmp_path: Path) -> Iterator[SerialSorter]:
    made = SerialSorter(SerialSettings(port=str(tmp_path / "port")))
    yield made
    made.close()


def reject(part_id: int) -> Result:
    return Result(part_id, Outcome.REJECT, 3, 1, "scratch")


def one_part(cell: CellOnPty, sorter: SerialSorter, part_id: int) -> Receipt:
    wait_for(lambda: cell.protocol.station_ready)
    cell.place(part_id)
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    assert trigger.part_id == part_id
    sorter.acknowledge(trigger)
    sorter.send(reject(part_id))
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    return receipt


def test_a_part_is_triggered_told_and_acknowledged(cell: CellOnPty, sorter: SerialSorter) -> None:
    sorter.open()
    sorter.set_ready(True)
    assert one_part(cell, sorter, 1).acknowledged
    health = sorter.health()
    assert health.connected
    assert health.garbled == health.duplicates == health.reconnects == 0


def test_nothing_is_triggered_before_the_station_is_ready(cell: CellOnPty, sorter: SerialSorter) -> None:
    sorter.open()
    wait_for(lambda: cell.protocol.linked and sorter.health().connected)
    cell.place(1)
    assert sorter.wait_trigger(0.2) is None
    sorter.set_ready(True)
    assert sorter.wait_trigger(PATIENCE_S) is not None


def test_a_port_that_appears_later_is_found(sorter: SerialSorter, tmp_path: Path) -> None:
    sorter.open()
    sorter.set_ready(True)
    time.sleep(0.1)
    assert not sorter.health().connected
    assert "cannot be opened" in sorter.health().last_error
    cell = CellOnPty(tmp_path / "port")
    try:
        assert one_part(cell, sorter, 1).acknowledged
    finally:
        cell.close()


def test_a_part_in_hand_survives_an_unplug_and_replug(cell: CellOnPty, sorter: SerialSorter) -> None:
    sorter.open()
    sorter.set_ready(True)
    assert one_part(cell, sorter, 1).acknowledged
    cell.place(2)
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    cell.pull_out()
    wait_for(lambda: not sorter.health().connected)
    sorter.acknowledge(trigger)
    sorter.send(reject(2))
    time.sleep(0.2)
    cell.plug_in()
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert receipt.acknowledged
    assert [part.bin for part in cell.protocol.sorted_parts] == [3, 3]
    assert sorter.health().reconnects == 1
    assert one_part(cell, sorter, 3).acknowledged


def test_a_result_gets_its_bad_receipt_also_while_the_line_is_unplugged(
    cell: CellOnPty, sorter: SerialSorter
) -> None:
    sorter.open()
    sorter.set_ready(True)
    wait_for(lambda: cell.protocol.station_ready)
    cell.place(1)
    assert sorter.wait_trigger(PATIENCE_S) is not None
    cell.pull_out()
    sorter.send(reject(1))
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert not receipt.acknowledged


def test_many_unplugs_leak_no_file_descriptor(cell: CellOnPty, sorter: SerialSorter) -> None:
    sorter.open()
    sorter.set_ready(True)
    assert one_part(cell, sorter, 1).acknowledged
    gc.collect()  # what other tests left open is not to close meanwhile
    before = len(os.listdir("/proc/self/fd"))
    for part_id in range(2, 8):
        cell.pull_out()
        wait_for(lambda: not sorter.health().connected)
        cell.plug_in()
        assert one_part(cell, sorter, part_id).acknowledged
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_round_trip_from_trigger_to_acknowledgement_takes_less_than_two_milliseconds(
    sorter: SerialSorter, tmp_path: Path
) -> None:
    line = PtyLine(str(tmp_path / "port"))
    line.plug_in()
    os.set_blocking(line.fd, True)
    decoder = wire.Decoder()
    sorter.open()
    sorter.set_ready(True)

    def acknowledge_all() -> None:
        while (trigger := sorter.wait_trigger(1)) is not None:
            sorter.acknowledge(trigger)
            sorter.send(reject(trigger.part_id))

    unread: list[wire.Message] = []

    def until(kind: type[wire.Body]) -> wire.Message:
        while True:
            while unread:
                message = unread.pop(0)
                if isinstance(message.body, kind):
                    return message
            assert select.select([line.fd], [], [], 5)[0], f"no {kind.__name__}"
            unread.extend(decoder.feed(os.read(line.fd, 4096)))

    station = until(wire.Hello).sender
    os.write(line.fd, wire.encode(wire.Message(9, station, 1, wire.Hello(wire.Role.CELL, "stopwatch"))))
    worker = threading.Thread(target=acknowledge_all)
    worker.start()
    times = []
    for number in range(2, 202):
        began = time.perf_counter()
        os.write(line.fd, wire.encode(wire.Message(9, station, number, wire.TriggerBody(number))))
        until(wire.TriggerAck)
        times.append(time.perf_counter() - began)
        until(wire.ResultBody)
        done = wire.ResultAck(number, number, wire.Sorted.IN_BIN, 3)
        os.write(line.fd, wire.encode(wire.Message(9, station, number, done)))
    print(
        f"trigger -> ack: median {statistics.median(times) * 1e3:.2f} ms, longest {max(times) * 1e3:.2f} ms"
    )
    line.pull_out()
    worker.join()
    assert statistics.median(times) < 0.002


def test_telling_returns_at_once_when_the_cell_does_not_read(cell: CellOnPty, sorter: SerialSorter) -> None:
    sorter.open()
    sorter.set_ready(True)
    wait_for(lambda: cell.protocol.station_ready)
    cell.deaf = True
    began = time.monotonic()
    for n in range(5000):
        sorter.set_ready(n % 2 == 0, f"reason {n} " + "x" * 50)
    assert time.monotonic() - began < 3
    sorter.set_ready(True)
    cell.deaf = False
    assert one_part(cell, sorter, 1).acknowledged


def test_a_second_station_does_not_get_the_same_port(cell: CellOnPty, sorter: SerialSorter) -> None:
    sorter.open()
    sorter.set_ready(True)
    wait_for(lambda: sorter.health().connected)
    second = SerialSorter(SerialSettings(port=cell.line.port))
    second.open()
    try:
        assert "lock" in second.health().last_error
        assert one_part(cell, sorter, 1).acknowledged
    finally:
        second.close()


def test_what_waiting_cannot_cure_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "no device"
    file.touch()
    with pytest.raises(SorterError, match="by-id"):
        SerialSorter(SerialSettings(port=str(file))).open()


class Converter:
    """A serial converter on the network: one TCP connection, its bytes go to a serial line and back."""

    def __init__(self, line: Path) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._line = line
        self._end = threading.Event()
        self._drop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def drop(self) -> None:
        self._drop.set()

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        self._server.settimeout(0.05)
        while not self._end.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                self._drop.clear()
                with client, serial.Serial(str(self._line), timeout=0) as line:
                    while not self._end.is_set() and not self._drop.is_set():
                        if client in select.select([client, line], [], [], 0.02)[0]:
                            received = client.recv(4096)
                            if not received:
                                break
                            line.write(received)
                        client.sendall(line.read(4096))


def test_a_cell_behind_a_serial_converter_on_the_network_is_served_and_found_again(
    cell: CellOnPty, tmp_path: Path
) -> None:
    converter = Converter(tmp_path / "port")
    sorter = SerialSorter(SerialSettings(port=converter.port))
    try:
        sorter.open()
        sorter.set_ready(True)
        assert one_part(cell, sorter, 1).acknowledged
        assert sorter.health().description.startswith("serial over socket://127.0.0.1:")
        converter.drop()
        wait_for(lambda: sorter.health().reconnects == 1 and sorter.health().connected)
        assert one_part(cell, sorter, 2).acknowledged
    finally:
        sorter.close()
        converter.close()


def test_a_converter_that_is_not_there_is_tried_again_and_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = f"socket://127.0.0.1:{closed.getsockname()[1]}"
    sorter = SerialSorter(SerialSettings(port=port))
    try:
        sorter.open()
        wait_for(lambda: "Connection refused" in sorter.health().last_error)
        assert not sorter.health().connected
    finally:
        sorter.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"port": "rfc2217://10.0.0.7:4001"}, "RFC 2217"),
        ({"port": "loop://"}, "loop://"),
        ({"port": "http://10.0.0.7:80"}, "http://"),
        ({"port": "socket://10.0.0.7"}, "socket://ADDRESS:PORT"),
        ({"port": "socket://10.0.0.7:99999"}, "Port out of range"),
        ({"port": "socket://converter.example:4001"}, "converter.example"),
        ({"port": "socket://10.0.0.7:4001", "dtr": False}, "no such wire"),
        ({"port": "socket://10.0.0.7:4001", "rtscts": True}, "no such wire"),
        ({"rtscts": True, "rts": True}, "uses this wire too"),
    ],
)
def test_a_port_that_would_be_waited_for_for_ever_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        SerialSettings(**{"port": "/dev/absent"} | wrong)


@pytest.mark.parametrize(("dtr", "rts"), [(True, False), (False, True), (None, None)])
def test_dtr_and_rts_are_set_as_the_configuration_says(
    cell: CellOnPty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtr: bool | None, rts: bool | None
) -> None:
    """A pty has no such wires: the call that sets them is watched."""
    asked: list[tuple[int, int]] = []

    def watched(fd: int, request: int, argument: Any = 0, *rest: Any) -> Any:
        if request in (termios.TIOCMBIS, termios.TIOCMBIC):
            asked.append((struct.unpack("I", argument)[0], request))
            return argument
        return fcntl.ioctl(fd, request, argument, *rest)

    stand_in = SimpleNamespace(**vars(fcntl) | {"ioctl": watched})
    monkeypatch.setattr("serial.serialposix.fcntl", stand_in)
    sorter = SerialSorter(SerialSettings(port=str(tmp_path / "port"), dtr=dtr, rts=rts))
    sorter.open()
    sorter.close()
    levels = {True: termios.TIOCMBIS, False: termios.TIOCMBIC, None: termios.TIOCMBIS}
    assert (termios.TIOCM_DTR, levels[dtr]) in asked
    assert (termios.TIOCM_RTS, levels[rts]) in asked


@pytest.mark.parametrize("wrong", [{"baud": -1}, {"port": ""}])
def test_settings_that_no_line_could_have_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SerialSettings(**{"port": "/dev/absent"} | wrong)


def test_closing_never_raises_and_leaves_a_receipt_for_every_result(
    cell: CellOnPty, sorter: SerialSorter
) -> None:
    SerialSorter(SerialSettings(port="/dev/absent")).close()
    sorter.open()
    sorter.set_ready(True)
    wait_for(lambda: cell.protocol.station_ready)
    cell.place(1)
    assert sorter.wait_trigger(PATIENCE_S) is not None
    sorter.close()
    sorter.close()
    sorter.send(reject(1))
    receipt = sorter.wait_receipt(0)
    assert receipt is not None
    assert not receipt.acknowledged
    wait_for(lambda: not cell.protocol.station_ready)
    assert cell.protocol.linked, "the cell heard it from the station, not from the silence"


def test_the_serial_protocol_stands_in_the_table_of_protocols() -> None:
    entry = PROTOCOLS.entry("serial")
    assert (entry.settings, entry.driver) == (SerialSettings, SerialSorter)
    assert isinstance(PROTOCOLS.make(SerialSettings(port="/dev/absent"), "press 3"), SerialSorter)


def test_an_error_of_our_own_in_the_lines_thread_is_counted_shown_and_recovered_from(
    cell: CellOnPty, sorter: SerialSorter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorter.open()
    sorter.set_ready(True)
    assert one_part(cell, sorter, 1).acknowledged
    cell.place(2)
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    real, left = serial.Serial.fileno, [3]

    def fileno(self: serial.Serial) -> int:
        if threading.current_thread().name.startswith("sorter") and left[0]:
            left[0] -= 1
            raise RuntimeError("not foreseen")
        return real(self)

    monkeypatch.setattr(serial.Serial, "fileno", fileno)
    wait_for(lambda: sorter.health().failures == 3)
    assert "not foreseen" in sorter.health().last_error or sorter.health().connected
    sorter.send(reject(2))
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert not receipt.acknowledged, "the cell and the station no longer speak of the same session"
    wait_for(lambda: cell.protocol.station == sorter._session.link.session and sorter.health().connected)
    assert one_part(cell, sorter, 3).acknowledged
    assert "failures: 3" in sorter.health().counted


NUMBERS = st.sampled_from([0, 1, 2, 7, 255, 256, 0x02030210, 0xFFFFFFFE, 0xFFFFFFFF])
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=32)
BODIES: st.SearchStrategy[wire.Body] = st.one_of(
    st.builds(wire.Hello, st.sampled_from(wire.Role), TEXTS),
    st.builds(wire.Heartbeat, st.booleans(), st.sampled_from(wire.EndState), TEXTS),
    st.builds(wire.TriggerBody, NUMBERS, TEXTS.filter(lambda recipe: wire.LOT not in recipe), TEXTS),
    st.builds(wire.TriggerAck, NUMBERS, NUMBERS),
    st.builds(wire.TriggerRefused, NUMBERS, NUMBERS, st.sampled_from(wire.RefusalCode), TEXTS),
    st.builds(
        wire.ResultBody,
        NUMBERS,
        NUMBERS,
        st.sampled_from(wire.WireOutcome),
        st.integers(0, 255),
        st.integers(0, 255),
        TEXTS,
    ),
    st.builds(wire.ResultAck, NUMBERS, NUMBERS, st.sampled_from(wire.Sorted), st.integers(0, 255)),
    st.builds(wire.Fault, st.sampled_from(wire.FaultCode), TEXTS),
)
CUTS = st.tuples(st.integers(0, 200), st.integers(0, 255))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(
        st.tuples(BODIES, NUMBERS, st.booleans(), st.one_of(st.none(), st.none(), CUTS)), max_size=40
    )
)
@example(
    said=[
        (wire.TriggerBody(0xFFFFFFFF), 0xFFFFFFFF, True, None),
        (wire.TriggerBody(0xFFFFFFFE), 0xFFFFFFFF, True, None),
    ]
)
def test_whatever_frames_come_the_line_is_served_and_no_error_is_our_own(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[wire.Body, int, bool, tuple[int, int] | None]]
) -> None:
    """Valid frames of any sense and broken ones, to the living thread; then a part as usual."""
    folder = tmp_path_factory.mktemp("line")
    line = PtyLine(str(folder / "port"))
    line.plug_in()
    sorter = SerialSorter(SerialSettings(port=str(folder / "port"), ack_timeout_ms=200))
    try:
        sorter.open()
        sorter.set_ready(True)
        station = _session_at(line)
        os.write(line.fd, wire.encode(wire.Message(9, station, 1, wire.Hello(wire.Role.CELL, "cell"))))
        for body, number, ours, cut in said:
            frame = bytearray(
                wire.encode(wire.Message(9, station if ours else number & 0xFFFF, number, body, 3))
            )
            if cut is not None:
                frame[cut[0] % len(frame)] = cut[1]
            os.write(line.fd, frame)
            _drain(line)
        os.write(line.fd, b"\x03")
        _drain(line)
    finally:
        line.pull_out()
    cell = CellOnPty(folder / "port")
    try:
        while sorter.wait_trigger(0.02) is not None:
            pass
        wait_for(lambda: cell.protocol.linked and sorter.health().connected)
        assert sorter.health().failures == 0
        assert sorter._thread is not None
        assert sorter._thread.is_alive()
    finally:
        sorter.close()
        cell.close()


def _session_at(line: PtyLine) -> int:
    """The station's session, from its first HELLO."""
    decoder = wire.Decoder()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if select.select([line.fd], [], [], 0.1)[0]:
            for message in decoder.feed(os.read(line.fd, 4096)):
                return message.sender
    raise AssertionError("the station says nothing")


def _drain(line: PtyLine) -> None:
    while select.select([line.fd], [], [], 0.001)[0]:
        os.read(line.fd, 4096)


def test_a_busy_station_refuses_triggers_as_busy_and_takes_them_again(
    cell: CellOnPty, sorter: SerialSorter
) -> None:
    sorter.open()
    sorter.set_ready(True)
    assert one_part(cell, sorter, 1).acknowledged
    sorter.set_busy("overload: parts come faster than they can be judged")
    wait_for(lambda: not cell.protocol.station_ready)
    cell.place(2)
    assert sorter.wait_trigger(0.2) is None
    sorter.set_ready(True)
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    assert trigger.part_id == 2
