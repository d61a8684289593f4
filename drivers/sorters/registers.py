"""The registers that a PLC reads and writes (docs/modbus.md, docs/opcua.md): mailboxes, and a block of bits.

Pure. A mailbox holds the last message of its kind, and bears the message's number at both ends: whoever
reads it in pieces reads again until both are the same. The bits of a result are set after all its values, and
cleared before the values of the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag
from typing import Final

from drivers.sorters.messages import (
    OLDEST,
    VERSION,
    AcquisitionDone,
    EndState,
    Fault,
    Heartbeat,
    Hello,
    JobAnswer,
    Message,
    ResultBody,
    TriggerAck,
    TriggerRefused,
    WireOutcome,
    first_version,
)
from drivers.sorters.serial.frames import Type, body_of, fields_of, sizes_of

MAP_VERSION: Final = 1
SIZE: Final = 48
"""Registers of a mailbox."""
_NUMBERS, _TEXT_LENGTH, _TEXT, _NUMBER_AGAIN = 5, 12, 13, 46
"""Offsets in a mailbox; the number, version and type, and the two sessions stand before them."""
_TEXT_REGISTERS: Final = _NUMBER_AGAIN - _TEXT
CELL_AREA: Final = 1000
"""Registers from here on are written by the PLC; those before only by the station."""
END: Final = 1300


class Status(IntEnum):
    """The registers of the station's block."""

    MAP_VERSION = 0
    HEARTBEAT = 1
    """One more with every HEARTBEAT."""
    BITS = 2
    STATE = 3
    PACKML = 4


class Bit(IntFlag):
    """The bits of register 2."""

    TRIGGER_READY = 1
    EXECUTING = 2
    ACQUISITION_DONE = 4
    """The ANSWER says that this part may leave the camera."""
    RESULT_VALID = 8
    OK = 16
    NG = 32
    FAULT = 64
    """With NG."""
    INITIALIZED = 128
    """No recipe is prepared."""


OF_RESULT = Bit.RESULT_VALID | Bit.OK | Bit.NG | Bit.FAULT
PACKML: Final = {
    EndState.PREOPERATIONAL: 15,  # Resetting
    EndState.INITIALIZED: 4,  # Idle
    EndState.READY: 4,  # Idle
    EndState.EXECUTING: 6,  # Execute
    EndState.HALTED: 2,  # Stopped
    EndState.ERROR: 9,  # Aborted
}
"""The nearest state of PackML (ISA-TR88.00.02, StateCurrent)."""


class Station(IntEnum):
    """Where the station's mailboxes begin."""

    HELLO = 100
    HEARTBEAT = 150
    ANSWER = 200
    """TRIGGER-ACK, ACQUISITION-DONE or TRIGGER-REFUSED, whichever was said last."""
    RESULT = 250
    JOB_ANSWER = 300
    FAULT = 350


class Cell(IntEnum):
    """Where the cell's mailboxes begin."""

    HELLO = 1000
    HEARTBEAT = 1050
    TRIGGER = 1100
    RESULT_ACK = 1150
    JOB_CHANGE = 1200
    FAULT = 1250


_PLACES: Final[dict[type, Station]] = {
    Hello: Station.HELLO,
    Heartbeat: Station.HEARTBEAT,
    TriggerAck: Station.ANSWER,
    TriggerRefused: Station.ANSWER,
    AcquisitionDone: Station.ANSWER,
    ResultBody: Station.RESULT,
    JobAnswer: Station.JOB_ANSWER,
    Fault: Station.FAULT,
}


class MailboxError(ValueError):
    """Registers that are no message."""


class OtherVersionError(MailboxError):
    """The message is of a version that cannot be read."""

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version}; read are {OLDEST} to {VERSION}")
        self.version = version


def encode(message: Message) -> list[int]:
    """The mailbox of a message."""
    kind, numbers, text = fields_of(message.body)
    box = [0] * SIZE
    box[0:2] = box[_NUMBER_AGAIN:SIZE] = _halves(message.sequence)
    box[2:_NUMBERS] = [message.version << 8 | kind, message.sender, message.receiver]
    words: list[int] = []
    for number, size in zip(numbers, sizes_of(kind), strict=True):
        words += _halves(number) if size == 4 else [number]
    box[_NUMBERS : _NUMBERS + len(words)] = words
    data = text.encode("ascii")
    box[_TEXT_LENGTH] = len(data)
    padded = data.ljust(2 * _TEXT_REGISTERS, b"\0")
    box[_TEXT:_NUMBER_AGAIN] = [int.from_bytes(padded[at : at + 2]) for at in range(0, len(padded), 2)]
    return box


