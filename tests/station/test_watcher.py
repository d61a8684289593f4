"""Supervision from outside: whatever thread dies or hangs, the station is not ready and ends in time."""

from __future__ import annotations

import os
import random
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
from station.watcher import LivedTime, threads
from tests.station.watched_line import HUNG_AFTER_S
from tests.waiting import PATIENCE_S

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
    assert re.search(r"^balance 0 F\d+ thread \w+ is dead", run.said, re.MULTILINE), run.said


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
    assert begun.wait(PATIENCE_S)
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


def test_a_thread_that_beats_all_the_time_is_never_seen_overdue() -> None:
    """However the moments of writing and reading fall: a deadline is stored in one piece."""

    def live() -> None:
        heartbeat.begin("busy one")
        begun.set()
        while not leave.is_set():
            for _ in range(1000):
                heartbeat.beat()
        heartbeat.end()

    begun, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=live)
    thread.start()
    assert begun.wait(PATIENCE_S)
    try:
        reader = subprocess.run(
            [sys.executable, "-c", READ_ALL_THE_TIME, str(heartbeat.file_descriptor())],
            pass_fds=(heartbeat.file_descriptor(),),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
    finally:
        leave.set()
        thread.join()
    looks, overdue = map(int, reader.stdout.split())
    assert looks > 300, reader.stderr
    assert overdue == 0


READ_ALL_THE_TIME = """
import mmap, sys, time
from drivers.heartbeat import SIZE
from station.watcher import threads
memory = mmap.mmap(int(sys.argv[1]), SIZE, prot=mmap.PROT_READ)
looks = overdue = 0
until = time.monotonic() + 1.5
while time.monotonic() < until:
    for one in threads(memory):
        if one.name == "busy one":
            looks, overdue = looks + 1, overdue + (one.deadline_ns < time.monotonic_ns())
print(looks, overdue)
"""

MS = 1_000_000


def rounds(lived: LivedTime, start_ms: int, end_ms: int, *, stopped: bool = False) -> int:
    for now in range(start_ms + 200, end_ms + 1, 200):
        lived.look(now * MS, stopped=stopped)
    return end_ms


def test_a_deadline_is_over_when_the_station_had_the_time_and_did_not_keep_it() -> None:
    lived = LivedTime(0)
    rounds(lived, 0, 1000)
    assert not lived.has_passed("cut", 1100 * MS)
    rounds(lived, 1000, 1200)
    assert lived.has_passed("cut", 1100 * MS)
    assert not lived.has_passed("cut", 2200 * MS), "it was heard of again"


def test_a_station_that_was_stopped_and_goes_on_gets_the_time_that_it_lost() -> None:
    lived = LivedTime(0)
    at = rounds(lived, 0, 1000)
    assert not lived.has_passed("cut", 2000 * MS)
    at = rounds(lived, at, 4000, stopped=True)
    assert not lived.has_passed("cut", 2000 * MS)
    assert lived.stopped_ns == 3000 * MS
    at = rounds(lived, at, 4800)
    assert not lived.has_passed("cut", 2000 * MS)
    assert lived.stopped_ns == 0
    rounds(lived, at, 5200)
    assert lived.has_passed("cut", 2000 * MS), "it hangs"


def test_a_thread_that_hangs_is_found_though_the_station_is_stopped_again_and_again() -> None:
    lived, at = LivedTime(0), 0
    lived.has_passed("cut", 2000 * MS)
    for _ in range(20):
        at = rounds(lived, at, at + 400, stopped=True)
        at = rounds(lived, at, at + 400)
    assert lived.has_passed("cut", 2000 * MS)


def test_a_machine_that_was_asleep_costs_no_station_its_life() -> None:
    lived = LivedTime(0)
    at = rounds(lived, 0, 1000)
    lived.look((at + 60_000) * MS, stopped=False)  # heard of after the last round and before the sleep
    assert not lived.has_passed("cut", 2000 * MS)
    at = rounds(lived, at + 60_000, at + 60_600)
    assert not lived.has_passed("cut", 2000 * MS)
    rounds(lived, at, at + 2000)
    assert lived.has_passed("cut", 2000 * MS)


def test_a_busy_station_that_is_stopped_at_random_moments_lives_on_and_settles_every_part() -> None:
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    root = Path(__file__).parents[2]
    station = subprocess.Popen(
        [sys.executable, "-m", "tests.station.watched_line", "nothing"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    chance, until = random.Random(8), time.monotonic() + 5
    try:
        while station.poll() is None and time.monotonic() < until:
            time.sleep(chance.uniform(0.02, 0.6))
            station.send_signal(signal.SIGSTOP)
            time.sleep(chance.choice([0.05, 0.4, 1.2 * HUNG_AFTER_S]))
            station.send_signal(signal.SIGCONT)
        said, _ = station.communicate(timeout=30)
    finally:
        for one in (*load, station):
            one.kill()
            one.wait()
    assert station.returncode == 0, said
    assert re.search(r"^balance 0 ", said, re.MULTILINE), said
