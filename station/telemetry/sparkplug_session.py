"""The session of a node of Sparkplug B: topics, bdSeq, seq, and whether the primary host is there. No I/O.

Source: Eclipse Sparkplug Specification 3.0.0, sections 4 and 5.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.mqtt import Will
from station.telemetry.sparkplug_metrics import BD_SEQ, REBIRTH
from station.telemetry.sparkplug_payload import Datatype, Metric, NoPayloadError, Payload, decode, encode
from station.telemetry.sparkplug_settings import STATE, Sparkplug

NAMESPACE = "spBv1.0"
NUMBERS = 256
"""``seq`` and ``bdSeq`` run from 0 to 255."""

Message = tuple[str, bytes]
"""Topic and payload."""


class NodeSession:
    """Makes the messages of one node; each message has the number that follows the one before."""

    def __init__(self, settings: Sparkplug) -> None:
        self._settings = settings
        self._seq = -1
        self._bd_seq = -1

    def topic(self, verb: str, *, device: bool = False) -> str:
        """Where the messages of a kind are."""
        end = f"/{self._settings.device}" if device else ""
        return f"{NAMESPACE}/{self._settings.group}/{verb}/{self._settings.node}{end}"

    def connects(self, at: int) -> Will:
        """The last will of the next attempt to connect, with the next bdSeq. ``at``: ms since 1970."""
        self._bd_seq = (self._bd_seq + 1) % NUMBERS
        return Will(*self.death(at), retain=False)

    def death(self, at: int) -> Message:
        """NDEATH, which has no number and nothing but bdSeq."""
        return self.topic("NDEATH"), encode(Payload(at, (self._bd(None),)))

    def birth(self, metrics: Sequence[Metric], at: int) -> Message:
        """NBIRTH, with which the numbers begin again."""
        self._seq = 0
        rebirth = Metric(REBIRTH, Datatype.BOOLEAN, False, at)
        return self.topic("NBIRTH"), encode(Payload(at, (self._bd(at), rebirth, *metrics), 0))

    def data(self, metrics: Sequence[Metric], at: int) -> Message:
        """NDATA: what has changed of the station."""
        return self.topic("NDATA"), self._numbered(metrics, at)

    def device_birth(self, metrics: Sequence[Metric], at: int) -> Message:
        """DBIRTH: all that there is of the line."""
        return self.topic("DBIRTH", device=True), self._numbered(metrics, at)

    def device_data(self, metrics: Sequence[Metric], at: int) -> Message:
        """DDATA: what has changed of the line, or a record."""
        return self.topic("DDATA", device=True), self._numbered(metrics, at)

    def device_death(self, at: int) -> Message:
        """DDEATH: the values of the line are old from now on."""
        return self.topic("DDEATH", device=True), self._numbered((), at)

    def _bd(self, at: int | None) -> Metric:
        return Metric(BD_SEQ, Datatype.INT64, self._bd_seq, at)

    def _numbered(self, metrics: Sequence[Metric], at: int) -> bytes:
        self._seq = (self._seq + 1) % NUMBERS
        return encode(Payload(at, tuple(metrics), self._seq))


def asks_for_rebirth(payload: bytes) -> bool:
    """Whether an NCMD asks for the births. Raises :class:`NoPayloadError`."""
    return any(one.name == REBIRTH and one.value is True for one in decode(payload).metrics)


@dataclass(slots=True)
class PrimaryHost:
    """The host for which the node waits, by what it says of itself."""

    name: str
    online: bool = False
    _at: int = -1
    """The time of its newest word, milliseconds since 1970."""

    @property
    def topic(self) -> str:
        """Where it says whether it is there."""
        return f"{NAMESPACE}/{STATE}/{self.name}"

    def said(self, payload: bytes) -> None:
        """Take its word. Raises :class:`NoPayloadError` for one that does not count; the text says why."""
        try:
            words = json.loads(payload.decode("utf-8"))
            online, at = words["online"], words["timestamp"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NoPayloadError("it is no JSON with online and timestamp, as in Sparkplug 3.0") from None
        if not isinstance(online, bool) or not isinstance(at, int) or isinstance(at, bool):
            raise NoPayloadError("online must be true or false, and timestamp a number of milliseconds")
        if not 0 <= at < 1 << 53:
            raise NoPayloadError("timestamp is no number of milliseconds since 1970")
        if at < self._at:
            raise NoPayloadError(
                f"it is {(self._at - at) / 1000:.0f} s older than the host's word before; "
                "if the host's clock was set back, start the station again"
            )
        self.online, self._at = online, at
