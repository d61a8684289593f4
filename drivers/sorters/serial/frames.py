"""Frames of the serial protocol: messages to bytes and back (docs/serial-protocol.md, versions 1 to 3).

Pure: no clock, no line. A frame is STX, the escaped bytes of header + payload + CRC-32, ETX. STX never
occurs inside a frame, so the first STX after any garbage begins a good frame: the decoder cannot stall
and cannot swallow the message behind a broken one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from drivers.sorters.messages import (
    MAX_NAME,
    MAX_TEXT,
    OLDEST,
    VERSION,
    AcquisitionDone,
    Body,
    EndState,
    Fault,
    FaultCode,
    Heartbeat,
    Hello,
    JobAnswer,
    JobBody,
    JobCode,
    Message,
    RefusalCode,
    ResultAck,
    ResultBody,
    Role,
    Sorted,
    TriggerAck,
    TriggerBody,
    TriggerRefused,
    WireOutcome,
    first_version,
    is_plain,
)

STX: Final = 0x02
ETX: Final = 0x03
DLE: Final = 0x10
ESCAPE_XOR: Final = 0x20

_HEADER: Final = struct.Struct(">BBHHIB")
_CRC: Final = struct.Struct(">I")
_ESCAPED: Final = frozenset((STX, ETX, DLE))
_MAX_PAYLOAD: Final = 96
_MAX_FRAME: Final = _HEADER.size + _MAX_PAYLOAD + _CRC.size


class FrameError(ValueError):
    """A message that cannot be put on the wire, or bytes that are none; the message says which field."""


class Type(IntEnum):
    """The second byte of a frame."""

    HELLO = 0x01
    HEARTBEAT = 0x02
    TRIGGER = 0x10
    TRIGGER_ACK = 0x11
    TRIGGER_REFUSED = 0x12
    ACQUISITION_DONE = 0x13
    JOB_CHANGE = 0x14
    JOB_ANSWER = 0x15
    RESULT = 0x20
    RESULT_ACK = 0x21
    FAULT = 0x30


def crc32(data: bytes) -> int:
    """CRC-32/ISO-HDLC of ``data`` (reflected polynomial 0xEDB88320, start and final XOR 0xFFFFFFFF)."""
    return zlib.crc32(data)


def encode(message: Message) -> bytes:
    """The frame of ``message``. Raises :class:`FrameError` for a field outside its range."""
    kind, payload = _pack(message.body)
    check_version(message)
    try:
        header = _HEADER.pack(
            message.version, kind, message.sender, message.receiver, message.sequence, len(payload)
        )
    except struct.error as error:
        raise FrameError(f"a header field is out of range in {message}: {error}") from error
    content = header + payload
    content += _CRC.pack(crc32(content))
    stuffed = bytearray((STX,))
    for byte in content:
        if byte in _ESCAPED:
            stuffed += bytes((DLE, byte ^ ESCAPE_XOR))
        else:
            stuffed.append(byte)
    stuffed.append(ETX)
    return bytes(stuffed)


class Decoder:
    """Bytes in pieces of any size to messages; whatever is no intact frame is counted and dropped."""

    def __init__(self, newest: int = VERSION) -> None:
        """``newest``: frames of later versions are not read."""
        self._newest = newest
        self.garbled = 0
        """Frames begun and not usable: cut short, wrong CRC, wrong length, unknown type or value."""
        self.noise = 0
        """Bytes between frames."""
        self.other_version: int | None = None
        """The version of the last intact frame that cannot be read; the reader resets it."""
        self._frame: bytearray | None = None
        self._escaped = False

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes."""
        messages: list[Message] = []
        for byte in data:
            frame = self._frame
            if byte == STX:
                if frame is not None:
                    self.garbled += 1
                self._frame = bytearray()
                self._escaped = False
            elif frame is None:
                self.noise += 1
            elif byte == ETX:
                self._frame = None
                message = None if self._escaped else self._parse(bytes(frame))
                if message is not None:
                    messages.append(message)
                else:
                    self.garbled += 1
            elif self._escaped:
                self._escaped = False
                if byte ^ ESCAPE_XOR in _ESCAPED:
                    frame.append(byte ^ ESCAPE_XOR)
                else:
                    self._drop()
            elif byte == DLE:
                self._escaped = True
            elif len(frame) >= _MAX_FRAME:
                self._drop()
            else:
                frame.append(byte)
        return messages

    def _drop(self) -> None:
        self.garbled += 1
        self._frame = None

    def _parse(self, frame: bytes) -> Message | None:
        if len(frame) < _HEADER.size + _CRC.size:
            return None
        content = frame[: -_CRC.size]
        if crc32(content) != _CRC.unpack(frame[-_CRC.size :])[0]:
            return None
        version, kind, sender, receiver, sequence, length = _HEADER.unpack_from(content)
        if not OLDEST <= version <= self._newest:
            self.other_version = int(version)
            return None
        payload = content[_HEADER.size :]
        if length != len(payload):
            return None
        try:
            body = _unpack(Type(kind), payload)
            if version < first_version(body):
                return None
            return Message(sender, receiver, sequence, body, version)
        except (ValueError, struct.error):
            return None


_FIXED: Final[dict[Type, struct.Struct]] = {
    Type.HELLO: struct.Struct(">B"),
    Type.HEARTBEAT: struct.Struct(">BB"),
    Type.TRIGGER: struct.Struct(">I"),
    Type.TRIGGER_ACK: struct.Struct(">II"),
    Type.TRIGGER_REFUSED: struct.Struct(">IIB"),
    Type.ACQUISITION_DONE: struct.Struct(">II"),
    Type.JOB_CHANGE: struct.Struct(">"),
    Type.JOB_ANSWER: struct.Struct(">IB"),
    Type.RESULT: struct.Struct(">IIBBB"),
    Type.RESULT_ACK: struct.Struct(">IIBB"),
    Type.FAULT: struct.Struct(">B"),
}
"""The fields before the text, which is the rest of the payload."""

