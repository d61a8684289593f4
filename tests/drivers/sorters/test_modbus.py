"""A PLC by Modbus: the registers, bad settings and frames, floods, and mbpoll, which is not ours."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.sorters import messages as wire
from drivers.sorters.interface import Outcome, Result
from drivers.sorters.modbus import ModbusSettings, ModbusSorter
from drivers.sorters.registers import (
    SIZE,
    Bit,
    Cell,
    MailboxError,
    OtherVersionError,
    Registers,
    Station,
    Status,
    decode,
    encode,
)
from tests.waiting import PATIENCE_S, wait_for

pytest.importorskip("pymodbus")

CELL = 7


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture
def sorters() -> Iterator[Callable[..., ModbusSorter]]:
    made: list[ModbusSorter] = []

    def make(**settings: Any) -> ModbusSorter:
        values = {} if "device" in settings else {"listen": "127.0.0.1", "port": free_port()}
        made.append(ModbusSorter(ModbusSettings(**values | settings), "station 4"))
        made[-1].prepare("housing")
        made[-1].open()
        made[-1].set_ready(True)
        return made[-1]

    yield make
    for sorter in made:
        sorter.close()


# ---------------------------------------------------------------------- the registers

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=32)
numbers, byte = st.integers(0, 2**32 - 1), st.integers(0, 255)
bodies = st.one_of(
    st.builds(wire.Hello, st.sampled_from(wire.Role), texts),
    st.builds(wire.Heartbeat, st.booleans(), st.sampled_from(wire.EndState), texts),
    st.builds(wire.TriggerBody, numbers, texts.map(lambda text: text.replace(";", "")), texts),
    st.builds(wire.TriggerRefused, numbers, numbers, st.sampled_from(wire.RefusalCode), texts),
    st.builds(wire.JobAnswer, numbers, st.sampled_from(wire.JobCode), texts),
    st.builds(wire.ResultBody, numbers, numbers, st.sampled_from(wire.WireOutcome), byte, byte, texts),
    st.builds(wire.ResultAck, numbers, numbers, st.sampled_from(wire.Sorted), byte),
)
every_message = st.builds(
    wire.Message, st.integers(0, 65535), st.integers(0, 65535), st.integers(1, 2**32 - 1), bodies, st.just(3)
)


@given(every_message)
def test_every_message_is_read_from_its_mailbox_as_it_was_written(message: wire.Message) -> None:
    assert decode(encode(message)) == message


@given(every_message, every_message, st.integers(1, SIZE - 1))
def test_a_mailbox_that_is_read_or_written_in_pieces_is_no_message_until_it_is_whole(
    before: wire.Message, after: wire.Message, cut: int
) -> None:
    if before.sequence == after.sequence:
        return
    torn = encode(after)[:cut] + encode(before)[cut:]
    ends = [torn[0:2], torn[SIZE - 2 :]]
    found = decode(torn) if ends[0] != ends[1] else None
    assert found is None


@given(st.lists(st.integers(0, 65535), min_size=SIZE, max_size=SIZE), st.booleans())
def test_registers_of_any_kind_are_a_message_or_no_message_and_no_error_of_another_kind(
    box: list[int], whole: bool
) -> None:
    if whole:
        box[SIZE - 2 :] = box[:2]
    with contextlib.suppress(MailboxError):
        decode(box)


class Watched(list[int]):
    """Registers that somebody reads after every single change."""

    look: Callable[[], None] = staticmethod(lambda: None)

    def __setitem__(self, at: Any, value: Any) -> None:
        if isinstance(at, slice):
            for place, one in zip(range(*at.indices(len(self))), value, strict=True):
                super().__setitem__(place, one)
                self.look()
        else:
            super().__setitem__(at, value)
            self.look()


results = st.builds(
    wire.ResultBody,
    st.integers(1, 4),
    st.integers(1, 9),
    st.sampled_from(wire.WireOutcome),
    byte,
    byte,
    texts,
)


@given(st.lists(results, min_size=1, max_size=8))
def test_whenever_a_result_bit_stands_all_its_values_stand_and_ok_and_ng_exclude_each_other(
    said: list[wire.ResultBody],
) -> None:
    registers = Registers()
    watched = registers.words = Watched(registers.words)
    shown: list[wire.ResultBody] = []

    def look() -> None:
        bits = Bit(watched[Status.BITS])
        assert not (bits & Bit.OK and bits & Bit.NG)
        assert bool(bits & Bit.RESULT_VALID) == bool(bits & (Bit.OK | Bit.NG))
        if bits & Bit.RESULT_VALID:
            message = decode(list(watched[Station.RESULT : Station.RESULT + SIZE]))
            assert message is not None
            assert isinstance(message.body, wire.ResultBody)
            assert bool(bits & Bit.OK) == (message.body.outcome is wire.WireOutcome.ACCEPT)
            assert bool(bits & Bit.FAULT) == (message.body.outcome is wire.WireOutcome.FAULT)
            if message.body not in shown[-1:]:
                shown.append(message.body)

    watched.look = look
    waiting: dict[int, wire.ResultBody] = {}
    for number, body in enumerate(said, 1):
        waiting.setdefault(body.trigger, body)
        registers.put(wire.Message(1, CELL, number, body, 3))
    while waiting:
        first = next(iter(waiting))
        assert shown[-1] == waiting.pop(first)
        registers.forget_results(lambda trigger: trigger in waiting)
    assert not watched[Status.BITS]


def test_a_version_that_cannot_be_read_is_told_apart_and_answered() -> None:
    box = encode(wire.Message(CELL, 1, 5, wire.Heartbeat(True, wire.EndState.READY), 3))
    box[2] = 9 << 8 | 2
    with pytest.raises(OtherVersionError):
        decode(box)


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "is missing, and `device` too"),
        ({"listen": "127.0.0.1", "device": "/dev/ttyS0"}, "is set, and `device` too"),
        ({"listen": "tcp://192.168.0.4:502"}, "no address"),
        ({"listen": "plc.plant"}, "no address"),
        ({"device": "socket://192.168.0.7:4001"}, "is a URL"),
        ({"listen": "127.0.0.1", "unit": 0}, "unit"),
        ({"listen": "127.0.0.1", "unit": 248}, "unit"),
        ({"listen": "127.0.0.1", "baud": 9600}, "without `device`"),
        ({"device": "/dev/ttyS0", "port": 502}, "without `listen`"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModbusSettings(**settings)


# ---------------------------------------------------------------------- bytes that are no request


def asked(sorter: ModbusSorter, data: bytes, size: int = 260) -> bytes:
    """What the station answers to raw bytes within a moment."""
    try:
        with socket.create_connection(("127.0.0.1", sorter._settings.port), timeout=0.5) as line:
            line.sendall(data)
            return line.recv(size)
    except OSError:  # nobody answers, or not yet
        return b""


def request(transaction: int, function: int, *words: int, unit: int = 1, protocol: int = 0) -> bytes:
    body = bytes((unit, function)) + struct.pack(f">{len(words)}H", *words)
    return struct.pack(">HHH", transaction, protocol, len(body)) + body


def test_an_answer_bears_the_transaction_and_the_unit_of_its_request(
    sorters: Callable[..., ModbusSorter],
) -> None:
    sorter = sorters(unit=5)
    wait_for(lambda: asked(sorter, request(0x1234, 3, 0, 1, unit=5)))
    assert asked(sorter, request(0x1234, 3, 0, 1, unit=5)) == request(0x1234, 3, unit=5)[:5] + bytes(
        (5, 5, 3, 2, 0, 1)
    )
    refused = asked(sorter, request(0x4321, 3, 0, 1, unit=6))
    assert refused[:2] == b"\x43\x21"
    assert refused[7] == 0x83, "another unit"


def test_what_is_no_request_changes_nothing(sorters: Callable[..., ModbusSorter]) -> None:
    sorter = sorters()
    wait_for(lambda: asked(sorter, request(1, 3, 0, 1)))
    for data in (
        request(9, 3, 0x0204, 0x1234),  # an answer of another transaction, and not a request
        request(9, 3, 0, 1, protocol=7),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 3,
        os.urandom(400),
        request(9, 16, 0, 1, 0x0200),  # a write without its values
        request(9, 43, 0x0E01),
    ):
        asked(sorter, data)
    for function in (1, 2, 5, 15, 22):
        answer = asked(sorter, request(9, function, 0, 1))
        assert not answer or answer[7] & 0x80, function
    answer = asked(sorter, request(9, 6, Status.BITS, Bit.OK))
    assert answer[7:9] == b"\x86\x02", "the station's registers are not written"
    assert asked(sorter, request(2, 3, Status.BITS, 1))[9:] == b"\0\0"
    health = sorter.health()
    assert (health.failures, health.received) == (0, 0)


def test_a_mailbox_with_senseless_values_is_counted_and_shown(sorters: Callable[..., ModbusSorter]) -> None:
    sorter = sorters()
    wait_for(lambda: asked(sorter, request(1, 3, 0, 1)))
    box = encode(wire.Message(CELL, 1, 5, wire.ResultAck(1, 1, wire.Sorted.IN_BIN, 3), 3))
    box[9] = 77
    data = request(1, 16, Cell.RESULT_ACK, SIZE)
    whole = data[:4] + struct.pack(">H", 7 + 2 * SIZE) + data[6:] + bytes((2 * SIZE,))
    asked(sorter, whole + struct.pack(f">{SIZE}H", *box))
    assert sorter.health().garbled == 1
    assert "1150" in sorter.health().last_error


def test_a_mailbox_of_a_later_version_is_answered_with_a_fault_that_names_ours(
    sorters: Callable[..., ModbusSorter],
) -> None:
    sorter = sorters()
    wait_for(lambda: asked(sorter, request(1, 3, 0, 1)))
    box = encode(wire.Message(CELL, 0, 5, wire.Hello(wire.Role.CELL, "plc"), 3))
    box[2] = 9 << 8 | 1
    data = request(1, 16, Cell.HELLO, SIZE)
    whole = data[:4] + struct.pack(">H", 7 + 2 * SIZE) + data[6:] + bytes((2 * SIZE,))
    asked(sorter, whole + struct.pack(f">{SIZE}H", *box))
    answer = asked(sorter, request(2, 3, Station.FAULT, SIZE))
    fault = decode(struct.unpack(f">{SIZE}H", answer[9:]))
    assert fault is not None
    assert fault.version == 1
    assert fault.body == wire.Fault(wire.FaultCode.PROTOCOL_VERSION, "this station speaks versions 1 to 3")
    assert "version 9" in sorter.health().last_error


def test_a_flood_of_requests_delays_no_call_and_another_plc_is_served_all_the_same(
    sorters: Callable[..., ModbusSorter],
) -> None:
    sorter = sorters()
    wait_for(lambda: asked(sorter, request(1, 3, 0, 1)))
    longest_s, answered = 0.0, 0
    with socket.create_connection(("127.0.0.1", sorter._settings.port), timeout=0.2) as line:
        for _ in range(20):
            with contextlib.suppress(OSError):  # it takes no more, or the station has closed the connection
                line.sendall(request(1, 3, 0, 100) * 400)
            before = time.monotonic()
            sorter.set_ready(False, "x")
            sorter.set_ready(True)
            longest_s = max(longest_s, time.monotonic() - before)
            answered += bool(asked(sorter, request(1, 3, 0, 1)))
    assert longest_s < 0.2
    assert answered > 10
    assert sorter.health().failures == 0


# ---------------------------------------------------------------------- mbpoll as the PLC


class Mbpoll:
    """One process per request, by a program that shares no code with us or pymodbus."""

    def __init__(self, *line: str) -> None:
        if shutil.which("mbpoll") is None:
            pytest.skip("mbpoll is not installed")
        self.line = line
        self.number = 0

    def run(self, at: int, *words: object, count: int = 0) -> str:
        options = ["-a", "1", "-t", "4", "-0", "-r", str(at), *(["-c", str(count), "-1"] if count else [])]
        done = subprocess.run(
            ["mbpoll", *self.line[:-1], *options, self.line[-1], *map(str, words)],
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def read(self, at: int, count: int) -> list[int]:
        return [int(word) for _, word in re.findall(r"^\[(\d+)\]:\s+(\d+)", self.run(at, count=count), re.M)]

    def message(self, place: Station) -> wire.Message | None:
        return decode(self.read(place, SIZE))

    def say(self, place: Cell, body: wire.Body, station: int) -> int:
        self.number += 1
        self.run(place, *encode(wire.Message(CELL, station, self.number, body, 3)))
        return self.number


def one_part(sorter: ModbusSorter, plc: Mbpoll) -> None:
    hello = plc.message(Station.HELLO)
    assert hello is not None
    assert hello.body == wire.Hello(wire.Role.STATION, "station 4")
    station = hello.sender
    plc.say(Cell.HEARTBEAT, wire.Heartbeat(True, wire.EndState.READY), station)
    bits = Bit(plc.read(Status.BITS, 1)[0])
    assert bits == Bit.TRIGGER_READY
    number = plc.say(Cell.TRIGGER, wire.TriggerBody(1001, "housing", "lot 7"), station)
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    assert (trigger.part_id, trigger.lot) == (1001, "lot 7")
    sorter.acknowledge(trigger)
    answer = plc.message(Station.ANSWER)
    assert answer is not None
    assert answer.body == wire.TriggerAck(number, 1001)
    sorter.acquisition_done(trigger)
    assert Bit(plc.read(Status.BITS, 1)[0]) & Bit.ACQUISITION_DONE
    sorter.send(Result(1001, Outcome.REJECT, 2, 4, "scratch"))
    bits = Bit(plc.read(Status.BITS, 1)[0])
    assert bits & (Bit.RESULT_VALID | Bit.OK | Bit.NG) == Bit.RESULT_VALID | Bit.NG
    result = plc.message(Station.RESULT)
    assert result is not None
    assert result.body == wire.ResultBody(number, 1001, wire.WireOutcome.REJECT, 2, 4, "scratch")
    plc.say(Cell.RESULT_ACK, wire.ResultAck(number, 1001, wire.Sorted.IN_BIN, 2), station)
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert receipt.acknowledged
    assert not Bit(plc.read(Status.BITS, 1)[0]) & (Bit.RESULT_VALID | Bit.NG)


def test_mbpoll_runs_a_part_by_modbus_tcp(sorters: Callable[..., ModbusSorter]) -> None:
    sorter = sorters(ack_timeout_ms=20_000.0)
    wait_for(lambda: asked(sorter, request(1, 3, 0, 1)))
    one_part(sorter, Mbpoll("-m", "tcp", "-p", str(sorter._settings.port), "127.0.0.1"))


def test_mbpoll_runs_a_part_by_modbus_rtu(sorters: Callable[..., ModbusSorter], bus: tuple[str, str]) -> None:
    sorter = sorters(device=bus[0], baud=115_200, parity="none", ack_timeout_ms=20_000.0)
    wait_for(lambda: sorter._is_up())
    one_part(sorter, Mbpoll("-m", "rtu", "-b", "115200", "-P", "none", bus[1]))


def test_a_serial_line_that_comes_later_or_was_lost_is_served_by_itself(
    sorters: Callable[..., ModbusSorter], tmp_path: Path
) -> None:
    link = tmp_path / "plc"
    sorter = sorters(device=str(link), baud=115_200, parity="none", reopen_max_s=0.1)
    wait_for(lambda: "tried again" in sorter.health().last_error)
    for _ in range(2):
        master, slave = pty.openpty()
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(slave))
        wait_for(lambda: sorter._is_up())
        os.close(slave)
        os.close(master)
        wait_for(lambda: not sorter._is_up())
    assert sorter.health().reconnects == 1
    assert sorter.health().failures == 0


def test_an_address_that_is_not_ours_or_is_used_is_tried_again_by_itself(
    sorters: Callable[..., ModbusSorter],
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])
        sorter = sorters(port=port, reopen_max_s=0.1)
        wait_for(lambda: "tried again" in sorter.health().last_error)
    wait_for(lambda: "no PLC is connected" in sorter.health().last_error)
    assert asked(sorter, request(1, 3, 0, 1))
