"""Pictures that cannot be kept are a state of the station, from the first moment to the last."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from drivers.sorters.interface import Outcome
from station.journal.reading import JournalReader
from station.observers import Observer, Observers
from station.part import InspectedPart
from station.pictures.saving import PictureSaver
from station.supervision import Readiness, State
from tests.station.test_observers import inspected
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]


def test_a_disk_that_is_full_locked_or_without_inodes_degrades_until_it_takes_pictures_again(
    tmp_path: Path,
) -> None:
    """On a small file system of its own, in a child with its own mounts."""
    command = f"exec {sys.executable} -m tests.station.pictures.lossy_disk {tmp_path}"
    done = subprocess.run(
        ["unshare", "-r", "-m", "sh", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts of its own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.partition(": ")[::2] for line in done.stdout.splitlines())
    assert "No space left" in said["a full disk"]
    assert "No space left" in said["no inodes"]
    assert "Read-only" in said["read-only"]
    assert said["a folder replaced by a file"]
    with JournalReader(tmp_path / "journal.db") as reader:
        events = [event.values for event in reader.station_events(["degraded"])]
    assert [event["is_over"] for event in events] == [False, True] * 4
    assert {event["what"] for event in events} == {"pictures"}
    assert "No space left" in events[0]["reason"]
    assert events[1]["lost"] == 1, "the rejected part's picture"


def test_a_folder_that_cannot_be_written_degrades_before_the_first_reject(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("no folder")
    heard: list[dict[str, Any]] = []
    with Observers([PictureSaver(tmp_path / "images", quota_mb=1)], heard.append) as observers:
        wait_for(lambda: heard)
        assert "cannot be written" in observers.status()[0].losing
    assert (heard[0]["is_over"], heard[0]["what"]) == (False, "pictures")


class SlowKeeper(Observer):
    """A disk that is too slow."""

    name = keeps = "pictures"
    capacity = 2

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def observe(self, part: InspectedPart) -> None:
        self.go_on.wait(10)


def test_pictures_that_are_dropped_degrade_and_it_is_over_when_none_are(tmp_path: Path) -> None:
    keeper, heard = SlowKeeper(), list[dict[str, Any]]()
    with Observers([keeper], heard.append) as observers:
        for part in range(6):
            observers.offer(inspected(part, Outcome.REJECT))
        assert "faster than they can be written" in observers.status()[0].losing
        wait_for(lambda: heard)
        keeper.go_on.set()
        wait_for(lambda: len(heard) >= 2)
    assert [one["is_over"] for one in heard] == [False, True]


def test_degraded_is_said_only_while_parts_are_inspected() -> None:
    readiness = Readiness(lambda ready, reason: None)
    asked = {"parts_in_hand": 1, "free_running": False, "is_degraded": True}
    assert readiness.state(**asked) is State.PREOPERATIONAL
    readiness.clear(Readiness.STARTING)
    assert readiness.state(**asked) is State.DEGRADED
    assert readiness.ready, "the cell's parts are inspected all the same"
    readiness.block("camera", "camera lost")
    assert readiness.state(**asked) is State.ERROR
