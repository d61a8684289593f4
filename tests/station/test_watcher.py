"""Supervision from outside: whatever thread dies or hangs, the station is not ready and ends in time."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from drivers import heartbeat
from station.watcher import threads
from tests.station.watched_line import HUNG_AFTER_S

FOUND_WITHIN_S = 2.0
"""A dead thread after its death, a hung one after its deadline."""


class Watched:
    """One run of watched_line.py, and when it ended."""

    def __init__(self, fault: str, **environment: str) -> None:
        command = [sys.executable, "-m", "tests.station.watched_line", fault]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            command,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said, _ = self.process.communicate(timeout=60)
        self.ended = time.monotonic()
        self.code = self.process.returncode

    def at(self, what: str) -> float:
        found = re.search(rf"^{what} ([\d.]+)$", self.said, re.MULTILINE)
        assert found, self.said
        return float(found[1])


@pytest.mark.parametrize("where", ["camera", "engine", "sorter's send", "sorter's receipts"])
def test_a_dead_thread_is_found_and_the_station_stops_cleanly_with_its_own_exit_code(where: str) -> None:
    run = Watched(f"die in the {where}")
    assert run.code == 3, run.said
    assert "is dead; the station is asked to stop" in run.said
    assert run.at("not ready") - run.at("fault") < FOUND_WITHIN_S
    assert re.search(r"^balance 0 thread \w+ is dead", run.said, re.MULTILINE), run.said


@pytest.mark.parametrize("where", ["camera", "engine"])
def test_a_call_into_a_device_that_hangs_halts_the_line_from_inside(where: str) -> None:
    run = Watched(f"hang in the {where}")
    assert run.code == 1, run.said
    assert run.at("not ready") - run.at("fault") < HUNG_AFTER_S + FOUND_WITHIN_S
    assert "a call to the" in run.said


@pytest.mark.parametrize(
    "fault",
    [
        "hang in the sorter's send",
        "hang in the sorter's receipts",
        "hang in the journal's disk",
        "hold in the camera",
        "hold in the engine",
        "hold in the observer",
        "stop the process",
    ],
)
def test_a_thread_that_hangs_is_found_from_outside_and_the_station_is_ended(fault: str) -> None:
    run = Watched(fault)
    assert run.code == -signal.SIGKILL, run.said
    took = run.ended - run.at("fault")
    assert took < HUNG_AFTER_S + FOUND_WITHIN_S, f"{took:.2f} s: {run.said}"
    assert "hangs; the station is ended" in run.said
    if not fault.startswith("stop"):
        assert "most recent call first" in run.said, "the log says where the threads were"


@pytest.mark.parametrize("fault", ["hang in the observer", "die in the observer", "nothing"])
def test_an_observer_costs_no_part_and_ends_no_station(fault: str) -> None:
    run = Watched(fault)
    assert run.code == 0, run.said
    assert re.search(r"^balance 0 ", run.said, re.MULTILINE)
    assert ("thread observer looker hangs; parts do not need it" in run.said) == fault.startswith("hang")


def test_systemd_is_fed_by_the_watcher_and_no_longer_when_a_thread_hangs(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        run = Watched("stop the process", NOTIFY_SOCKET=str(tmp_path / "notify"))
        ear.setblocking(False)
        heard = []
        while True:
            try:
                heard.append(ear.recv(100))
            except BlockingIOError:
                break
    assert b"WATCHDOG=1" in heard
    assert run.code == -signal.SIGKILL


def test_the_signs_of_life_say_who_lives_until_when() -> None:
    def live() -> None:
        heartbeat.begin("one of the test", vital=False)
        heartbeat.beat(100)
        begun.set()
        leave.wait(5)
        heartbeat.end()

    begun, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=live)
    thread.start()
    assert begun.wait(5)
    memory = os.pread(heartbeat.file_descriptor(), heartbeat.SIZE, 0)
    (one,) = [one for one in threads(memory) if one.name == "one of the test"]
    assert one.number == thread.native_id
    assert not one.vital
    assert 90 < one.deadline_ns / 1e9 - time.monotonic() < 120
    leave.set()
    thread.join()
    memory = os.pread(heartbeat.file_descriptor(), heartbeat.SIZE, 0)
    assert "one of the test" not in [one.name for one in threads(memory)]


def test_a_thread_that_is_gone_without_a_word_leaves_its_place_to_others() -> None:
    for _ in range(heartbeat.SLOTS + 20):
        thread = threading.Thread(target=heartbeat.begin, args=("gone",))
        thread.start()
        thread.join()
