"""A sorter whose wire carries messages: what the application says becomes messages of a session.

A wire adds what its thread does: it brings in what the cell says and puts out what is due.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from abc import abstractmethod
from typing import TypeVar

from drivers import heartbeat
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import JobChange, Receipt, Result, Sorter, SorterError, SorterHealth, Trigger
from drivers.sorters.messages import Message
from drivers.sorters.session import Action, StationSession

log = logging.getLogger(__name__)

_Item = TypeVar("_Item", Trigger, Receipt, JobChange)


class SessionSorter(Sorter):
    """The station's end; ``station`` is its name. A wire implements what is abstract here."""

    def __init__(self, settings: HandshakeSettings, station: str) -> None:
        self._session = StationSession(settings, new_session(), station)
        self._lock = threading.Lock()
        """Held for everything below."""
        self._triggers: queue.SimpleQueue[Trigger] = queue.SimpleQueue()
        self._receipts: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[JobChange] = queue.SimpleQueue()
        self._sent = 0
        self._opened = 0
        self._failures = 0
        self._last_error = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- what a wire adds

    @property
    @abstractmethod
    def _place(self) -> str:
        """Where the wire leads, for people."""

    def _begin_service(self) -> None:
        """Make what the thread needs; raise :class:`SorterError` for what does not pass with time."""
        return

    @abstractmethod
    def _serve(self) -> None:
        """The thread: serve the wire until ``_stop`` is set, with signs of life."""

    @abstractmethod
    def _wake(self) -> None:
        """End a wait of the thread. Never waits, never raises."""

    def _end_service(self) -> None:
        """The thread has ended: give everything back; called with the lock held."""
        return

    @abstractmethod
    def _put_out(self, messages: list[Message]) -> None:
        """Send messages, or keep them until the wire takes them; called with the lock held, must not wait."""

    @abstractmethod
    def _is_up(self) -> bool:
        """Whether messages can go out and come in now; called with the lock held."""

    @abstractmethod
    def _garbled(self) -> int:
        """How much came in that is no message; called with the lock held."""

    def _trouble(self) -> str:
        """What a person has to know of a wire that is up; called with the lock held."""
        return ""

    @property
    @abstractmethod
    def _described(self) -> str:
        """The wire, for people."""

    # -- the application's calls

    def open(self) -> None:
        """Serve the wire from now on; what is not there yet is waited for, in the background."""
        if self._thread is not None:
            raise SorterError("this sorter was already opened once; make a new one")
        self._begin_service()
        self._thread = threading.Thread(target=self._live, name=f"sorter {self._place}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say "not ready", give the open results their bad receipts, leave the wire."""
        if self._stop.is_set():
            return
        with self._lock:
            self._do(self._session.close(time.monotonic_ns()))
        self._stop.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        with self._lock:
            self._end_service()

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """Tell the cell at once whether the station takes triggers; it refuses triggers that come anyway."""
        with self._lock:
            self._do(self._session.set_ready(ready, reason, time.monotonic_ns()))

    def set_busy(self, reason: str) -> None:
        """Say at once that the station is busy; triggers that come all the same are refused as busy."""
        with self._lock:
            self._do(self._session.set_ready(False, reason, time.monotonic_ns(), busy=True))

    def prepare(self, recipe: str) -> None:
        """Name the recipe in the heartbeat at once; triggers that name another are refused as unknown."""
        with self._lock:
            self._do(self._session.prepare(recipe, time.monotonic_ns()))

    def wait_trigger(self, timeout_s: float) -> Trigger | None:
        """The next trigger, or None after ``timeout_s``."""
        return _get(self._triggers, timeout_s)

    def acknowledge(self, trigger: Trigger) -> None:
        """Send TRIGGER-ACK now."""
        with self._lock:
            self._do(self._session.acknowledge(trigger.part_id))

    def wait_job(self, timeout_s: float) -> JobChange | None:
        """The next recipe that the cell asks for, or None after ``timeout_s``."""
        return _get(self._jobs, timeout_s)

    def job_done(self, job: JobChange, problem: str = "") -> None:
        """Send JOB-ANSWER now; with a ``problem``, nothing is prepared and no trigger is accepted."""
        with self._lock:
            self._do(self._session.job_done(job, problem, time.monotonic_ns()))

    def acquisition_done(self, trigger: Trigger) -> None:
        """Send ACQUISITION-DONE now, where the cell speaks version 2 or later."""
        with self._lock:
            self._do(self._session.acquisition_done(trigger.part_id))

    def send(self, result: Result) -> None:
        """Send RESULT now, and again until its receipt. Raises :class:`SorterError` for a bin over 255."""
        with self._lock:
            self._do(self._session.send(result, time.monotonic_ns()))

    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        """The next receipt, or None after ``timeout_s``; after :meth:`close` what is left."""
        return _get(self._receipts, timeout_s)

    def health(self) -> SorterHealth:
        """Counters and the last error, of the wire first, then of the link, then of the handshake."""
        with self._lock:
            session, link = self._session, self._session.link
            handshake, counts = session.handshake, session.handshake.counts
            error = self._trouble() if self._is_up() else self._last_error
            return SorterHealth(
                connected=self._is_up() and link.up,
                description=self._described
                + (f", {link.peer_name}, version {link.version}" if link.peer_name else ""),
                sent=self._sent,
                received=session.received_messages,
                resent=counts.resent,
                garbled=self._garbled(),
                duplicates=counts.duplicates,
                reconnects=max(0, self._opened - 1),
                last_error=error or link.problem or handshake.problem,
                refused=counts.refused,
                misplaced=counts.misplaced,
                unacknowledged=counts.unacknowledged,
                unexpected=counts.unexpected + link.stale,
                cell_restarts=counts.cell_restarts,
                failures=self._failures,
            )

    # -- with the lock held

    def _do(self, actions: list[Action]) -> None:
        """Deliver triggers and receipts, and put the messages out."""
        messages = []
        for action in actions:
            if isinstance(action, Trigger):
                self._triggers.put(action)
            elif isinstance(action, Receipt):
                self._receipts.put(action)
            elif isinstance(action, JobChange):
                self._jobs.put(action)
            else:
                messages.append(action)
        self._put_out(messages)

    def _begin_anew(self, error: Exception) -> str:
        """A new session after an error of this software, which must not end the service of the wire.

        No state from before it is kept. Returns what is to be said of it.
        """
        log.error("sorter %s: everything begins anew", self._place, exc_info=error)
        why = f"an error of this software ({error!r}); please report it; it recovers by itself"
        self._failures += 1
        for receipt in self._session.begin_anew(new_session(), time.monotonic_ns(), f"link lost: {why}"):
            self._receipts.put(receipt)
        return why

    # -- the thread

    def _live(self) -> None:
        heartbeat.begin("sorter")
        self._serve()
        heartbeat.end()


def new_session() -> int:
    """1..65535, another one at every start."""
    return 1 + secrets.randbelow(0xFFFF)


def _get(source: queue.SimpleQueue[_Item], timeout_s: float) -> _Item | None:
    try:
        return source.get(timeout=max(0.0, timeout_s))
    except queue.Empty:
        return None
