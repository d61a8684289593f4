"""Outages, scaled down: with receipts, every record arrives in order and repeats are marked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.telemetry_sink.outage import app


@pytest.mark.slow
def test_with_receipts_kills_of_broker_and_station_lose_nothing(tmp_path: Path) -> None:
    options = ["--outage-s", "5", "--rate-hz", "40", "--between-s", "3", "--replay-s", "3"]
    ended = CliRunner().invoke(app, [*options, "--json", str(tmp_path / "figures.json")])
    assert ended.exit_code == 0, ended.output
    with_receipts, without = json.loads((tmp_path / "figures.json").read_text())
    assert with_receipts["stored"] == with_receipts["records"] > 200
    assert with_receipts["stored_in_order"]
    assert with_receipts["repeats"] > 0
    assert with_receipts["unmarked_repeats"] == without["unmarked_repeats"] == 0
