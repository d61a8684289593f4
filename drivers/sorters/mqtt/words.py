"""Messages between station and cell as JSON: one object per message (docs/mqtt-protocol.md).

Pure. What is read is hostile: a message with a field that is missing, unknown, of another type or out of
range is no message.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

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

LONGEST = 1024
"""Bytes of a message."""

_KINDS: dict[str, tuple[type[Body], dict[str, Any]]] = {
    "hello": (Hello, {"role": Role, "name": MAX_NAME}),
    "heartbeat": (Heartbeat, {"ready": bool, "state": EndState, "reason": MAX_TEXT}),
    "trigger": (TriggerBody, {"part_id": int, "recipe": MAX_NAME, "lot": MAX_NAME}),
    "trigger-ack": (TriggerAck, {"trigger": int, "part_id": int}),
    "trigger-refused": (
        TriggerRefused,
        {"trigger": int, "part_id": int, "refusal": RefusalCode, "reason": MAX_TEXT},
    ),
    "acquisition-done": (AcquisitionDone, {"trigger": int, "part_id": int}),
    "job-change": (JobBody, {"recipe": MAX_NAME}),
    "job-answer": (JobAnswer, {"job": int, "status": JobCode, "reason": MAX_TEXT}),
    "result": (
        ResultBody,
        {
            "trigger": int, "part_id": int, "outcome": WireOutcome, "bin": "byte", "class_index": "byte",
            "reason": MAX_TEXT,
        },
    ),
    "result-ack": (ResultAck, {"trigger": int, "part_id": int, "status": Sorted, "bin": "byte"}),
    "fault": (Fault, {"code": FaultCode, "reason": MAX_TEXT}),
}  # fmt: skip
"""The last word of the topic -> the message and its fields: a type, an enumeration, or the longest text."""
_FIELDS_SINCE = {"lot": 3}
"""The first version of a field that older ones do not have."""
_NAMES = {body: name for name, (body, _) in _KINDS.items()}
_HEADER = {"version": "version", "sender": "session", "receiver": "session or 0", "sequence": int}
_RANGES = {
    "version": (OLDEST, VERSION),
    "session": (1, 0xFFFF),
    "session or 0": (0, 0xFFFF),
    "byte": (0, 0xFF),
}
_NUMBER = (0, 0xFFFF_FFFF)


class NoMessageError(ValueError):
    """What arrived is no message; the text says why."""


class OtherVersionError(NoMessageError):
    """The message is of a version that cannot be read."""

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version}; read are {OLDEST} to {VERSION}")
        self.version = version


def name_of(body: Body) -> str:
    """The last word of the topic."""
    return _NAMES[type(body)]


def encode(message: Message) -> bytes:
    """The payload of a message."""
    fields = _fields(name_of(message.body), message.version)
    words: dict[str, object] = {name: getattr(message, name) for name in _HEADER}
    for name in fields:
        value = getattr(message.body, name)
        words[name] = _word(value) if isinstance(value, IntEnum) else value
    return json.dumps(words, separators=(",", ":")).encode("ascii")


def decode(name: str, payload: bytes) -> Message:
    """The message of a topic's last word and a payload. Raises :class:`NoMessageError`."""
    if name not in _KINDS:
        raise NoMessageError(f"no message is called {name[:40]!r}")
    if len(payload) > LONGEST:
        raise NoMessageError(f"{name} has {len(payload)} bytes; at most {LONGEST} are read")
    try:
        words = json.loads(payload.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise NoMessageError(f"{name} is no JSON in ASCII ({type(error).__name__})") from None
    version = words.get("version") if isinstance(words, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and not OLDEST <= version <= VERSION:
        raise OtherVersionError(version)
    fields = _fields(name, version if isinstance(version, int) else VERSION)
    expected = _HEADER | fields
    if not isinstance(words, dict) or words.keys() != expected.keys():
        raise NoMessageError(f"{name} must have exactly the fields {', '.join(expected)}")
    values = {field: _value(name, field, words[field], rule) for field, rule in expected.items()}
    header = {field: values.pop(field) for field in _HEADER}
    body = _KINDS[name][0](**values)
    if header["version"] < first_version(body):
        raise NoMessageError(f"version {header['version']} has no {name} like this")
    return Message(body=body, **header)


def _fields(name: str, version: int) -> dict[str, Any]:
    return {
        field: rule for field, rule in _KINDS[name][1].items() if version >= _FIELDS_SINCE.get(field, OLDEST)
    }


def _value(name: str, field: str, word: object, rule: Any) -> Any:
    if rule is bool:
        if isinstance(word, bool):
            return word
    elif isinstance(rule, type) and issubclass(rule, IntEnum):
        found = [member for member in rule if _word(member) == word]
        if found:
            return found[0]
        raise NoMessageError(f"{name}: {field} must be one of {', '.join(map(_word, rule))}")
    elif isinstance(rule, int):
        if isinstance(word, str) and len(word) <= rule and is_plain(word):
            return word
        raise NoMessageError(f"{name}: {field} must be text of at most {rule} printable ASCII characters")
    elif isinstance(word, int) and not isinstance(word, bool):
        lowest, highest = _RANGES.get(rule, _NUMBER)
        if lowest <= word <= highest:
            return word
    raise NoMessageError(f"{name}: {field} is not what it must be")


def _word(member: IntEnum) -> str:
    return member.name.lower().replace("_", "-")
