"""The same messages as lines of text, for a cell without bit operations (docs/serial-protocol.md, section 9).

Pure. A line is ``:TYPE;version;sender;receiver;number;fields;text*checksum``, all numbers decimal, ended by
CR LF. The checksum needs only addition and the remainder of a division (after Fletcher, "An Arithmetic
Checksum for Serial Transmissions", 1982).
"""

from __future__ import annotations

from typing import Final

from drivers.sorters.messages import OLDEST, VERSION, Message, TriggerBody, first_version, is_plain
from drivers.sorters.serial.frames import LOT, FrameError, Type, body_of, check_version, fields_of

MODULUS: Final = 9973
"""The largest prime of four digits."""
_START, _CHECK = ":", "*"
_LONGEST: Final = 160
_HEADER: Final = 5
"""Fields before those of the body: type, version, sender, receiver, number."""


def checksum(text: str) -> str:
    """Eight digits: the sum of the characters' codes, and the sum of these sums, each modulo 9973."""
    first, second = 1, 0
    for character in text:
        first = (first + ord(character)) % MODULUS
        second = (second + first) % MODULUS
    return f"{first:04}{second:04}"


def encode(message: Message) -> bytes:
    """The line of ``message``. Raises :class:`FrameError` for a field outside its range."""
    kind, numbers, text = fields_of(message.body)
    check_version(message)
    try:
        if isinstance(message.body, TriggerBody) and LOT in message.body.recipe:
            raise ValueError(f"a recipe has no {LOT}")
        body_of(kind, numbers, text)
    except ValueError as error:
        raise FrameError(f"{kind.name} cannot be sent: {error}") from None
    header = (message.version, message.sender, message.receiver, message.sequence)
    content = ";".join([kind.name, *map(str, header), *map(str, numbers), text])
    return f"{_START}{content}{_CHECK}{checksum(content)}\r\n".encode("ascii")


class Decoder:
    """Bytes in pieces of any size to messages; whatever is no intact line is counted and dropped."""

    def __init__(self, newest: int = VERSION) -> None:
        """``newest``: lines of later versions are not read."""
        self._newest = newest
        self.garbled = 0
        """Lines that cannot be used: cut short, wrong checksum, unknown type or value."""
        self.noise = 0
        """Bytes between lines."""
        self.other_version: int | None = None
        """The version of the last intact line that cannot be read; the reader resets it."""
        self._line: bytearray | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes."""
        messages: list[Message] = []
        for byte in data:
            line = self._line
            if byte in b"\r\n":
                self._line = None
                message = self._parse(line) if line is not None else None
                if message is not None:
                    messages.append(message)
                elif line is not None:
                    self.garbled += 1
            elif line is None:
                if byte == ord(_START):
                    self._line = bytearray()
                else:
                    self.noise += 1
            elif len(line) >= _LONGEST:
                self.garbled += 1
                self._line = None
            else:
                line.append(byte)
        return messages

    def _parse(self, line: bytearray) -> Message | None:
        try:
            content, _, check = line.decode("ascii").rpartition(_CHECK)
        except UnicodeDecodeError:
            return None
        if not is_plain(content) or check != checksum(content):
            return None
        words = content.split(";")
        try:
            kind = Type[words[0]]
            version, sender, receiver, sequence = (_number(word) for word in words[1:_HEADER])
            if not OLDEST <= version <= self._newest:
                self.other_version = version
                return None
            count = _COUNTS[kind]
            numbers = [_number(word) for word in words[_HEADER : _HEADER + count]]
            if len(words) <= _HEADER + count:
                return None
            body = body_of(kind, numbers, ";".join(words[_HEADER + count :]))
            if version < first_version(body):
                return None
        except (KeyError, ValueError):
            return None
        if max(sender, receiver) > 0xFFFF or sequence > 0xFFFF_FFFF:
            return None
        return Message(sender, receiver, sequence, body, version)


def _number(word: str) -> int:
    """A decimal number as :func:`encode` writes it. Raises :class:`ValueError`."""
    if not (word.isdigit() and str(int(word)) == word):
        raise ValueError(word)
    return int(word)


_COUNTS: Final[dict[Type, int]] = {
    Type.HELLO: 1,
    Type.HEARTBEAT: 2,
    Type.TRIGGER: 1,
    Type.TRIGGER_ACK: 2,
    Type.TRIGGER_REFUSED: 3,
    Type.ACQUISITION_DONE: 2,
    Type.JOB_CHANGE: 0,
    Type.JOB_ANSWER: 2,
    Type.RESULT: 5,
    Type.RESULT_ACK: 4,
    Type.FAULT: 1,
}
"""The numbers of a body, which the text follows."""
