"""A run time that goes wrong while the station runs: it says *good* to everything from a moment on."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from station.control import ControlError, ask
from tests.waiting import wait_for

BLIND = """
import sys
from pathlib import Path
from station.quiet import switch_off
switch_off()
import numpy, onnxruntime

run = onnxruntime.InferenceSession.run

def blind(self, outputs, inputs, options=None):
    values = run(self, outputs, inputs, options)
    if Path({file!r}).exists():
        values[0] = numpy.tile(numpy.array([1, 0, 0], numpy.float32), (len(values[0]), 1))
    return values

onnxruntime.InferenceSession.run = blind
from station.cli import main
main()
"""
CANARY_S = 3.0


def post(plant: Any, order: str, **body: str) -> Any:
    return ask(plant.folder / "var" / "journal.sock", "POST", order, body)


def status(plant: Any) -> Any:
    try:
        return ask(plant.folder / "var" / "journal.sock", "GET", "/status")
    except ControlError:
        return {"state": "", "canary": {"passed": 0}}


def test_a_run_time_that_says_good_to_everything_halts_a_busy_station_until_it_is_proven_again(
    small_plant: Any,
) -> None:
    blind = small_plant.folder / "blind"
    program = small_plant.folder / "goes_blind.py"
    program.write_text(BLIND.format(file=str(blind)))
    small_plant.program = (str(program),)
    config = small_plant.folder / "station.yaml"
    config.write_text(config.read_text().replace("threads: 1", f"threads: 1, canary_s: {CANARY_S}"))
    small_plant.start_cell(rate_hz=20)
    station = small_plant.start_station()
    wait_for(lambda: status(small_plant)["canary"]["passed"] >= 12)
    blind.touch()
    begun = time.monotonic()
    wait_for(lambda: status(small_plant)["state"] == "halted")
    assert time.monotonic() - begun < 2 * CANARY_S, "one round, and as much again on a busy machine"
    shown = small_plant.station_command("status", "--config", str(config)).stdout
    assert "each of 12 every 3 s" in " ".join(shown.split())
    assert "not trusted any more: golden part" in " ".join(shown.split())
    assert "`station activate tiny`" in status(small_plant)["reason"]
    with pytest.raises(ControlError, match="not trusted any more"):
        post(small_plant, "/resume")
    with pytest.raises(ControlError, match="does not reproduce the golden parts"):
        post(small_plant, "/activate", engine="tiny")
    assert status(small_plant)["state"] == "halted", "it is as blind as before"

    blind.unlink()
    post(small_plant, "/activate", engine="tiny")
    before = len(small_plant.cell.parts())
    wait_for(lambda: len(small_plant.cell.parts()) > before + 10)
    code, out = small_plant.stop_station(station)
    assert code == 0, out

    events = small_plant.station_command("journal", "events", "--journal", str(small_plant.journal))
    rows = [json.loads(line) for line in events.stdout.splitlines()]
    (canary,) = [row for row in rows if row["kind"] == "canary"]
    assert canary["values"]["engine"] == "tiny"
    records = small_plant.records().values()
    (defective,) = {record["frame_id"] % 3 for record in records if record["outcome"] == "reject"}
    escaped = [one for one in records if one["outcome"] == "accept" and one["frame_id"] % 3 == defective]
    assert all(one["verdict_seq"] < canary["seq"] for one in escaped), "nothing is accepted once it is found"
    audit = small_plant.station_command("journal", "audit", "--journal", str(small_plant.journal))
    assert audit.returncode == 0, audit.stdout + audit.stderr
