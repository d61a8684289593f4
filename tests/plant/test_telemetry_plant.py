"""A whole station that sends: killed in the middle, every part is at the subscriber, and the words fit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from station.telemetry.schema import schema_text
from tests.broker import Broker
from tests.station.telemetry.conftest import TOPIC, Subscriber, until

SCHEMAS = {
    "records": "record-1", "events": "event-1", "station": "presence-1", "state": "state-1",
    "gauges": "gauges-1",
}  # fmt: skip


def test_a_station_that_is_killed_in_the_middle_sends_every_part(small_plant: Any, tmp_path: Path) -> None:
    pytest.importorskip("paho")
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    broker.start()
    dashboard = Subscriber(broker, "dashboard")
    config = small_plant.folder / "station.yaml"
    telemetry = {"host": "127.0.0.1", "port": broker.port, "topic": TOPIC, "gauges_s": 0.3, "replay_s": 1.0}
    config.write_text(f"{config.read_text()}telemetry: {json.dumps(telemetry)}\n")
    cell = small_plant.start_cell(parts=40, rate_hz=20.0)
    station = small_plant.start_station()
    until(lambda: len(dashboard.numbers()) > 5, 60)
    os.kill(station.pid, signal.SIGKILL)
    station.wait()
    station = small_plant.start_station()
    cell.wait(60)
    until(lambda: dashboard.of("gauges") and dashboard.of("gauges")[-1]["parts"]["triggers"] > 0, 30)
    live = small_plant.station_command("telemetry", "status", "--config", str(config), "--json")
    assert json.loads(live.stdout)["live"]["connected"] is True
    assert "telemetry" in small_plant.station_command("status", "--config", str(config)).stdout
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    records = small_plant.records()
    until(lambda: set(dashboard.numbers()) == {one["record_id"] for one in records.values()})
    fresh = dashboard.numbers(repeats=False)
    assert fresh == sorted(set(fresh))
    for one in dashboard.of("records"):
        assert one["record"]["outcome"] == records[one["record"]["part_id"]]["outcome"]
    for message in dashboard.messages:
        jsonschema.validate(message.words, json.loads(schema_text(SCHEMAS[message.topic])))
    assert {message.topic for message in dashboard.messages} == set(SCHEMAS)
    assert dashboard.of("station")[-1]["online"] is False
    from_disk = small_plant.station_command("telemetry", "status", "--config", str(config))
    assert from_disk.returncode == 0, from_disk.stdout
    assert "no station runs" in from_disk.stdout
    assert "broker" in from_disk.stdout
    dashboard.close()
    broker.kill()
