"""A PLC that reads and writes the station's registers: a client by Modbus or OPC UA."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from drivers.sorters.messages import Fault, Heartbeat, Hello, JobBody, Message, ResultAck, TriggerBody
from drivers.sorters.registers import END, SIZE, Bit, Cell, Station, Status, decode, encode

_AGAIN_NS = 100_000_000
"""A result that still stands after this time was not acknowledged."""
_PLACES = {
    Hello: Cell.HELLO, Heartbeat: Cell.HEARTBEAT, TriggerBody: Cell.TRIGGER,
    ResultAck: Cell.RESULT_ACK, JobBody: Cell.JOB_CHANGE, Fault: Cell.FAULT,
}  # fmt: skip


class Peer(ABC):
    """One connection; a lost one is thrown away, and a new one made."""

    def __init__(self) -> None:
        self._seen: dict[Station, tuple[list[int], int]] = {}

    @abstractmethod
    def connect(self) -> bool:
        """Whether the station answers."""

    @abstractmethod
    def words(self) -> list[int]:
        """The station's registers. Raises OSError when the connection is lost."""

    @abstractmethod
    def write(self, place: Cell, box: list[int]) -> None:
        """Write a mailbox. Raises OSError when the connection is lost."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection. Never raises."""

    def say(self, message: Message) -> None:
        """Write a message. Raises OSError when the connection is lost."""
        self.write(_PLACES[type(message.body)], encode(message))

    def news(self, now_ns: int) -> list[Message]:
        """What is new of the station, and a result that waits. Raises OSError when the line is lost."""
        words = self.words()
        bits = Bit(words[Status.BITS])
        if bits & Bit.OK and bits & Bit.NG:
            raise AssertionError("a result is OK and NG")
        found: list[Message] = []
        for place in Station:
            box = words[place : place + SIZE]
            before, at_ns = self._seen.get(place, ([], 0))
            known = box == before
            if place is Station.RESULT:
                known = not bits & Bit.RESULT_VALID or (known and now_ns - at_ns < _AGAIN_NS)
            message = None if known else decode(box)
            if message is not None:
                self._seen[place] = (box, now_ns)
                found.append(message)
        return found


class ModbusPeer(Peer):
    """pymodbus's client, by TCP or RTU."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._client = client

    def connect(self) -> bool:
        """Whether the station answers."""
        return bool(self._client.connect())

    def words(self) -> list[int]:
        """Four requests: one may read at most 125 registers."""
        words: list[int] = []
        for at in range(0, 400, 100):
            words += self._asked(self._client.read_holding_registers, at, count=100).registers
        return words

    def write(self, place: Cell, box: list[int]) -> None:
        """One request."""
        self._asked(self._client.write_registers, int(place), box)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _asked(self, call: Any, *words: Any, **more: Any) -> Any:
        from pymodbus.exceptions import ModbusException

        try:
            answer = call(*words, device_id=1, **more)
        except ModbusException as error:
            raise OSError(str(error)) from None
        if answer.isError():
            raise OSError(str(answer))
        return answer


class OpcUaPeer(Peer):
    """asyncua's client."""

    def __init__(self, url: str) -> None:
        from asyncua.sync import Client

        super().__init__()
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        self._client = Client(url, timeout=2)
        self._nodes: dict[str, Any] = {}
        self._own = 0

    def connect(self) -> bool:
        """Whether the station answers."""
        try:
            self._client.connect()
        except (OSError, TimeoutError):
            self._client.tloop.stop()
            return False
        self._own = self._client.get_namespace_index("urn:inspection-station")
        return True

    def words(self) -> list[int]:
        """One request for all."""
        words = [0] * END
        nodes = [self._node("Bits"), *(self._node(f"ToCell/{_camel(place.name)}") for place in Station)]
        words[Status.BITS], *boxes = self._asked(self._client.read_values, nodes)
        for place, box in zip(Station, boxes, strict=True):
            words[place : place + SIZE] = box
        return words

    def write(self, place: Cell, box: list[int]) -> None:
        """One value."""
        from asyncua import ua

        node = self._node(f"ToStation/{_camel(place.name)}")
        self._asked(node.write_value, ua.Variant(box, ua.VariantType.UInt16))

    def close(self) -> None:
        """Disconnect."""
        from asyncua.ua.uaerrors import UaError

        with suppress(OSError, TimeoutError, UaError):
            self._client.disconnect()

    def _asked(self, call: Any, *words: Any) -> Any:
        from asyncua.ua.uaerrors import UaError

        try:
            return call(*words)
        except (UaError, TimeoutError) as error:
            raise OSError(str(error)) from None

    def _node(self, name: str) -> Any:
        if name not in self._nodes:
            self._nodes[name] = self._client.get_node(f"ns={self._own};s=VisionSystem/Handshake/{name}")
        return self._nodes[name]


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
