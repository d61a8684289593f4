"""The messages between a station and a cell, whatever wire carries them (docs/serial-protocol.md, section 3).

What a message means is the same on every wire; how it is spelled (frames of bytes, JSON) is the wire's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

VERSION: Final = 3
"""The newest version; every end reads all versions before its newest, too."""
OLDEST: Final = 1
"""The version of a HELLO or FAULT that every end can read."""
MAX_TEXT: Final = 64
"""Characters of a reason."""
MAX_NAME: Final = 32
"""Characters of a recipe's, a lot's or an end's name."""


class Role(IntEnum):
    """Who sends a HELLO."""

    STATION = 1
    CELL = 2


class EndState(IntEnum):
    """What an end is doing, in a HEARTBEAT (OPC 40100-1's words)."""

    PREOPERATIONAL = 0
    READY = 1
    EXECUTING = 2
    HALTED = 3
    ERROR = 4
    INITIALIZED = 5
    """No recipe is prepared. Since version 3."""


class RefusalCode(IntEnum):
    """Why a TRIGGER does not start an inspection."""

    NOT_READY = 1
    UNKNOWN_RECIPE = 2
    BUSY = 3
    PART_IN_HAND = 4
    """This part id is still being inspected under another trigger."""


class JobCode(IntEnum):
    """How far a job change is."""

    UNDER_WAY = 1
    PREPARED = 2
    REFUSED = 3


class WireOutcome(IntEnum):
    """What a RESULT says; zero is no outcome, so that empty memory never accepts."""

    ACCEPT = 1
    REJECT = 2
    FAULT = 3


class Sorted(IntEnum):
    """Whether a RESULT-ACK speaks of a part the cell knows."""

    IN_BIN = 1
    UNKNOWN_PART = 2


class FaultCode(IntEnum):
    """What a FAULT message is about."""

    PROTOCOL_VERSION = 1
    TRIGGER_CONFLICT = 2
    """A sequence number came again with another part or recipe."""
    DEVICE = 3
    """Gate, jig, robot: the text says which."""


@dataclass(frozen=True, slots=True)
class Hello:
    """I am here, and this is my session (in the header)."""

    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """I live. From the station ``ready`` is *trigger ready*; from the cell it is *in operation*."""

    ready: bool
    state: EndState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TriggerBody:
    """A part is in place. Repetitions carry the same sequence number in the header."""

    part_id: int
    recipe: str = ""
    lot: str = ""
    """Since version 3."""


@dataclass(frozen=True, slots=True)
class TriggerAck:
    """The trigger is recorded; a RESULT follows."""

    trigger: int
    """The TRIGGER's sequence number, here and below."""
    part_id: int


@dataclass(frozen=True, slots=True)
class TriggerRefused:
    """No RESULT follows; the cell may trigger anew, with a new sequence number."""

    trigger: int
    part_id: int
    refusal: RefusalCode
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AcquisitionDone:
    """The part's frame is here: the part may leave the camera, a RESULT follows. Since version 2."""

    trigger: int
    part_id: int


@dataclass(frozen=True, slots=True)
class JobBody:
    """Prepare another recipe for the next parts. Repetitions carry the same number. Since version 3."""

    recipe: str


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """How far a job change is. Since version 3."""

    job: int
    """The JOB-CHANGE's sequence number."""
    status: JobCode
    reason: str = ""
    """The recipe, or why it was refused."""


@dataclass(frozen=True, slots=True)
class ResultBody:
    """Results valid: what to do with the part."""

    trigger: int
    part_id: int
    outcome: WireOutcome
    bin: int
    class_index: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResultAck:
    """Results ack: the bin that the part went to."""

    trigger: int
    part_id: int
    status: Sorted
    bin: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something a person must look at."""

    code: FaultCode
    reason: str = ""


Body: TypeAlias = (
    Hello
    | Heartbeat
    | TriggerBody
    | TriggerAck
    | TriggerRefused
    | AcquisitionDone
    | JobBody
    | JobAnswer
    | ResultBody
    | ResultAck
    | Fault
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and who says it to whom."""

    sender: int
    """The sender's session, 1..65535."""
    receiver: int
    """The receiver's session as the sender knows it; 0 while it does not."""
    sequence: int
    """1.., one more with every new message of the sender's session; unchanged in a repetition."""
    body: Body
    version: int = OLDEST
    """Of the protocol."""


def first_version(body: Body) -> int:
    """The first version of the protocol that can say this."""
    match body:
        case AcquisitionDone():
            return 2
        case JobBody() | JobAnswer() | Heartbeat(state=EndState.INITIALIZED):
            return 3
        case TriggerBody(lot=lot) if lot:
            return 3
    return OLDEST


def is_plain(text: str) -> bool:
    """Whether every wire can carry the text: printable ASCII."""
    return text.isascii() and text.isprintable()


def plain_text(text: str, longest: int = MAX_TEXT) -> str:
    """``text`` as every wire can carry it: ASCII, "?" for the rest, at most ``longest`` characters."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:longest]
