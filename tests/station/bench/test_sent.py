"""The measurement of what telemetry costs sends one record per part, and waits until it is confirmed."""

from __future__ import annotations

import shutil

import pytest

from station.bench.beside import cost_beside
from station.bench.sent import sent_records
from station.recipe import Recipe
from tests.station.bench.test_beside import FRAMES, Rejecting, strip

__all__ = ["strip"]


def test_one_record_per_part_is_sent_and_confirmed(
    strip: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto-clients is not installed")
    monkeypatch.setattr("station.bench.sent.RECORDS", 4000)
    cost = cost_beside(sent_records, Rejecting(), FRAMES, strip, rounds=1, seconds=0.2, pace=100.0)
    (sent,) = cost.observers
    assert (sent.failed, sent.dropped) == (0, 0)
    assert sent.note == f"{sent.observed} records sent and confirmed"
    assert sent.observed > 100
