"""States and readiness of the station, in the words of OPC 40100-1; who watches it; systemd's notifications.

Ready is never assumed: it is the absence of every named reason for not being ready, and each reason
is withdrawn by whoever raised it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Self

from drivers import heartbeat
from station.faults import Code, code_of

log = logging.getLogger(__name__)


class State(StrEnum):
    """What the station is doing (OPC 40100-1, *Machine Vision*, state machine for one vision system)."""

    PREOPERATIONAL = "preoperational"
    """Starting: camera, engine or journal are not proven yet."""
    INITIALIZED = "initialized"
    """No recipe is prepared: the cell has asked for another one, which is not there yet or cannot be."""
    READY = "ready"
    """Prepared; the station takes the next trigger."""
    SINGLE_EXECUTION = "single execution"
    """A triggered part is in hand."""
    CONTINUOUS = "continuous"
    """Free running: every frame is a part."""
    OVERLOADED = "overloaded"
    """Parts come faster than they can be judged: triggers are refused as busy until all in hand are done."""
    DEGRADED = "degraded"
    """Parts are inspected as ever, but something beside is lost, such as pictures; the reason says what."""
    HALTED = "halted"
    """Stopped on request, or because the engine is not trusted any more; nothing is accepted."""
    ERROR = "error"
    """Not able to inspect; the reasons say why."""


class Readiness:
    """The named reasons why the station takes no triggers, and the state that follows from them.

    ``on_change(ready, reason)`` is called when readiness or its reason changes, one call at a time and in the
    order of the changes, so that an old "ready" can never overtake a new "not ready".
    """

    STARTING = "starting"
    STOPPING = "stopping"
    HALTED = "halted"
    """By request."""
    OVERLOAD = "overload"
    """Not for long: until the parts in hand are done."""
    DISTRUST = "distrust"
    """The engine no longer reproduces its golden parts; another one is prepared, or it is proven again."""
    UNPREPARED = "unprepared"
    """The cell has asked for another recipe; until it is prepared, no part is judged by the one before."""
    FAILED = "failed"
    """The line halted by itself; systemd restarts the process. The reason has the code of the cause."""
    CAMERA = "camera"
    """It is lost, and opened again."""

    CODES: ClassVar = {
        STARTING: Code.STARTING,
        STOPPING: Code.STATION_STOPPING,
        HALTED: Code.HALTED,
        OVERLOAD: Code.OVERLOADED,
        DISTRUST: Code.DISTRUST,
        CAMERA: Code.CAMERA_NOT_THERE,
        UNPREPARED: Code.UNPREPARED,
    }

    def __init__(self, on_change: Callable[[bool, str], None]) -> None:
        self._on_change = on_change
        self._lock = threading.RLock()
        self._reasons: dict[str, str] = {self.STARTING: self._coded(self.STARTING, "the station is starting")}

    def block(self, name: str, reason: str) -> None:
        """Not ready from now on, because of ``name``; its code is put before the reason."""
        reason = self._coded(name, reason)
        with self._lock:
            changed = self._reasons.get(name) != reason
            self._reasons[name] = reason
            if changed:
                self._on_change(False, self.reason)

    def clear(self, name: str) -> None:
        """``name`` is no longer a reason."""
        with self._lock:
            if self._reasons.pop(name, None) is not None:
                self._on_change(not self._reasons, self.reason)

    def blocked_by(self, name: str) -> bool:
        """Whether ``name`` is a reason now."""
        with self._lock:
            return name in self._reasons

    def why(self, name: str) -> str:
        """The reason that ``name`` is now; empty where it is none."""
        with self._lock:
            return self._reasons.get(name, "")

    @property
    def only_overloaded(self) -> bool:
        """Whether overload is the one reason."""
        with self._lock:
            return set(self._reasons) == {self.OVERLOAD}

    @property
    def ready(self) -> bool:
        """Whether there is no reason against the next trigger."""
        with self._lock:
            return not self._reasons

    @property
    def reason(self) -> str:
        """Every reason in words; empty when ready."""
        with self._lock:
            return "; ".join(self._reasons.values())

    @property
    def codes(self) -> frozenset[Code]:
        """The code of every reason."""
        with self._lock:
            return frozenset(filter(None, map(code_of, self._reasons.values())))

    def _coded(self, name: str, reason: str) -> str:
        return self.CODES[name].of(reason) if name in self.CODES else reason

    def state(self, *, parts_in_hand: int, free_running: bool, is_degraded: bool = False) -> State:
        """The state the station is in."""
        with self._lock:
            reasons = set(self._reasons)
        if self.STOPPING in reasons:
            return State.HALTED
        if self.STARTING in reasons:
            return State.PREOPERATIONAL
        if self.FAILED in reasons:
            return State.ERROR
        if reasons & {self.HALTED, self.DISTRUST}:
            return State.HALTED
        if reasons == {self.UNPREPARED}:
            return State.INITIALIZED
        if reasons == {self.OVERLOAD}:
            return State.OVERLOADED
        if reasons:
            return State.ERROR
        if is_degraded:
            return State.DEGRADED
        if free_running:
            return State.CONTINUOUS
        return State.SINGLE_EXECUTION if parts_in_hand else State.READY


START_AGAIN_S = 5.0
"""A watcher that ends is started again no sooner than this after its start."""


class Watcher:
    """Starts the process that watches this one's threads (``station/watcher.py``), and listens to it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._hears, self._asks = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Self:
        # Of the whole process, written by a handler that needs no interpreter.
        faulthandler.register(signal.SIGUSR2, all_threads=True)
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        os.close(self._hears)
        os.close(self._asks)

    def asks_to_stop(self) -> str:
        """Which thread is dead; empty while all live. A watcher that has ended is started again."""
        ended = self._process is not None and self._process.poll() is not None
        if ended and time.monotonic() > self._started + START_AGAIN_S:
            log.error("the watcher has ended; it is started again")
            self._start()
        try:
            return os.read(self._hears, 4096).decode()
        except BlockingIOError:
            return ""

    def _start(self) -> None:
        self._started = time.monotonic()
        board = heartbeat.file_descriptor()
        command = [sys.executable, "-m", "station.watcher", str(board), str(self._asks), str(os.getpid())]
        self._process = subprocess.Popen(
            command, pass_fds=(board, self._asks), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )


def sd_notify(message: str) -> bool:
    """Tell systemd (``READY=1``, ``WATCHDOG=1``, ``STATUS=…``); False where no systemd listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        try:
            notifier.sendto(message.encode(), address)
        except OSError:
            return False
    return True


def start_takes(step: str, at_most_s: float) -> None:
    """Tell systemd what the start is doing, and that it may go on for ``at_most_s`` from now.

    A first start measures back ends and may build a plan for minutes, which no fixed ``TimeoutStartSec`` of
    the unit knows; a step that takes longer than it said is ended by systemd. Without effect once ready.
    """
    sd_notify(f"STATUS={step}\nEXTEND_TIMEOUT_USEC={at_most_s * 1_000_000:.0f}")
