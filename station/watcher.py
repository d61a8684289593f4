"""A process of its own that watches the station's threads, and ends the station when one is dead or hangs.

It reads the memory of ``drivers/heartbeat.py`` and shares nothing else with the station, so that it goes on
while a thread of the station holds the interpreter's lock, waits for a disk that never answers, or the whole
process is stopped. It alone feeds systemd's watchdog, each time it has just seen all vital threads alive.

* A vital thread is **dead**: the station is asked to stop cleanly; it is killed when that takes too long.
* A vital thread **hangs**: the station writes where all its threads are, and is killed. Nothing that it holds
  can be lost by that: verdicts are durable before they are sent, and the cell's time-out rejects the rest.
* A thread that is not vital (an observer) hangs or is dead: that is said once.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.heartbeat import ALIVE, SIZE, SLOT, SLOTS
from station.supervision import sd_notify

ROUND_S = 0.2
TRACEBACK_S = 0.3
"""What the station gets to write where its threads are."""
STOP_S = 30.0
"""What a clean stop may take when the station does not say itself; then it is killed."""
FEED_S = 1.0
LEAVE_THE_VIEW = b"\x1b[?1049l\x1b[?25h\r\n"
"""Back to the terminal's own screen, with its cursor: xterm's control sequences 1049 and 25."""
DUMP = signal.SIGUSR2
"""The station writes the traceback of every thread when it gets this."""


@dataclass(frozen=True, slots=True)
class Thread:
    """What the memory says of one thread."""

    name: str
    number: int
    deadline_ns: int
    vital: bool


def threads(memory: mmap.mmap | bytes) -> Iterator[Thread]:
    """Every thread that has begun and not ended."""
    for slot in range(1, SLOTS + 1):
        state, deadline_ns, number, vital, name = SLOT.unpack_from(memory, slot * SLOT.size)
        if state == ALIVE:
            yield Thread(name.rstrip(b"\0").decode("ascii", "replace"), number, deadline_ns, bool(vital))


def watch(file: int, asks: int, station: int) -> None:
    """Watch until the station has ended. ``asks``: the end of a pipe to which the word to stop is written."""
    memory = mmap.mmap(file, SIZE, prot=mmap.PROT_READ)
    said: set[str] = set()
    asked_ns = fed_ns = patience_ns = 0
    last_ns = time.monotonic_ns()
    while os.getppid() == station:
        now = time.monotonic_ns()
        if now - last_ns > 1_000_000_000:  # this process did not run either: the machine was busy or asleep
            patience_ns = now + 1_000_000_000
        last_ns = now
        if now >= patience_ns:
            _, ending_ns, *_ = SLOT.unpack_from(memory, 0)
            dead, hung = _troubles(memory, station, now)
            news = [one for one in (*dead, *hung) if not one.vital and one.name not in said]
            for one in news:
                said.add(one.name)
                _say(f"thread {one.name} {'is dead' if one in dead else 'hangs'}; parts do not need it")
            vital_dead, vital_hung = ([one for one in some if one.vital] for some in (dead, hung))
            if ending_ns:
                if now > ending_ns:
                    _end(station, "a clean stop did not come to its end")
            elif vital_hung and not asked_ns:
                _end(station, f"thread {', '.join(one.name for one in vital_hung)} hangs")
            elif asked_ns:
                if now > asked_ns + int(STOP_S * 1e9):
                    _end(station, "it was asked to stop and does not")
            elif vital_dead:
                asked_ns = now
                why = f"thread {', '.join(one.name for one in vital_dead)} is dead"
                _say(f"{why}; the station is asked to stop")
                with contextlib.suppress(OSError):
                    os.write(asks, why.encode())
            elif now - fed_ns > FEED_S * 1e9:
                fed_ns = now
                sd_notify("WATCHDOG=1")
        select.select([], [], [], ROUND_S)


def _troubles(memory: mmap.mmap, station: int, now: int) -> tuple[list[Thread], list[Thread]]:
    """The threads that are dead, and those that are alive and overdue."""
    dead, hung = [], []
    for one in threads(memory):
        if not os.path.exists(f"/proc/{station}/task/{one.number}"):
            dead.append(one)
        elif now > one.deadline_ns:
            hung.append(one)
    still = {one.number for one in threads(memory)}  # one that has ended between the two looks is no trouble
    return [one for one in dead if one.number in still], hung


def _end(station: int, why: str) -> None:
    if os.isatty(2):  # the live view has a screen of its own, which goes with it
        with contextlib.suppress(OSError):
            os.write(2, LEAVE_THE_VIEW)
    _say(f"{why}; the station is ended, where its threads are:")
    if os.getppid() == station:
        os.kill(station, DUMP)
        time.sleep(TRACEBACK_S)
    if os.getppid() == station:
        os.kill(station, signal.SIGKILL)
    sys.exit(0)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"station watcher: {text}\n".encode())


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the station, and not before
    watch(*map(int, sys.argv[1:4]))
