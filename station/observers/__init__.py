"""Observers of inspected parts: beside the decision path, never in it.

When a part's verdict is in the journal and on its way to the cell, the line *offers* the part to every
observer. Each stands behind a bounded queue of its own and works in a thread of its own: when it is too
slow, parts are dropped - good ones first - and counted; when it raises, that is counted and shown; when it
hangs, the stop does not wait for it. None of them can change a verdict, the pace, or the clean stop, and no
record of a part depends on one.

To add an observer, add one file to this folder (``pictures.py`` is one to copy). It holds, or names, a class
derived from :class:`Observer`, and the function ``make_observer(setup)``, which returns the observer,
or None where the configuration does not ask for one. Nothing else changes: at the start, the
station finds every file of the folder that has such a function.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import threading
import time
from collections.abc import Callable, Iterable
from typing import Self, TypeVar

from drivers import heartbeat
from drivers.errors import InspectionError
from drivers.sorters.interface import Outcome
from station.observers.interface import HANGING_S, Observer, ObserverError, ObserverSetup, ObserverStatus
from station.observers.losses import LossWatch, Pace, Report
from station.part import InspectedPart
from station.queues import BoundedQueue

__all__ = [
    "HANGING_S",
    "Observer",
    "ObserverError",
    "ObserverSetup",
    "ObserverStatus",
    "Observers",
    "Pace",
    "make_observers",
]

log = logging.getLogger(__name__)

POLL_S = 0.1
Kind = TypeVar("Kind", bound=Observer)


def make_observers(setup: ObserverSetup) -> list[Observer]:
    """Every observer that the configuration asks for. Raises :class:`ObserverError`, which names it."""
    made = []
    for module in pkgutil.iter_modules(__path__):
        try:
            make = getattr(importlib.import_module(f"{__name__}.{module.name}"), "make_observer", None)
            observer = make(setup) if make is not None else None
        except Exception as error:
            raise ObserverError(f"observer {module.name!r} cannot start: {error or repr(error)}") from error
        if observer is not None:
            made.append(observer)
    return made


class Observers:
    """Every observer of one run, each behind its queue. Its creator closes it."""

    def __init__(
        self,
        observers: Iterable[Observer] = (),
        report_loss: Report | None = None,
        pace: Pace = Pace(),  # noqa: B008  frozen
    ) -> None:
        """``report_loss``: told when what an observer keeps is lost from now on, and when it no longer is."""
        self._posts = tuple(_ObserverThread(observer, pace) for observer in observers)
        self._losses = None if report_loss is None else LossWatch(self._posts, report_loss, pace)
        self.need_frames = any(post.needs_frame for post in self._posts)
        """Whether frames must be kept until the verdict."""

    def offer(self, part: InspectedPart) -> None:
        """Offer the part to every observer; never waits, never raises."""
        for post in self._posts:
            post.offer(part)

    def status(self) -> tuple[ObserverStatus, ...]:
        """One snapshot per observer, without waiting for any."""
        return tuple(post.status() for post in self._posts)

    def find(self, kind: type[Kind]) -> Kind | None:
        """The observer of this kind; None when there is none."""
        return next((post.observer for post in self._posts if isinstance(post.observer, kind)), None)

    def close(self, timeout_s: float = 10.0) -> None:
        """Let all finish what waits, together for at most this long. Never raises, may be called twice."""
        for post in self._posts:
            post.end()
        begun = time.monotonic()
        for post in self._posts:
            until = begun + min(timeout_s, post.observer.end_s)
            post.join(max(until - time.monotonic(), 0.0))
        if self._losses is not None:
            self._losses.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _ObserverThread:
    """One observer, its queue, its thread and its counters."""

    def __init__(self, observer: Observer, pace: Pace) -> None:
        self.observer, self._pace = observer, pace
        self.needs_frame = observer.needs_frame
        self._uncut_frames = observer.uncut_frames
        self._outcomes = frozenset(observer.outcomes)
        self._parts: BoundedQueue[InspectedPart] = BoundedQueue(
            observer.name, observer.capacity, gives_way=lambda part: part.verdict.outcome is Outcome.ACCEPT
        )
        self._observed = self._failed = 0
        self._busy_since_ns: int | None = None
        self._last_error = ""
        self._trouble = ""
        """Why the last part, or the last probe, failed."""
        self._probe_at = self._slow_until = 0.0
        self._shed_seen = 0
        self._ended = threading.Event()
        self._given_up = False
        self._thread = threading.Thread(target=self._work, name=f"observer-{observer.name}", daemon=True)
        self._thread.start()

    def offer(self, part: InspectedPart) -> None:
        if part.verdict.outcome in self._outcomes and not self._ended.is_set() and self._wanted(part):
            whole = self.needs_frame or (self._uncut_frames and part.part.patches is None)
            self._parts.offer(part if whole else part.without_frame())

    def _wanted(self, part: InspectedPart) -> bool:
        try:
            return self.observer.wants(part)
        except Exception as error:  # on the decision path, which it must not touch
            self._failed += 1
            self._last_error = str(error) or repr(error)
            return False

    @property
    def keeps(self) -> str:
        return self.observer.keeps

    def status(self) -> ObserverStatus:
        since_ns = self._busy_since_ns
        busy_s = (time.monotonic_ns() - since_ns) / 1e9 if since_ns is not None else 0.0
        return ObserverStatus(
            name=self.observer.name,
            queue=self._parts.status(),
            observed=self._observed,
            failed=self._failed,
            busy_s=busy_s,
            last_error=self._last_error,
            note=self.observer.note,
            stored_bytes=self.observer.stored_bytes,
            losing=self._losing(busy_s),
            spare_time=self.observer.spare_time,
            drift=dict(self.observer.drift),
        )

    def _losing(self, busy_s: float) -> str:
        if not self.keeps:
            return ""
        if self.observer.spare_time:
            return self._trouble or self.observer.trouble
        shed, now = self._parts.status().shed, time.monotonic()
        if shed != self._shed_seen:
            self._shed_seen, self._slow_until = shed, now + self._pace.settled_s
        if busy_s > HANGING_S:
            return f"the disk does not answer for more than {HANGING_S:g} s"
        if trouble := self._trouble or self.observer.trouble:
            return trouble
        return "parts come faster than they can be written" if now < self._slow_until else ""

    def end(self) -> None:
        self._ended.set()

    def join(self, timeout_s: float) -> None:
        if self._given_up:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._given_up = True
            log.log(
                logging.INFO if self.observer.spare_time else logging.WARNING,
                "observer %s does not end; the stop goes on without it, with %d parts left",
                self.observer.name,
                self._parts.status().length,
            )

    def _work(self) -> None:
        heartbeat.begin(f"observer {self.observer.name}", vital=False)
        self._probe()
        while not self._given_up:
            heartbeat.beat()
            ended = self._ended.is_set()
            part = self._parts.get(0.0 if ended else POLL_S)
            if part is not None:
                self._call(self.observer.observe, part)
            elif ended:
                break
            else:
                self._call(self.observer.idle)
                self._probe()
        self._call(self.observer.close)
        heartbeat.end()

    def _probe(self) -> None:
        """Where it keeps something, see whether it can; sooner again while it cannot."""
        if not self.keeps or time.monotonic() < self._probe_at:
            return
        self._busy_since_ns = time.monotonic_ns()
        try:
            self.observer.probe()
        except Exception as error:
            self._trouble = str(error) or repr(error)
        else:
            self._trouble = ""
        finally:
            self._busy_since_ns = None
        pause_s = self._pace.probe_again_s if self._trouble else self._pace.probe_s
        self._probe_at = time.monotonic() + pause_s

    def _call(self, what: Callable[..., None], *parts: InspectedPart) -> None:
        """Call the observer; every exception, also ``SystemExit``, is counted and ends nothing."""
        self._busy_since_ns = time.monotonic_ns()
        try:
            what(*parts)
        except BaseException as error:
            self._failed += 1
            said = str(error) or repr(error)
            if said != self._last_error:  # once, not for every part
                expected = isinstance(error, InspectionError | OSError)
                log.warning("observer %s: %s", self.observer.name, said, exc_info=None if expected else error)
            self._last_error = self._trouble = said
        else:
            self._observed += len(parts)
            if parts:
                self._trouble = ""
        finally:
            self._busy_since_ns = None
