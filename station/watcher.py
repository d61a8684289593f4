"""A process of its own that watches the station's threads, and ends the station when one is dead or hangs.

It reads the memory of ``drivers/heartbeat.py`` and shares nothing else with the station, so that it goes on
while a thread of the station holds the interpreter's lock, waits for a disk that never answers, or the whole
process is stopped. It alone feeds systemd's watchdog, each time it has just seen all vital threads alive.

* A vital thread is **dead**: the station is asked to stop cleanly; it is killed when that takes too long.
* A vital thread **hangs**: the station writes where all its threads are, and is killed. Nothing that it holds
  can be lost by that: verdicts are durable before they are sent, and the cell's time-out rejects the rest.
* A thread that is not vital (an observer) hangs or is dead: that is said once.

Time in which the station was stopped (SIGSTOP), or in which this process did not run either (a machine that
was asleep or too busy), does not count: the station goes on after it and faults the parts that are overdue.
Only a station that stays stopped for longer than a thread may be silent is ended.
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

from drivers.heartbeat import ALIVE, DEADLINE, MARGIN_S, NAME, SIZE, SLOTS, STATE, THREAD, VITAL, WORDS
from station.supervision import sd_notify

ROUND_S = 0.2
ROUND_NS = int(ROUND_S * 1e9)
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
    with memoryview(memory) as plain, plain.cast("q") as words:
        for at in range(WORDS, (SLOTS + 1) * WORDS, WORDS):
            if words[at + STATE] == ALIVE:
                name = bytes(plain[(at + NAME) * 8 : (at + WORDS) * 8]).rstrip(b"\0")
                yield Thread(
                    name=name.decode("ascii", "replace"),
                    number=words[at + THREAD],
                    deadline_ns=words[at + DEADLINE],
                    vital=bool(words[at + VITAL]),
                )


class LivedTime:
    """How much of the time the station could have used: not that in which it, or the machine, stood still.

    A deadline moves on by what was lost since its thread was heard of last. So a station that was stopped and
    goes on is not ended for that, and one that hangs between two stops is. No I/O: the times are passed in.
    """

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._lost_ns = self._lost_before_ns = 0
        self._heard: dict[object, tuple[int, int]] = {}
        self.stopped_ns = 0
        """How long the station is stopped now, as far as this process ran meanwhile."""

    def look(self, now_ns: int, *, stopped: bool) -> None:
        """One round at ``now_ns``; ``stopped``: the station is stopped by a signal, or by a debugger."""
        elapsed_ns, self._now_ns = now_ns - self._now_ns, now_ns
        ran_ns = min(elapsed_ns, 2 * ROUND_NS)  # more than that: this process did not run either
        self._lost_before_ns = self._lost_ns
        self._lost_ns += elapsed_ns if stopped else elapsed_ns - ran_ns
        self.stopped_ns = self.stopped_ns + ran_ns if stopped else 0

    def has_passed(self, what: object, deadline_ns: int) -> bool:
        """Whether the latest deadline of ``what`` is over."""
        heard = self._heard.get(what)
        if heard is None or heard[0] != deadline_ns:
            # Heard of since the round before: what was lost in this one may have come after that.
            heard = self._heard[what] = deadline_ns, self._lost_before_ns
        return self._now_ns > deadline_ns + self._lost_ns - heard[1]


def watch(file: int, asks: int, station: int) -> None:
    """Watch until the station has ended. ``asks``: the end of a pipe to which the word to stop is written."""
    memory = mmap.mmap(file, SIZE, prot=mmap.PROT_READ)
    words = memoryview(memory).cast("q")
    said: set[str] = set()
    asked_ns = fed_ns = 0
    lived = LivedTime(time.monotonic_ns())
    while os.getppid() == station:
        now = time.monotonic_ns()
        lived.look(now, stopped=_is_stopped(station))
        dead, hung = _troubles(memory, station, lived)
        news = [one for one in (*dead, *hung) if not one.vital and one.name not in said]
        for one in news:
            said.add(one.name)
            _say(f"thread {one.name} {'is dead' if one in dead else 'hangs'}; parts do not need it")
        vital_dead, vital_hung = ([one for one in some if one.vital] for some in (dead, hung))
        ending_ns = words[DEADLINE]
        if lived.stopped_ns > words[THREAD] + MARGIN_S * 1e9:
            _end(station, "the process was stopped by a signal and hangs")
        elif ending_ns:
            if lived.has_passed("end", ending_ns):
                _end(station, "a clean stop did not come to its end")
        elif vital_hung and not asked_ns:
            _end(station, f"thread {', '.join(one.name for one in vital_hung)} hangs")
        elif asked_ns:
            if lived.has_passed("asked", asked_ns + int(STOP_S * 1e9)):
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
        time.sleep(ROUND_S)


def _troubles(memory: mmap.mmap, station: int, lived: LivedTime) -> tuple[list[Thread], list[Thread]]:
    """The threads that are dead, and those that are alive and overdue."""
    dead, hung = [], []
    for one in threads(memory):
        overdue = lived.has_passed((one.name, one.number), one.deadline_ns)
        if not os.path.exists(f"/proc/{station}/task/{one.number}"):
            dead.append(one)
        elif overdue:
            hung.append(one)
    still = {one.number for one in threads(memory)}  # one that has ended between the two looks is no trouble
    return [one for one in dead if one.number in still], hung


def _is_stopped(station: int) -> bool:
    """Whether the process is stopped: by SIGSTOP, or by a debugger."""
    try:
        with open(f"/proc/{station}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False  # it has ended


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
    """Log it, unless nobody takes it: who reads the log may hang, and must not hold this process."""
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"station watcher: {text}\n".encode())


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the station, and not before
    watch(*map(int, sys.argv[1:4]))
