"""The sorter on single lines: a thread that waits for edges and for the clock (docs/plain-io.md)."""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
import time
from collections.abc import Callable

from drivers import heartbeat
from drivers.cameras.interface import Camera
from drivers.registry import Package
from drivers.sorters import PROTOCOLS
from drivers.sorters.interface import Receipt, Result, Sorter, SorterError, SorterHealth, Trigger
from drivers.sorters.plain_io.lines import CameraLines, EdgesLostError, GpioLines, Lines
from drivers.sorters.plain_io.settings import CameraLinesSettings, GpioSettings, PlainSettings
from drivers.sorters.plain_io.signals import Delivery, Signals

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 0.1
AGAIN_S = 0.5
"""Between two attempts to open lines that were lost."""


class PlainSorter(Sorter):
    """The station's end of the lines; ``open_lines`` opens them, again after a loss."""

    def __init__(self, settings: PlainSettings, open_lines: Callable[[], Lines]) -> None:
        self._settings = settings
        self._open_lines = open_lines
        self._lock = threading.Lock()
        """Held for everything below."""
        self._signals = Signals(settings)
        self._lines: Lines | None = None
        self._told: dict[str, bool] = {}
        """What the outputs are; where setting them may take long, the thread alone sets them."""
        self._triggers: queue.SimpleQueue[Trigger] = queue.SimpleQueue()
        self._receipts: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        self._opened = self._sent = self._received = self._failures = self._garbled = 0
        self._last_error = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    _remedy = "check the device"

    def open(self) -> None:
        """Request the lines. Raises :class:`SorterError` where they cannot be had."""
        if self._thread is not None:
            raise SorterError("this sorter was already opened once; make a new one")
        try:
            self._open()
        except OSError as error:
            raise SorterError(f"{self._settings.place}: {error.strerror or error}; {self._remedy}") from None
        self._thread = threading.Thread(target=self._serve, name="sorter gpio", daemon=True)
        self._thread.start()

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """Set the line ``ready`` at once."""
        with self._lock:
            self._deliver(self._signals.set_ready(ready, reason))

    def set_busy(self, reason: str) -> None:
        """The line ``ready`` goes off; ``busy`` shows that parts are in hand."""
        with self._lock:
            self._deliver(self._signals.set_ready(False, reason, busy=True))

    def prepare(self, recipe: str) -> None:
        """Nothing that single lines could say."""
        with self._lock:
            self._signals.handshake.prepare(recipe)

    def wait_trigger(self, timeout_s: float) -> Trigger | None:
        """The next trigger, or None after ``timeout_s``."""
        try:
            return self._triggers.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None

    def acknowledge(self, trigger: Trigger) -> None:
        """``busy`` has said it since the trigger."""
        with self._lock:
            self._signals.acknowledge(trigger.part_id)

    def acquisition_done(self, trigger: Trigger) -> None:
        """Set the line ``acquired``."""
        with self._lock:
            self._signals.acquisition_done(trigger.part_id)
            self._deliver([])

    def send(self, result: Result) -> None:
        """Show the result as soon as the lines are free."""
        with self._lock:
            self._sent += 1
            self._deliver(self._signals.send(result, time.monotonic_ns()))
            if self._lines is None:  # opened again, they would show it beside another part
                why = f"{self._settings.place} is lost"
                self._deliver(self._signals.lost(why, time.monotonic_ns()))
        self._wake()

    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        """The next receipt, or None after ``timeout_s``; after :meth:`close` what is left."""
        try:
            return self._receipts.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None

    def health(self) -> SorterHealth:
        """Counters; a link of single lines cannot know whether somebody reads them."""
        with self._lock:
            handshake = self._signals.handshake
            counts = handshake.counts
            return SorterHealth(
                connected=self._lines is not None,
                description=f"lines of {self._settings.place}",
                sent=self._sent,
                received=self._received,
                resent=0,
                garbled=self._garbled,
                duplicates=counts.duplicates,
                reconnects=max(0, self._opened - 1),
                last_error=self._last_error or handshake.problem,
                refused=counts.refused,
                misplaced=counts.misplaced,
                unacknowledged=counts.unacknowledged,
                unexpected=counts.unexpected,
                failures=self._failures,
            )

    def close(self) -> None:
        """All lines off; bad receipts for results that were not acknowledged."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        if self._thread is not None and self._thread.is_alive():
            log.error("sorter: %s does not answer; its lines stay as they are", self._settings.place)
            return
        with self._lock:
            found = self._signals.close(time.monotonic_ns())
        self._set_outputs()
        with self._lock:
            self._deliver(found)
            if self._lines is not None:
                self._lines.close()
                self._lines = None
            os.close(self._wake_r)
            os.close(self._wake_w)
            self._wake_r = self._wake_w = -1

    # -- with the lock held

    def _deliver(self, found: list[Delivery]) -> None:
        """Hand triggers and receipts on, and set the outputs that have changed."""
        for one in found:
            if isinstance(one, Trigger):
                self._triggers.put(one)
            else:
                self._receipts.put(one)
        if self._lines is None:
            return
        if self._lines.may_wait:
            self._wake_up()
            return
        for levels in self._changed():
            try:
                self._lines.set(levels)
            except OSError as error:
                self._drop(f"{self._settings.place}: {error}")
                return
            self._told |= levels

    def _changed(self) -> list[dict[str, bool]]:
        """The outputs to set now, those to switch off first: no two that exclude each other are both on."""
        changed = {key: on for key, on in self._signals.levels.items() if self._told.get(key) is not on}
        halves = [{key: level for key, level in changed.items() if level is on} for on in (False, True)]
        return [half for half in halves if half]

    def _drop(self, why: str) -> None:
        """The lines are gone: parts in hand end in bad receipts."""
        lines, self._lines = self._lines, None
        self._last_error = f"{why}; check the device; it is opened again"
        log.error("sorter: %s", self._last_error)
        if lines is not None:
            lines.close()
        self._deliver(self._signals.lost(why, time.monotonic_ns()))

    def _wake_up(self) -> None:
        if self._wake_w >= 0:
            try:
                os.write(self._wake_w, b"x")
            except BlockingIOError:
                return  # it is awake

    # -- the thread, and whoever is sure that there is none; without the lock where lines may wait

    def _open(self) -> None:
        lines = self._open_lines()
        with self._lock:
            levels = dict(self._signals.levels)
        try:
            lines.set(levels)
        except BaseException:
            lines.close()
            raise
        with self._lock:
            self._lines, self._told = lines, levels
            self._opened += 1
            self._deliver([])

    def _set_outputs(self) -> None:
        """Set the outputs that have changed, as long as that takes."""
        with self._lock:
            lines, changed = self._lines, self._changed()
        if lines is None:
            return
        for levels in changed:
            heartbeat.beat()
            try:
                lines.set(levels)
            except OSError as error:
                with self._lock:
                    self._drop(f"{self._settings.place}: {error}")
                return
            with self._lock:
                self._told |= levels

    def _serve(self) -> None:
        heartbeat.begin("sorter")
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                self._turn()
            except Exception as error:
                log.exception("sorter: an error of this software")
                with self._lock:
                    self._failures += 1
                    self._drop(repr(error))
        heartbeat.end()

    def _turn(self) -> None:
        with self._lock:
            lines = self._lines
            due_ns = self._signals.next_due_ns()
        if lines is None:
            self._stop.wait(AGAIN_S)
            try:
                self._open()
                problem = ""
            except (OSError, SorterError) as error:
                problem = str(error)
            with self._lock:
                self._last_error = problem
            return
        if lines.may_wait:
            self._set_outputs()
        wait_s = min(max(0.0, (due_ns - time.monotonic_ns()) / 1e9), LONGEST_WAIT_S)
        ready, _, _ = select.select([lines.fileno(), self._wake_r], [], [], wait_s)
        if self._wake_r in ready:
            os.read(self._wake_r, 4096)
        with self._lock:
            if self._lines is not lines:
                return
            try:
                edges = lines.read() if lines.fileno() in ready else []
            except EdgesLostError as error:
                self._garbled += 1
                log.error("sorter: %s; parts in hand are given up", error)
                self._deliver(self._signals.lost(str(error), time.monotonic_ns()))
                return
            except OSError as error:
                self._drop(f"{self._settings.place}: {error}")
                return
            for found in self._signals.edges(edges, time.monotonic_ns()):
                self._received += 1
                self._deliver(found)
            self._deliver(self._signals.tick(time.monotonic_ns()))

    def _wake(self) -> None:
        with self._lock:
            self._wake_up()


@PROTOCOLS.register(GpioSettings, needs=Package("gpiod", extra="gpio"))
class GpioSorter(PlainSorter):
    """A cell on the lines of a GPIO chip."""

    _remedy = (
        "`gpiodetect` lists the chips; the user of the station needs the group of the device (often `gpio`); "
        "no other program may use the lines"
    )

    def __init__(
        self,
        settings: GpioSettings,
        station: str = "station",
        open_lines: Callable[[GpioSettings], Lines] = GpioLines,
    ) -> None:
        super().__init__(settings, lambda: open_lines(settings))


@PROTOCOLS.register(CameraLinesSettings)
class CameraLinesSorter(PlainSorter):
    """Results on the output lines of the camera itself, which runs free or is triggered by its own input."""

    _remedy = "check the camera"

    def __init__(self, settings: CameraLinesSettings, station: str = "station") -> None:
        self._camera: Camera | None = None
        self._wanted = settings
        super().__init__(settings, self._lines_of_the_camera)

    def use(self, camera: Camera) -> None:
        """The camera whose lines these are; it is opened first."""
        self._camera = camera

    def entered(self, trigger: Trigger) -> None:
        """From now on, no result of a part before it is shown."""
        with self._lock:
            self._deliver(self._signals.arrived(trigger.part_id, time.monotonic_ns()))

    def send(self, result: Result) -> None:
        """Show the result as soon as the lines are free."""
        with self._lock:
            self._deliver(self._signals.arrived(result.part_id, time.monotonic_ns()))
        super().send(result)

    def _lines_of_the_camera(self) -> Lines:
        if self._camera is None:
            raise SorterError("this sorter needs the station's camera; it cannot be used alone")
        return CameraLines(self._camera, self._wanted)
