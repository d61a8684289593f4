"""The main thread only shows and listens: a terminal that takes no output holds it, and costs no part."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from typing import Any

from tests.waiting import PATIENCE_S, wait_for

HUNG_AFTER_MS = 1000


def test_a_terminal_that_takes_no_output_hangs_the_main_thread_and_parts_go_on(small_plant: Any) -> None:
    config = small_plant.folder / "station.yaml"
    limits = f"limits: {{hung_after_ms: {HUNG_AFTER_MS}, "
    config.write_text(config.read_text().replace("limits: {", limits))
    cell = small_plant.start_cell(rate_hz=10)
    ours, its = pty.openpty()
    log = small_plant.folder / "log"
    with log.open("w") as stderr:
        station = subprocess.Popen(
            [sys.executable, "-m", "station.cli", "run", "--config", str(config)],
            stdout=its,
            stderr=stderr,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
        )
    os.close(its)
    try:
        wait_for(lambda: "thread main hangs; parts do not need it" in log.read_text())
        before = len(cell.parts())
        wait_for(lambda: len(cell.parts()) > before + 10)
        assert station.poll() is None
        station.send_signal(signal.SIGTERM)
        threading.Thread(target=swallow, args=(ours,), daemon=True).start()
        assert station.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        station.kill()
        station.wait()
    assert all(record["outcome"] != "fault" for record in small_plant.records().values())


def swallow(terminal: int) -> None:
    """The terminal takes output again."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        os.close(terminal)
