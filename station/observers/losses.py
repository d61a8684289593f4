"""Notices when an observer loses what it is there to keep, and when it keeps it again: a state, no log line.

An observer that keeps something (pictures) loses it when it raises, hangs, or is too slow and parts are
dropped. The loss costs no part; but a person must see it while it lasts, and find it in the journal later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from drivers import heartbeat
from drivers.errors import InspectionError
from station.faults import Code
from station.observers.interface import ObserverStatus

log = logging.getLogger(__name__)

ROUND_S = 0.2

Report = Callable[[dict[str, Any]], None]
"""Receives the values of the event ``degraded``: ``what``, ``is_over``, ``reason``, ``lost``."""


class _Post(Protocol):
    """One observer's thread, as far as it is looked at here."""

    @property
    def keeps(self) -> str: ...
    def status(self) -> ObserverStatus: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How often observers that keep something are looked at, s."""

    probe_s: float = 5.0
    probe_again_s: float = 1.0
    """How often one is probed while it can keep something, and while it cannot."""
    settled_s: float = 2.0
    """A loss is over when nothing was lost for this long."""


@dataclass(slots=True)
class _Watched:
    """How one observer stands."""

    post: _Post
    is_losing: bool = False
    lost_before: int = 0
    """What it had lost before the loss began."""
    over_at: float = 0.0
    """When the loss is over, if nothing happens until then."""


class LossWatch:
    """A thread that looks at every observer that keeps something, and reports begin and end of each loss."""

    def __init__(self, posts: Iterable[_Post], report: Report, pace: Pace) -> None:
        self._watched = [_Watched(post) for post in posts if post.keeps]
        self._report, self._settled_s = report, pace.settled_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="observers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more. Never raises, may be called twice."""
        self._ended.set()
        self._thread.join(1.0)

    def _work(self) -> None:
        heartbeat.begin("observers", vital=False)
        while not self._ended.wait(ROUND_S):
            heartbeat.beat()
            for one in self._watched:
                self._look(one, time.monotonic())
        heartbeat.end()

    def _look(self, one: _Watched, now: float) -> None:
        status = one.post.status()
        lost = status.failed + (0 if status.spare_time else status.queue.shed)
        if status.losing:
            one.over_at = now + self._settled_s
            if not one.is_losing:
                one.is_losing = True
                self._say(one, is_over=False, reason=status.losing, lost=0)
        elif not one.is_losing:
            one.lost_before = lost
        elif now >= one.over_at:
            one.is_losing = False
            self._say(one, is_over=True, reason="", lost=lost - one.lost_before)
            one.lost_before = lost  # the next loss may begin before the next look

    def _say(self, one: _Watched, *, is_over: bool, reason: str, lost: int) -> None:
        what = one.post.keeps
        if is_over:
            log.warning("%s are kept again; %d were lost", what, lost)
        else:
            log.warning(Code.LOSING.of("degraded: %s are lost: %s"), what, reason)
        try:
            self._report({"what": what, "is_over": is_over, "reason": reason, "lost": lost})
        except InspectionError as error:
            log.error("the journal does not take the event: %s", error)
