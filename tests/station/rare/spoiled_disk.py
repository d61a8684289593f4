"""A line whose log of rare parts lies on a disk that is full, broken, slow, read-only or gone, in turn.

Not a test: test_rare_disk.py starts it under its own mounts and below ``simulation/campaign/disk.c``, as
``python spoiled_disk.py FOLDER``. It prints one JSON object per line: what was seen with each fault.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from drivers.sorters.interface import Result
from station.config import Rare
from station.journal import Journal
from station.observers import Observers, Pace
from station.rare.items import Origin
from station.rare.log import RareLog
from station.rare.store import RareStore
from station.recipe import load_recipe
from tests.station.conftest import RECIPE, Plant, ScriptedCamera, ScriptedEngine, ScriptedSorter
from tests.waiting import wait_for

PARTS = 40
"""Per fault; every one of them should be kept."""
SLOW_S = 1.0
"""What a sync takes on the slow disk."""


def main(folder: Path) -> None:
    disk, switches = folder / "disk", folder / "switches"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(disk)], check=True)
    rare = disk / "rare"
    (folder / "strip.yaml").write_text(RECIPE)

    @contextmanager
    def switched(name: str, value: float) -> Iterator[None]:
        switches.write_text(f"{name} {value}\n")
        yield
        switches.write_text("")

    @contextmanager
    def really_full() -> Iterator[None]:
        filler = disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
        filler.unlink()

    @contextmanager
    def read_only() -> Iterator[None]:
        # Above it: a disk on which a file is open for writing cannot be made read-only from outside.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(disk)], check=True)
        yield
        subprocess.run(["umount", str(disk)], check=True)

    @contextmanager
    def gone() -> Iterator[None]:
        shutil.rmtree(rare)
        rare.write_text("a file in its place")
        yield
        rare.unlink()

    with Journal(folder / "journal.db", station="test") as journal:
        plant = Plant(
            ScriptedCamera(), ScriptedSorter(), ScriptedEngine(), journal, load_recipe(folder / "strip.yaml")
        )
        told: dict[int, float] = {}

        def note(result: Result) -> None:
            told[result.part_id] = time.monotonic()

        plant.sorter.on_tell = note
        settings = Rare(queue=4, low_confidence=1.0, same_below=0.0)
        store = RareStore(rare, quota=15_000_000)
        log = RareLog(store, settings, journal.path, Origin(journal.head.journal_id, "test", False, None))
        reports: list[dict[str, Any]] = []

        def report(values: dict[str, Any]) -> None:
            journal.write_event("degraded", values)
            reports.append(values)

        with Observers([log], report, Pace(probe_s=1.0, probe_again_s=0.2, settled_s=1.0)) as observers:
            line = plant.line(observers)
            line.start()
            next_part = 1

            def judge(parts: int) -> list[float]:
                """Seconds from trigger to verdict of each part."""
                nonlocal next_part
                numbers = range(next_part, next_part + parts)
                next_part += parts
                asked: dict[int, float] = {}
                for number in numbers:
                    asked[number] = time.monotonic()
                    plant.sorter.ask(number)
                    wait_for(lambda number=number: number in told)  # type: ignore[misc]
                return [told[number] - asked[number] for number in numbers]

            def losses() -> int:
                (status,) = observers.status()
                return status.queue.shed + status.failed

            def idle() -> bool:
                (status,) = observers.status()
                return not status.queue.length and not status.busy_s

            def see(name: str, fault: Callable[[], Any]) -> None:
                judge(3)
                wait_for(lambda: not observers.status()[0].losing and idle())
                begun, heard = losses(), len(reports)
                with fault():
                    waits = judge(PARTS)
                    wait_for(lambda: observers.status()[0].losing)
                    reason, state = observers.status()[0].losing, str(line.status().state)
                    wait_for(lambda: len(reports) > heard)
                wait_for(lambda: not observers.status()[0].losing)
                wait_for(lambda: len(reports) > heard + 1)
                wait_for(idle)
                lost = losses() - begun
                kept = log.note
                judge(3)
                wait_for(lambda: log.note != kept)
                print(
                    json.dumps(
                        {
                            "fault": name,
                            "p99_s": float(np.percentile(waits, 99)),
                            "reason": reason,
                            "state": state,
                            "state_after": str(line.status().state),
                            "lost": lost,
                            "said_lost": reports[heard + 1]["lost"],
                        }
                    ),
                    flush=True,
                )

            see("full", lambda: switched("disk-full", 1))
            see("broken", lambda: switched("disk-eio", 1))
            see("slow", lambda: switched("disk-sync-s", SLOW_S))
            see("really full", really_full)
            see("read-only", read_only)
            see("gone", gone)
            line.stop()
        counts = journal.counts()
        outcomes = {str(outcome) for outcome in plant.outcomes().values()}
        print(
            json.dumps(
                {
                    "triggers": next_part - 1,
                    "told": len(plant.sorter.told),
                    "accepted": counts.accepted,
                    "records": counts.triggers,
                    "outcomes": sorted(outcomes),
                    "log": log.note,
                }
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
