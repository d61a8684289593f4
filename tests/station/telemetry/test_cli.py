"""``station telemetry``: who holds what, read from the disk; and the schemas."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from station.cli import app
from station.telemetry.schema import NAMES, TelemetryError
from tests.station.telemetry.conftest import Bench
from tests.station.telemetry.test_settings import load
from tests.waiting import wait_for


def test_status_names_every_consumer_what_it_holds_and_cursors_that_were_left_behind(bench: Bench) -> None:
    consumer = bench.subscriber("client", "records")
    sender = bench.sender(receipts="required", consumers=("historian", "old"))
    bench.parts(10)
    wait_for(lambda: len(consumer.numbers()) == 10)

    def is_heard() -> bool:
        consumer.holds("historian", bench.journal_id, 7)  # again and again, as a consumer does
        time.sleep(0.1)
        return {one.waiting for one in sender.status().lags if one.holder == "historian"} == {3, 1}

    wait_for(is_heard)
    sender.close()
    port = {"host": "127.0.0.1", "port": bench.broker.port}
    load(bench.folder, port | {"receipts": "required", "consumers": ["historian"]}, paths={
        "recipes": "recipes", "engines": "engines", "journal": "journal.db", "images": "images",
        "cache": "cache",
    })  # fmt: skip
    config = str(bench.folder / "station.yaml")
    found = CliRunner().invoke(app, ["telemetry", "status", "--config", config, "--json"])
    assert found.exit_code == 1
    rows = json.loads(found.output)["consumers"]
    assert [(one["consumer"], one["held"], one["waiting"]) for one in rows if one["stream"] == "records"] == [
        ("historian", 7, 3),
        ("old", 0, 10),
    ]
    assert "station journal cursors --delete telemetry-records-old" in rows[1]["note"]
    shown = CliRunner().invoke(app, ["telemetry", "status", "--config", config])
    assert "no station runs with this configuration" in shown.output


def test_status_without_a_section_says_so(tmp_path: Path) -> None:
    load(tmp_path, {})
    document = json.loads((tmp_path / "station.yaml").read_text())
    del document["telemetry"]
    (tmp_path / "station.yaml").write_text(json.dumps(document))
    found = CliRunner().invoke(app, ["telemetry", "status", "--config", str(tmp_path / "station.yaml")])
    assert isinstance(found.exception, TelemetryError)
    assert "has no section `telemetry`" in str(found.exception)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_printed(name: str) -> None:
    assert name in CliRunner().invoke(app, ["telemetry", "schema"]).output.split()
    document = json.loads(CliRunner().invoke(app, ["telemetry", "schema", name]).output)
    assert document["$id"] == f"urn:inspection-station:{name}"


def test_check_says_whether_the_broker_answers(bench: Bench) -> None:
    from drivers.mqtt import BrokerError
    from station.cli.check import _telemetry

    assert "answers; plant/station-4; delivered when the broker" in _telemetry(bench.settings())
    with pytest.raises(BrokerError, match="cannot be reached"):
        _telemetry(bench.settings(port=1))
