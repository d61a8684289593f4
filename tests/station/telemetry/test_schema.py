"""The check of our own finds what `jsonschema` finds, and the schemas cover what the journal holds."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.bench.journal import RECIPE, finished_parts
from station.journal import Journal
from station.journal.following import JournalFollower
from station.journal.record import COLUMNS
from station.telemetry import messages
from station.telemetry.messages import NoReceiptError, Sender, read_receipt
from station.telemetry.schema import NAMES, SchemaError, problems, schema_text
from station.telemetry.streams import RecordStream

MOMENT = "2031-03-01T06:00:00.000001Z"
EXAMPLES: dict[str, dict[str, Any]] = {
    "event-1": {
        "schema": "event/1", "station": "s", "journal": "j", "number": 5, "previous": 2, "repeat": False,
        "sent_at": MOMENT, "event": {"kind": "halt", "at": MOMENT, "record": None, "values": {"reason": "x"}},
    },
    "gone-1": {
        "schema": "gone/1", "station": "s", "journal": "j", "stream": "records", "first": 1, "last": 4,
        "sent_at": MOMENT,
    },
    "receipt-1": {
        "schema": "receipt/1", "journal": "j", "stream": "records", "held": 3, "missing": [4, None],
    },
    "presence-1": {
        "schema": "presence/1", "station": "s", "online": True, "session": "1", "software_version": "0",
        "journal": "j", "receipts": "required", "consumers": ["historian"], "is_simulated": False,
    },
}  # fmt: skip
SPOILED = [None, True, 0, -1, 1.5, "", "x" * 99, [], {}, [1], {"more": 1}, "2031-03-01"]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    with Journal(path, station="station 4") as journal:
        parts: Any = finished_parts(1)
        journal.write_finished(parts, recipe=RECIPE, mode="cell", is_simulated=True)  # type: ignore[arg-type]
        with JournalFollower(path) as reader:
            (found,) = RecordStream(reader).read(0, 1)
    payload = messages.numbered(Sender("station 4", "j"), "records", found, repeat=False)
    return dict(json.loads(payload))


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_one(name: str) -> None:
    document = json.loads(schema_text(name))
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$id"].endswith(name)


def test_a_record_has_every_column_of_the_journal_but_its_numbers_there(record: dict[str, Any]) -> None:
    assert set(record["record"]) == set(COLUMNS) - {"record_id", "verdict_seq"}
    jsonschema.validate(record, json.loads(schema_text("record-1")))


def test_times_and_lengths_say_their_unit() -> None:
    fields = json.loads(schema_text("record-1"))["properties"]["record"]["properties"]
    for name, words in fields.items():
        ending = name.rpartition("_")[2]
        if ending in ("ms", "us"):
            assert words["unit"] == ending
        if name.startswith("region_"):
            assert words["unit"] == "px"


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(one for key, word in below for one in places(word, (*at, key)))]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_check_of_our_own_agrees_with_jsonschema(record: dict[str, Any], data: st.DataObject) -> None:
    examples = EXAMPLES | {"record-1": record}
    name = data.draw(st.sampled_from(sorted(examples)))
    spoiled = copy.deepcopy(examples[name])
    place = data.draw(st.sampled_from([one for one in places(spoiled) if one]))
    target = spoiled
    for key in place[:-1]:
        target = target[key]
    if data.draw(st.booleans()) and isinstance(target, dict):
        del target[place[-1]]
    else:
        target[place[-1]] = data.draw(st.sampled_from(SPOILED))
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(name)))
    assert bool(problems(name, spoiled)) is not validator.is_valid(spoiled), (name, place, spoiled)


def test_a_message_that_does_not_fit_never_leaves() -> None:
    with pytest.raises(SchemaError, match="held"):
        messages.encoded("receipt-1", {"journal": "j", "stream": "records", "held": -1, "missing": None})
    with pytest.raises(SchemaError, match="nan"):
        messages.encoded("record-1", {"record": {"confidence": float("nan")}})


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_receipt_and_no_error_of_another_kind(payload: bytes) -> None:
    with pytest.raises(NoReceiptError):
        read_receipt(payload, "j")
