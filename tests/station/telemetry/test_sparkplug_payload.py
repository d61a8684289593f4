"""Payloads of Sparkplug B: Eclipse Tahu reads ours, we read its own, and nonsense is an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station.telemetry.sparkplug_payload import Datatype, Metric, NoPayloadError, Payload, decode, encode
from tests.station.telemetry.sparkplug_readers import Tahu

TIMES = st.integers(0, 2**53 - 1)
VALUES = {
    Datatype.INT32: st.integers(-(2**31), 2**31 - 1),
    Datatype.INT64: st.integers(-(2**63), 2**63 - 1),
    Datatype.UINT64: st.integers(0, 2**64 - 1),
    Datatype.DOUBLE: st.floats(allow_nan=False),
    Datatype.BOOLEAN: st.booleans(),
    Datatype.STRING: st.text(st.characters(codec="utf-8"), max_size=20),
    Datatype.DATETIME: TIMES,
}
NAMES = {
    Datatype.INT32: "Int32",
    Datatype.INT64: "Int64",
    Datatype.UINT64: "UInt64",
    Datatype.DOUBLE: "Double",
    Datatype.BOOLEAN: "Boolean",
    Datatype.STRING: "String",
    Datatype.DATETIME: "DateTime",
}


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    kind = draw(st.sampled_from(list(VALUES)))
    return Metric(
        name=draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)),
        datatype=kind,
        value=draw(st.none() | VALUES[kind]),
        timestamp=draw(st.none() | TIMES),
        is_historical=draw(st.booleans()),
        unit=draw(st.sampled_from(["", "ms", "°C"])),
    )


PAYLOADS = st.builds(
    Payload,
    timestamp=st.none() | TIMES,
    metrics=st.lists(metrics(), max_size=6).map(tuple),
    seq=st.none() | st.integers(0, 255),
)


@pytest.fixture(scope="module")
def tahu() -> Iterator[Tahu]:
    made = Tahu()
    yield made
    made.close()


def number(found: Any) -> Any:
    """As the script writes numbers that JSON or its language cannot hold."""
    if isinstance(found, dict):
        return float(found["double"].replace("Infinity", "inf"))
    return int(found)


@given(PAYLOADS)
def test_a_payload_is_read_as_it_was_written(payload: Payload) -> None:
    assert decode(encode(payload)) == payload


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PAYLOADS)
def test_eclipse_tahu_reads_what_is_written(tahu: Tahu, payload: Payload) -> None:
    found = tahu.read(encode(payload))
    assert (found.get("timestamp") is None) == (payload.timestamp is None)
    assert payload.timestamp is None or number(found["timestamp"]) == payload.timestamp
    assert (int(found["seq"]) if "seq" in found else None) == payload.seq
    assert len(found.get("metrics", [])) == len(payload.metrics)
    for read, metric in zip(found.get("metrics", []), payload.metrics, strict=True):
        assert metric.datatype is not None
        assert (read["name"], read["type"]) == (metric.name, NAMES[metric.datatype])
        value = read["value"]
        if metric.datatype not in (Datatype.STRING, Datatype.BOOLEAN) and value is not None:
            value = number(value) if metric.datatype is not Datatype.DOUBLE else float(number(value))
        if metric.datatype is Datatype.INT64 and value is not None and value >= 2**63:
            value -= 2**64  # this reader gives the 64 bits of a number below zero without their sign
        assert value == metric.value
        assert read.get("isHistorical", False) is metric.is_historical
        unit = read.get("properties", {}).get("engUnit", {"type": "String", "value": ""})
        assert unit == {"type": "String", "value": metric.unit}


def test_a_command_of_eclipse_tahu_is_read(tahu: Tahu) -> None:
    command = {
        "timestamp": 1_900_000_000_000,
        "metrics": [
            {"name": "Node Control/Rebirth", "type": "Boolean", "value": True, "timestamp": 7},
            {"name": "a", "type": "Float", "value": 1.5},
            {"name": "b", "type": "Int32", "value": -5},
        ],
    }
    found = decode(tahu.write(command))
    assert found.timestamp == 1_900_000_000_000
    assert found.metrics == (
        Metric("Node Control/Rebirth", Datatype.BOOLEAN, True, 7),
        Metric("a", None, None),
        Metric("b", Datatype.INT32, -5),
    )


@given(st.binary(max_size=60))
def test_bytes_of_a_stranger_are_a_payload_or_no_payload_and_nothing_else(data: bytes) -> None:
    with suppress(NoPayloadError):
        decode(data)


@given(PAYLOADS, st.integers(0, 200))
def test_a_payload_that_is_cut_off_ends_in_no_other_error(payload: Payload, end: int) -> None:
    with suppress(NoPayloadError):
        decode(encode(payload)[:end])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80", "in the middle of a number"),
        (b"\xff" * 12, "in the middle of a number"),
        (b"\x12\x05a", "in the middle of a field"),
        (b"\x12\x03\x0a\x01\xff", "a text that is not UTF-8"),
        (b"\x0a\x01a", "bytes where a number belongs"),
        (b"\x10\x01", "a number where bytes belong"),
        (b"\x0b", "wire type 3"),
        (b"ONLINE", "wire type 7"),
    ],
)
def test_what_is_no_payload_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(NoPayloadError, match=said):
        decode(data)


def test_a_value_of_another_type_is_never_written() -> None:
    with pytest.raises(TypeError, match="metric Yield"):
        encode(Payload(0, (Metric("Yield", Datatype.DOUBLE, "much"),)))