_TEXT: Final[dict[Type, int]] = {
    Type.HELLO: MAX_NAME,
    Type.HEARTBEAT: MAX_TEXT,
    Type.TRIGGER: MAX_NAME + 1 + MAX_NAME,
    Type.TRIGGER_ACK: 0,
    Type.TRIGGER_REFUSED: MAX_TEXT,
    Type.ACQUISITION_DONE: 0,
    Type.JOB_CHANGE: MAX_NAME,
    Type.JOB_ANSWER: MAX_TEXT,
    Type.RESULT: MAX_TEXT,
    Type.RESULT_ACK: 0,
    Type.FAULT: MAX_TEXT,
}

LOT: Final = ";"
"""Between recipe and lot in the text of a TRIGGER."""


def check_version(message: Message) -> None:
    """Raise :class:`FrameError` where the message's version cannot say its body."""
    if not first_version(message.body) <= message.version <= VERSION:
        raise FrameError(f"version {message.version} has no {type_of(message.body).name} like this")


def sizes_of(kind: Type) -> list[int]:
    """The bytes of each number of a body, in the order of the frame."""
    return [struct.calcsize(f">{letter}") for letter in _FIXED[kind].format[1:]]


def type_of(body: Body) -> Type:
    """The type byte of ``body``."""
    return fields_of(body)[0]


def fields_of(body: Body) -> tuple[Type, tuple[int, ...], str]:
    """The type of a body, its numbers in the order of the frame, and its text."""
    match body:
        case Hello(role, name):
            return Type.HELLO, (role,), name
        case Heartbeat(ready, state, reason):
            return Type.HEARTBEAT, (int(ready), state), reason
        case TriggerBody(part_id, recipe, lot):
            return Type.TRIGGER, (part_id,), recipe + LOT + lot if lot else recipe
        case TriggerAck(trigger, part_id):
            return Type.TRIGGER_ACK, (trigger, part_id), ""
        case TriggerRefused(trigger, part_id, refusal, reason):
            return Type.TRIGGER_REFUSED, (trigger, part_id, refusal), reason
        case AcquisitionDone(trigger, part_id):
            return Type.ACQUISITION_DONE, (trigger, part_id), ""
        case JobBody(recipe):
            return Type.JOB_CHANGE, (), recipe
        case JobAnswer(job, status, reason):
            return Type.JOB_ANSWER, (job, status), reason
        case ResultBody(trigger, part_id, outcome, bin_, class_index, reason):
            return Type.RESULT, (trigger, part_id, outcome, bin_, class_index), reason
        case ResultAck(trigger, part_id, status, bin_):
            return Type.RESULT_ACK, (trigger, part_id, status, bin_), ""
        case Fault(code, reason):
            return Type.FAULT, (code,), reason


def _pack(body: Body) -> tuple[Type, bytes]:
    kind, numbers, text = fields_of(body)
    if isinstance(body, TriggerBody) and (LOT in body.recipe or max(map(len, text.split(LOT, 1))) > MAX_NAME):
        raise FrameError(
            f"TRIGGER: recipe and lot have at most {MAX_NAME} characters, and the recipe no {LOT}: {text!r}"
        )
    if len(text) > _TEXT[kind] or not is_plain(text):
        raise FrameError(
            f"{kind.name} text must be at most {_TEXT[kind]} printable ASCII characters: {text!r}"
        )
    try:
        return kind, _FIXED[kind].pack(*numbers) + text.encode("ascii")
    except struct.error as error:
        raise FrameError(f"a field of {body} is out of range: {error}") from error


def body_of(kind: Type, numbers: Sequence[int], text: str) -> Body:
    """The body of these fields. Raises :class:`ValueError` for one that is out of range."""
    try:
        return _unpack(kind, _FIXED[kind].pack(*numbers) + text.encode("ascii"))
    except struct.error as error:
        raise ValueError(str(error)) from None


def _unpack(kind: Type, payload: bytes) -> Body:
    fixed = _FIXED[kind]
    n = fixed.unpack_from(payload)
    text = payload[fixed.size :].decode("ascii")
    if len(text) > _TEXT[kind] or not is_plain(text):
        raise ValueError("text")
    match kind:
        case Type.HELLO:
            return Hello(Role(n[0]), text)
        case Type.HEARTBEAT:
            if n[0] > 1:
                raise ValueError("flags")
            return Heartbeat(n[0] == 1, EndState(n[1]), text)
        case Type.TRIGGER:
            recipe, mark, lot = text.partition(LOT)
            if max(len(recipe), len(lot)) > MAX_NAME or (mark and not lot):
                raise ValueError("text")
            return TriggerBody(n[0], recipe, lot)
        case Type.TRIGGER_ACK:
            return TriggerAck(n[0], n[1])
        case Type.TRIGGER_REFUSED:
            return TriggerRefused(n[0], n[1], RefusalCode(n[2]), text)
        case Type.ACQUISITION_DONE:
            return AcquisitionDone(n[0], n[1])
        case Type.JOB_CHANGE:
            return JobBody(text)
        case Type.JOB_ANSWER:
            return JobAnswer(n[0], JobCode(n[1]), text)
        case Type.RESULT:
            return ResultBody(n[0], n[1], WireOutcome(n[2]), n[3], n[4], text)
        case Type.RESULT_ACK:
            return ResultAck(n[0], n[1], Sorted(n[2]), n[3])
        case Type.FAULT:
            return Fault(FaultCode(n[0]), text)
