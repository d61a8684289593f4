"""A thread with a connection to the broker, and the journal that it reads.

Whatever goes wrong - the journal cannot be read, the broker is away, an error of this software - is shown,
and the thread begins again from the cursors a second later. It never touches the line.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers import heartbeat
from drivers.errors import InspectionError
from drivers.mqtt import FIRST_PAUSE_S, Attempt, Will, abandon, make_client
from station.journal.following import JournalFollower
from station.telemetry.messages import LONGEST_RECEIPT
from station.telemetry.settings import Telemetry

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

LOOK_S = 0.2
"""How often it looks for new records."""
AGAIN_S = 1.0
"""The pause after an error."""
LAST_WORDS_S = 2.0
"""What a clean stop gives the messages that are left."""
_WAITING = 256
"""Messages that have arrived and were not read yet."""


class BrokerThread(ABC):
    """Connects, and connects again. Its creator closes it."""

    def __init__(self, settings: Telemetry, name: str, thread: str, journal: Path) -> None:
        """``name``: at the broker. Raises ``BrokerError`` for files of no use."""
        make_client(settings, name)
        self._settings, self._name, self._path = settings, name, journal
        self._client: Client | None = None
        self._attempt: Attempt | None = None
        self._pause_s, self._try_at = FIRST_PAUSE_S, 0.0
        self._lost_at: float | None = None
        self._problem = ""
        self._reader: JournalFollower | None = None
        self._arrived: queue.Queue[tuple[str, bytes, bool]] = queue.Queue(_WAITING)
        """Topic, the first bytes of the payload, whether it was retained."""
        self._ignored = 0
        """Messages that arrived and mean nothing."""
        self._stop = threading.Event()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name=thread, daemon=True)

    def close(self) -> None:
        """Send what is left, for a moment, and say goodbye."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake()
        self._thread.join(LAST_WORDS_S + 5.0)
        if not self._thread.is_alive():
            ends = self._wake_r, self._wake_w
            # An attempt to connect may still be under way, and wakes nobody any more: the number of a closed
            # descriptor is soon that of another file.
            self._wake_r = self._wake_w = -1
            for end in ends:
                os.close(end)

    # ------------------------------------------------------------------ what each thread does itself

    @abstractmethod
    def _step(self) -> None:
        """Do what there is to do, and wait for the broker or for :data:`LOOK_S`."""

    @abstractmethod
    def _will(self) -> Will:
        """The last will of the connection that is tried next."""

    @abstractmethod
    def _begin(self, client: Client) -> None:
        """Take a client that the broker has welcomed."""

    @abstractmethod
    def _forget(self) -> None:
        """After an error: the journal is opened again, and read from the cursors on."""

    @abstractmethod
    def _leave(self) -> None:
        """What is left goes out as far as the broker takes it now, then the goodbye."""

    @abstractmethod
    def _look(self) -> None:
        """Take a new snapshot for :meth:`status`."""

    # ------------------------------------------------------------------ what all have in common

    def _start(self) -> None:
        self._thread.start()

    def _work(self) -> None:
        heartbeat.begin(self._thread.name, vital=False)
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                self._step()
            except Exception as error:
                self._failed(error)
                self._stop.wait(AGAIN_S)
        try:
            self._leave()
            if self._reader is not None:
                self._reader.close()
        except Exception as error:
            self._failed(error)
        heartbeat.end()

    def _failed(self, error: Exception) -> None:
        said, expected = str(error), isinstance(error, InspectionError | OSError)
        if not expected:
            said = f"an error of this software ({error!r}); please report it; it begins again by itself"
        if said != self._problem:  # once, and not in every round
            log.warning("%s: %s", self._thread.name, said, exc_info=None if expected else error)
        self._drop(said)
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._forget()
        self._look()

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port_used}"

    def _connect(self) -> None:
        if self._client is None and self._attempt is None and time.monotonic() >= self._try_at:
            self._attempt = Attempt(
                self._settings, self._name, self._wake, will=self._will(), longest=4 * LONGEST_RECEIPT
            )
        if self._attempt is None or not self._attempt.is_over:
            return
        attempt, self._attempt = self._attempt, None
        if attempt.client is not None:
            self._client, self._problem = attempt.client, ""
            self._begin(attempt.client)
            self._pause_s = FIRST_PAUSE_S
            log.info("%s: connected to %s", self._thread.name, self._where)
        else:
            self._problem = f"{self._where} {attempt.problem}; tried again by itself"
            self._pause_s = min(2 * self._pause_s, self._settings.reopen_max_s)
        self._try_at = time.monotonic() + self._pause_s

    def _heard(self, client: Client, data: object, message: Any) -> None:
        """What the broker sends; it is read later, in a step."""
        try:
            payload = bytes(message.payload[: LONGEST_RECEIPT + 1])
            self._arrived.put_nowait((message.topic, payload, bool(message.retain)))
        except queue.Full:
            self._ignored += 1  # who sent it says it again

    def _drop(self, why: str) -> None:
        client, self._client = self._client, None
        self._problem = why
        if client is None:
            return
        abandon(client)
        self._lost_at = time.monotonic()
        while not self._arrived.empty():
            self._arrived.get()

    def _wake(self) -> None:
        with suppress(OSError):  # full: it wakes as well; closed: nobody is left to wake
            os.write(self._wake_w, b"\0")
