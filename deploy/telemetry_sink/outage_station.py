"""The process that ``outage.py`` kills: parts are written into a journal at a pace, and sent."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from station.bench.journal import RECIPE, finished_parts
from station.journal import Journal
from station.telemetry.sender import TelemetrySender
from station.telemetry.settings import Telemetry

LAST_S = 300.0
"""What the consumers get for the last records after SIGTERM."""


def main(journal: Path, settings: str, rate_hz: float, seed: int) -> None:
    """Write and send until SIGTERM, and until the last record is held."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Journal(journal, station="outage") as opened:
        opened.recover()
        sender = TelemetrySender(
            Telemetry.model_validate_json(settings),
            "outage",
            journal,
            lambda: opened.head.seq,
            is_simulated=True,
        )
        made = finished_parts(10_000_000, seed)
        begun, done = time.monotonic(), 0
        while not stop.wait(1 / rate_hz):
            due = int((time.monotonic() - begun) * rate_hz) - done
            if due > 0:
                some = [next(made) for _ in range(due)]
                opened.write_finished(some, recipe=RECIPE, mode="cell", is_simulated=True)
                done += due
        written = opened.counts().triggers
        until = time.monotonic() + LAST_S
        while time.monotonic() < until:
            held = [one.held for one in sender.status().lags if one.stream == "records"]
            if held and min(held) >= written:
                break
            time.sleep(0.1)
        sender.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