def decode(box: Sequence[int]) -> Message | None:
    """The message of a mailbox; None while it is empty or being written. Raises :class:`MailboxError`."""
    number = box[0] << 16 | box[1]
    if tuple(box[0:2]) != tuple(box[_NUMBER_AGAIN:SIZE]) or not number:
        return None
    version, kind_code = divmod(box[2], 256)
    if not OLDEST <= version <= VERSION:
        raise OtherVersionError(version)
    try:
        kind = Type(kind_code)
        numbers, at = [], _NUMBERS
        for size in sizes_of(kind):
            numbers.append(box[at] << 16 | box[at + 1] if size == 4 else box[at])
            at += size // 2 or 1
        data = b"".join(word.to_bytes(2) for word in box[_TEXT:_NUMBER_AGAIN])
        if box[_TEXT_LENGTH] > len(data):
            raise ValueError("the text is too long")
        body = body_of(kind, numbers, data[: box[_TEXT_LENGTH]].decode("ascii"))
        if version < first_version(body):
            raise ValueError(f"version {version} does not have it")
    except ValueError as error:
        raise MailboxError(f"type {kind_code:#04x}: {error}") from None
    return Message(box[3], box[4], number, body, version)


class Registers:
    """All registers of one station, and the results that stand in them one after another."""

    def __init__(self) -> None:
        self.words = [0] * END
        self.words[Status.MAP_VERSION] = MAP_VERSION
        self._results: dict[int, Message] = {}
        """By their triggers: those that wait for their acknowledgement, the oldest first."""

    def put(self, message: Message) -> None:
        """Show a message of the station; a result only once those before are acknowledged or given up."""
        body = message.body
        if isinstance(body, ResultBody):
            if body.trigger not in self._results:
                self._results[body.trigger] = message
            if next(iter(self._results)) == body.trigger and not self._bits & Bit.RESULT_VALID:
                self._show_result(body, message)
            return
        if isinstance(body, Hello) and message.version < VERSION:
            return  # one mailbox is enough: the PLC reads which version it holds
        place = _PLACES[type(body)]
        done = isinstance(body, AcquisitionDone)
        if place is Station.ANSWER:
            self._set(Bit.ACQUISITION_DONE, False)
        self._write(place, encode(message))
        if done:
            self._set(Bit.ACQUISITION_DONE, True)
        if isinstance(body, Heartbeat):
            self.words[Status.HEARTBEAT] = self.words[Status.HEARTBEAT] + 1 & 0xFFFF
            self.words[Status.STATE] = body.state
            self.words[Status.PACKML] = PACKML[body.state]
            self._set(Bit.TRIGGER_READY, body.ready)
            self._set(Bit.EXECUTING, body.state is EndState.EXECUTING)
            self._set(Bit.INITIALIZED, body.state is EndState.INITIALIZED)

    def forget_results(self, awaits: Callable[[int], bool]) -> None:
        """Take away results that do not wait any more, and show the next one that does."""
        shown = next(iter(self._results), None)
        for trigger in [trigger for trigger in self._results if not awaits(trigger)]:
            del self._results[trigger]
        following = next(iter(self._results), None)
        if following == shown:
            return
        self._set(OF_RESULT, False)
        if following is not None:
            message = self._results[following]
            assert isinstance(message.body, ResultBody)
            self._show_result(message.body, message)

    def read(self, at: int, count: int) -> list[int]:
        """Registers as they are now."""
        return self.words[at : at + count]

    def take(self, at: int, values: Sequence[int]) -> list[tuple[Cell, Message | MailboxError]]:
        """The PLC has written: the messages of the mailboxes that this touches and that are whole."""
        self.words[at : at + len(values)] = values
        taken: list[tuple[Cell, Message | MailboxError]] = []
        for place in Cell:
            if at >= place + SIZE or at + len(values) <= place:
                continue
            try:
                message = decode(self.words[place : place + SIZE])
            except MailboxError as error:
                taken.append((place, error))
            else:
                taken += [(place, message)] if message is not None else []
        return taken

    @property
    def _bits(self) -> Bit:
        return Bit(self.words[Status.BITS])

    def _show_result(self, body: ResultBody, message: Message) -> None:
        self._set(OF_RESULT, False)
        self._write(Station.RESULT, encode(message))
        verdict = Bit.OK if body.outcome is WireOutcome.ACCEPT else Bit.NG
        if body.outcome is WireOutcome.FAULT:
            verdict |= Bit.FAULT
        self._set(Bit.RESULT_VALID | verdict, True)

    def _write(self, place: int, box: Sequence[int]) -> None:
        """The number at the end stands before the values, and the one at the beginning behind them."""
        self.words[place + _NUMBER_AGAIN : place + SIZE] = box[_NUMBER_AGAIN:SIZE]
        self.words[place + 2 : place + _NUMBER_AGAIN] = box[2:_NUMBER_AGAIN]
        self.words[place : place + 2] = box[0:2]

    def _set(self, bits: Bit, on: bool) -> None:
        now = self.words[Status.BITS]
        self.words[Status.BITS] = now | bits if on else now & ~bits


def _halves(number: int) -> list[int]:
    return [number >> 16, number & 0xFFFF]
