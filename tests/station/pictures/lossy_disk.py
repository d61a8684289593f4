"""Pictures of rejected parts on a small disk of its own that somebody fills, locks and frees.

Not a test: test_lost_pictures.py starts it under its own mounts, as ``python lossy_disk.py FOLDER``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from drivers.sorters.interface import Trigger
from station.journal import Journal
from station.observers import Observers, Pace
from station.part import InspectedPart, PartInHand
from station.patching import cut
from station.pictures.saving import PictureSaver
from tests.station.pictures.test_pictures import REJECT, prepared
from tests.waiting import PATIENCE_S


def inspected_reject(part_id: int) -> InspectedPart:
    pixels = np.random.default_rng(1).integers(80, 150, (256, 128)).astype(np.uint8)
    trigger = Trigger(part_id, "", time.monotonic_ns())
    part = PartInHand(trigger, prepared(), part_id, 0, patches=cut(pixels, prepared().recipe))
    return InspectedPart(part, REJECT, time.monotonic_ns())


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m,nr_inodes=100", "none", str(disk))
    with Journal(folder / "journal.db", station="test") as journal:
        saver = PictureSaver(disk / "images", quota_mb=3)
        heard: list[dict[str, Any]] = []

        def report(values: dict[str, Any]) -> None:
            journal.write_event("degraded", values)
            heard.append(values)

        with Observers([saver], report, Pace(probe_s=0.5, probe_again_s=0.2, settled_s=0.5)) as observers:

            def until(holds: Callable[[str], bool]) -> str:
                end = time.monotonic() + PATIENCE_S
                while not holds(losing := observers.status()[0].losing):
                    assert time.monotonic() < end, losing
                    time.sleep(0.05)
                return losing

            def lose(what: str, spoil: Callable[[], object], mend: Callable[[], object]) -> None:
                spoil()
                if what != "read-only":  # found by the probe alone
                    observers.offer(inspected_reject(7))
                print(f"{what}: {until(bool)}", flush=True)
                time.sleep(0.3)  # the journal hears of it
                mend()
                until(lambda losing: not losing)
                reports = len(heard) + 1
                until(lambda losing: len(heard) >= reports)

            def fill() -> None:
                with suppress(OSError):
                    (disk / "filler").write_bytes(bytes(8_000_000))

            def use_inodes_up() -> None:
                with suppress(OSError):
                    for number in range(200):
                        (disk / f"empty-{number}").touch()

            def free_inodes() -> None:
                for file in disk.glob("empty-*"):
                    file.unlink()

            def replace_by_a_file() -> None:
                (disk / "images").rename(disk / "elsewhere")
                (disk / "images").write_text("")

            observers.offer(inspected_reject(1))
            while observers.status()[0].observed < 1:
                time.sleep(0.02)
            lose("a full disk", fill, (disk / "filler").unlink)
            lose("no inodes", use_inodes_up, free_inodes)
            lose(
                "read-only",
                lambda: mount("-o", "remount,ro", str(disk)),
                lambda: mount("-o", "remount,rw", str(disk)),
            )
            lose("a folder replaced by a file", replace_by_a_file, (disk / "images").unlink)
    print("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
