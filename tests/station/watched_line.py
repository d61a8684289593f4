"""A line of scripted devices under its watcher, as in `station run`, and one fault, named by the argument.

Not a test: tests/station/test_watcher.py starts it as a process of its own. It prints ``fault TIME`` when it
makes its fault, and ``not ready TIME`` when the cell hears of it (``time.monotonic()``).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from drivers import heartbeat
from drivers.cameras.interface import Frame
from drivers.sorters.interface import Result
from station.journal import Journal
from station.observers import Observer, Observers
from station.part import InspectedPart
from station.recipe import load_recipe
from station.supervision import Watcher
from tests.station.conftest import RECIPE, Plant, ScriptedCamera, ScriptedEngine, ScriptedSorter

HUNG_AFTER_S = 1.0
GOOD = np.tile(np.array([0.9, 0.1], np.float32), (2, 1))


def say(what: str) -> None:
    os.write(1, f"{what} {time.monotonic()}\n".encode())


def hang() -> NoReturn:
    say("fault")
    while True:
        time.sleep(60)


def hold_the_interpreter() -> None:
    say("fault")
    ctypes.PyDLL(None).sleep(60)


def die() -> NoReturn:
    say("fault")
    raise SystemExit("gone")


def ask(sorter: ScriptedSorter) -> None:
    for part in range(1, 60):
        sorter.ask(part)
        time.sleep(0.1)


class Looker(Observer):
    """Hangs or dies when it is told to."""

    name = "looker"
    fault = staticmethod(lambda: None)

    def observe(self, part: InspectedPart) -> None:
        self.fault()


def main(fault: str) -> int:
    heartbeat.hung_after(HUNG_AFTER_S)
    folder = Path(tempfile.mkdtemp())
    (folder / "strip.yaml").write_text(RECIPE)
    journal = Journal(folder / "journal.sqlite", station="watched")
    camera, sorter, engine = ScriptedCamera(), ScriptedSorter(), ScriptedEngine()
    plant = Plant(camera, sorter, engine, journal, load_recipe(folder / "strip.yaml"))
    looker = Looker()
    observers = Observers([looker])
    camera.pace_s = 0.01
    what, _, where = fault.partition(" in the ")
    make: Any = {"hang": hang, "die": die, "hold": hold_the_interpreter}.get(what)

    def grabbed() -> Frame:
        make()
        return camera.good()

    def scored() -> NDArray[np.float32]:
        make()
        return GOOD

    def sent(result: Result) -> None:
        if result.part_id == 3:
            make()

    real_stat, real_ready, real_receipt = os.stat, sorter.set_ready, sorter.wait_receipt

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if "journal" in str(path) and threading.current_thread().name == "decide" and sorter.told:
            hang()
        return real_stat(path, *arguments, **options)

    def ready(is_ready: bool, reason: str = "") -> None:
        real_ready(is_ready, reason)
        if not is_ready:
            say("not ready")

    def receipt(timeout_s: float) -> Any:
        if len(sorter.told) >= 3 and threading.current_thread().name == "receive":
            make()
        return real_receipt(timeout_s)

    sorter.set_ready = ready  # type: ignore[method-assign]
    if where == "camera":
        camera.script = [camera.good(), camera.good(), grabbed]
    elif where == "engine":
        engine.script = [GOOD, GOOD, scored]
    elif where == "sorter's send":
        sorter.on_tell = sent
    elif where == "sorter's receipts":
        sorter.wait_receipt = receipt  # type: ignore[method-assign]
    elif where == "observer":
        looker.fault = make
    elif where == "journal's disk":
        os.stat = stat  # type: ignore[assignment]
    line = plant.line(
        observers=observers,
        hung_after_s=HUNG_AFTER_S,
        deadline_s=0.5,
        stop_timeout_s=0.1 if make else 5.0,
        grab_timeout_s=0.2,
    )
    line.start()
    with Watcher() as watcher:
        threading.Thread(
            target=lambda: [(sorter.ask(part), time.sleep(0.1)) for part in range(1, 60)]
        ).start()
        if fault == "stop the process":
            time.sleep(1)
            say("fault")
            os.kill(os.getpid(), signal.SIGSTOP)
        ends = time.monotonic() + 5
        while not line.wait(0.25) and time.monotonic() < ends:
            if dead := watcher.asks_to_stop():
                line.give_up(dead)
        line.stop()
    status = line.status()
    run = status.statistics
    say(f"balance {run.triggers - run.accepted - run.rejected - run.faulted} {status.failure}")
    sys.stdout.flush()
    os._exit(3 if status.died else 1 if status.failure else 0)


if __name__ == "__main__":
    main(sys.argv[1])
