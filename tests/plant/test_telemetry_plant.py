"""A whole station that sends: killed in the middle, every part is at the subscriber, and the words fit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from simulation.broker import Broker
from station.cli import app
from station.config import load_config
from station.control import ask
from station.fleet.manifest import StationManifest, read_manifest
from station.journal.reading import JournalReader
from station.signing import own_key
from station.telemetry.schema import schema_text
from tests.station.telemetry.conftest import TOPIC, Subscriber
from tests.waiting import wait_for

SCHEMAS = {
    "records": "record-1", "events": "event-1", "station": "presence-1", "state": "state-1",
    "engines": "engines-1", "gauges": "gauges-1",
}  # fmt: skip


def last_manifest(config: Path) -> StationManifest:
    """What the station wrote for its plant when it ended."""
    loaded = load_config(config)
    name, key = loaded.station.name, own_key(loaded.paths.key).public
    (file,) = (config.parent / "fleet").iterdir()
    return read_manifest(file.read_bytes(), name, {name: key})


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_station_sends_every_part_also_when_it_is_killed_in_the_middle(
    small_plant: Any, tmp_path: Path, killed: bool
) -> None:
    pytest.importorskip("paho")
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    broker.start()
    dashboard = Subscriber(broker, "dashboard")
    config = small_plant.folder / "station.yaml"
    telemetry = {
        "host": "127.0.0.1", "port": broker.port, "topic": TOPIC, "gauges_s": 0.3, "replay_s": 1.0,
        "sparkplug": {"group": "plant", "node": "station-4"},
    }  # fmt: skip
    fleet = {"folder": str(tmp_path / "fleet"), "every_s": 1.0}
    config.write_text(f"{config.read_text()}telemetry: {json.dumps(telemetry)}\nfleet: {json.dumps(fleet)}\n")
    cell = small_plant.start_cell(parts=40, rate_hz=20.0)
    station = small_plant.start_station()
    wait_for(lambda: len(dashboard.numbers()) > 5, 60)
    if killed:
        os.kill(station.pid, signal.SIGKILL)
        station.wait()
        station = small_plant.start_station()
    cell.wait(60)
    wait_for(lambda: dashboard.of("gauges") and dashboard.of("gauges")[-1]["parts"]["triggers"] > 0, 30)
    live = ask(small_plant.journal.with_suffix(".sock"), "GET", "/status")["telemetry"]
    assert live["connected"] is True
    assert (live["sparkplug"]["born"], live["sparkplug"]["problem"]) == (True, "")
    shown = CliRunner().invoke(app, ["telemetry", "status", "--config", str(config)]).output
    assert "Sparkplug B spBv1.0/plant/NBIRTH/station-4: connected, its births are sent" in shown
    shown = CliRunner().invoke(app, ["status", "--config", str(config)]).output
    assert "Sparkplug B" in shown
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    with JournalReader(small_plant.journal) as reader:
        records = {one.record_id: one for one in reader.records(scores=False)}
        said = last_manifest(config)
        assert reader.digest(said.head.seq) == said.head.digest
        assert said.parts.triggers > 0
        assert len(said.heads) > 1, "the end of the run names what was written before"
    wait_for(lambda: set(dashboard.numbers()) == set(records))
    fresh = dashboard.numbers(repeats=False)
    assert fresh == sorted(set(fresh))
    for one in dashboard.of("records"):
        assert one["record"]["outcome"] == records[one["number"]].outcome
    for message in dashboard.messages:
        jsonschema.validate(message.words, json.loads(schema_text(SCHEMAS[message.topic])))
    assert {message.topic for message in dashboard.messages} == set(SCHEMAS)
    assert dashboard.of("station")[-1]["online"] is False
    ended = CliRunner().invoke(app, ["telemetry", "status", "--config", str(config)])
    assert ended.exit_code == 0, ended.output
    assert "no station runs" in ended.output
    assert "sparkplug" in ended.output
    dashboard.close()
    broker.kill()
