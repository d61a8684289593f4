"""The payload of Sparkplug B 3.0: protocol buffers, of which this station needs a few fields.

Source: Eclipse Sparkplug Specification 3.0.0, section 6 and ``sparkplug_b.proto``. Written: timestamp, seq,
and metrics of seven datatypes with the property ``engUnit``. Read: the same; other fields are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

Value = int | float | bool | str | None
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""
MASK = (1 << 64) - 1
UNIT = "engUnit"
"""The name of the property that holds a metric's unit; hosts know it by this name."""


class Datatype(IntEnum):
    """Those that are used here, by their numbers in the specification."""

    INT32 = 3
    INT64 = 4
    UINT64 = 8
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    """Milliseconds since 1970, UTC."""


_TYPES = {one.value: one for one in Datatype}
_LONG = frozenset({Datatype.INT64, Datatype.UINT64, Datatype.DATETIME})


class NoPayloadError(ValueError):
    """What arrived is no payload of Sparkplug B; the text says why."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One named value; None is written as null."""

    name: str
    datatype: Datatype | None
    """None: one that is not used here; its value is not read."""
    value: Value
    timestamp: int | None = None
    """When the value was taken: milliseconds since 1970, UTC."""
    is_historical: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """One message."""

    timestamp: int | None
    metrics: tuple[Metric, ...]
    seq: int | None = None
    """0 to 255; None in NDEATH and in commands."""


def encode(payload: Payload) -> bytes:
    """The bytes of a payload."""
    written = bytearray()
    if payload.timestamp is not None:
        written += _number(1, payload.timestamp)
    for metric in payload.metrics:
        written += _block(2, _metric(metric))
    if payload.seq is not None:
        written += _number(3, payload.seq)
    return bytes(written)


def decode(data: bytes) -> Payload:
    """Read a payload. Raises :class:`NoPayloadError`."""
    timestamp: int | None = None
    seq: int | None = None
    metrics: list[Metric] = []
    for field, value in _fields(data):
        if field == 1:
            timestamp = _as_int(value)
        elif field == 2:
            metrics.append(_read_metric(_as_bytes(value)))
        elif field == 3:
            seq = _as_int(value)
    return Payload(timestamp, tuple(metrics), seq)


# ---------------------------------------------------------------------- writing


def _metric(metric: Metric) -> bytes:
    written = bytearray(_text(1, metric.name))
    if metric.timestamp is not None:
        written += _number(3, metric.timestamp)
    if metric.datatype is not None:
        written += _number(4, metric.datatype)
    if metric.is_historical:
        written += _number(5, 1)
    if metric.value is None:
        written += _number(7, 1)
    if metric.unit:
        unit = _number(1, Datatype.STRING) + _text(8, metric.unit)
        written += _block(9, _text(1, UNIT) + _block(2, unit))
    if metric.value is not None:
        written += _value(metric)
    return bytes(written)


def _value(metric: Metric) -> bytes:
    kind, value = metric.datatype, metric.value
    if kind is Datatype.STRING and isinstance(value, str):
        return _text(15, value)
    if kind is Datatype.BOOLEAN and isinstance(value, bool):
        return _number(14, value)
    if kind is Datatype.DOUBLE and isinstance(value, int | float):
        return _varint(13 << 3 | FIXED64) + struct.pack("<d", value)
    if kind is Datatype.INT32 and isinstance(value, int):
        return _number(10, value & 0xFFFF_FFFF)
    if kind in _LONG and isinstance(value, int):
        return _number(11, value)
    raise TypeError(f"metric {metric.name}: {value!r} is no {kind!r}")


def _varint(value: int) -> bytes:
    """A number below 2**64; a negative one as its two's complement."""
    value &= MASK
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _block(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _block(field, text.encode("utf-8", "replace"))


# ---------------------------------------------------------------------- reading


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and raw value, one by one: a number, or bytes."""
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _read_varint(data, place)
            yield field, value
            continue
        if wire == BYTES:
            size, place = _read_varint(data, place)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise NoPayloadError(f"it has a field of wire type {wire}, which does not exist any more")
        if place + size > len(data):
            raise NoPayloadError("it ends in the middle of a field")
        yield field, data[place : place + size]
        place += size


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value & MASK, place
    raise NoPayloadError("it ends in the middle of a number")


def _as_int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise NoPayloadError("it has bytes where a number belongs")
    return value


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise NoPayloadError("it has a number where bytes belong")
    return value


def _as_text(value: int | bytes) -> str:
    try:
        return _as_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise NoPayloadError("it has a text that is not UTF-8") from None


def _read_metric(data: bytes) -> Metric:
    found = dict(_fields(data))
    kind = _TYPES.get(_as_int(found.get(4, 0)))
    timestamp = _as_int(found[3]) if 3 in found else None
    is_null = bool(_as_int(found.get(7, 0)))
    return Metric(
        name=_as_text(found.get(1, b"")),
        datatype=kind,
        value=None if is_null or kind is None else _read_value(kind, found),
        timestamp=timestamp,
        is_historical=bool(_as_int(found.get(5, 0))),
        unit=_read_unit(_as_bytes(found.get(9, b""))),
    )


def _read_value(kind: Datatype, found: dict[int, int | bytes]) -> Value:
    if kind is Datatype.STRING:
        return _as_text(found.get(15, b""))
    if kind is Datatype.BOOLEAN:
        return bool(_as_int(found.get(14, 0)))
    if kind is Datatype.DOUBLE:
        raw = _as_bytes(found.get(13, bytes(8)))
        if len(raw) != 8:
            raise NoPayloadError("it has a double that is not 8 bytes long")
        return float(struct.unpack("<d", raw)[0])
    value = _as_int(found.get(10 if kind is Datatype.INT32 else 11, 0))
    if kind is Datatype.INT32:
        value &= 0xFFFF_FFFF
        return value - (1 << 32) if value >= 1 << 31 else value
    return value - (1 << 64) if kind is Datatype.INT64 and value >= 1 << 63 else value


def _read_unit(properties: bytes) -> str:
    keys = [_as_text(value) for field, value in _fields(properties) if field == 1]
    values = [dict(_fields(_as_bytes(value))) for field, value in _fields(properties) if field == 2]
    found = next((one for key, one in zip(keys, values, strict=False) if key == UNIT), {})
    return _as_text(found.get(8, b""))
