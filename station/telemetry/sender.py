"""The thread that sends: the journal on one side, the broker on the other, ``outbox.py`` between them.

Whatever goes wrong - the journal cannot be read, the broker is away, an error of this software - is shown,
and the thread begins again from the cursors a second later. It never touches the line.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers import heartbeat
from drivers.errors import InspectionError
from drivers.mqtt import FIRST_PAUSE_S, Attempt, abandon, make_client, pump
from station.journal.errors import JournalError
from station.journal.events import utc_ago
from station.journal.following import JournalFollower
from station.telemetry import home_assistant, messages
from station.telemetry.messages import LONGEST_RECEIPT, NoReceiptError, Sender, read_receipt
from station.telemetry.settings import Telemetry
from station.telemetry.status import Lag, TelemetryStatus
from station.telemetry.streams import Stream, streams_of
from station.telemetry.way import WINDOW, Way, may_be_sent, open_way

if TYPE_CHECKING:
    from paho.mqtt.client import Client

    from station.line_values import LineStatus

log = logging.getLogger(__name__)

LOOK_S = 0.2
"""How often it looks for new records."""
STATE_S = 0.5
"""How often it looks for a new state."""
MOVE_S = 1.0
"""How often cursors are written; what is confirmed later than that before a crash is sent again."""
AGAIN_S = 1.0
"""The pause after an error."""
LAST_WORDS_S = 2.0
"""What a clean stop gives the messages that are left."""
_RECEIPTS_WAITING = 256


class TelemetrySender:
    """Sends one station's records. Its creator closes it."""

    def __init__(
        self,
        settings: Telemetry,
        station: str,
        journal: Path,
        head: Callable[[], int],
        *,
        is_simulated: bool,
        streams: Callable[[JournalFollower], tuple[Stream, ...]] = streams_of,
    ) -> None:
        """``head``: the journal's last event, from memory. Raises ``BrokerError`` for files of no use."""
        self._settings, self._path, self._head = settings, journal, head
        self._is_simulated, self._streams = is_simulated, streams
        self._name = settings.client_id or f"telemetry-{settings.topic.replace('/', '-')}"
        make_client(settings, self._name)
        self._sent: dict[str, int] = {}
        """Stream -> the highest number that may have been sent before."""
        with JournalFollower(journal) as reader:
            self.sender = Sender(station, reader.head().journal_id)
            with suppress(JournalError):  # said by the thread, which meets it again
                # Before the first part of the run, so that nothing of it lies before a cursor made now.
                self._sent = {one.name: may_be_sent(journal, one, settings) for one in streams(reader)}
        self._session = secrets.token_hex(8)
        self._status_of_line: Callable[[], LineStatus] | None = None
        self._client: Client | None = None
        self._attempt: Attempt | None = None
        self._pause_s, self._try_at = FIRST_PAUSE_S, 0.0
        self._lost_at: float | None = None
        self._problem = ""
        self._reader: JournalFollower | None = None
        self._ways: tuple[Way, ...] = ()
        self._arrived: queue.Queue[tuple[str, bytes, bool]] = queue.Queue(_RECEIPTS_WAITING)
        self._ignored = self._gauges_dropped = 0
        self._state: dict[str, Any] = {}
        self._state_at = self._gauges_at = self._move_at = 0.0
        self._status = self._snapshot()
        self._stop = threading.Event()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        self._thread.start()

    def watch(self, status: Callable[[], LineStatus]) -> None:
        """Send the state and the gauges of a line from now on."""
        self._status_of_line = status

    def status(self) -> TelemetryStatus:
        """As it was a moment ago; never waits."""
        if self._thread.is_alive() or self._stop.is_set():
            return self._status
        return replace(self._status, problem="its thread is dead; start the station again")

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

    # ------------------------------------------------------------------ the thread

    def _work(self) -> None:
        heartbeat.begin("telemetry", vital=False)
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                self._step()
            except Exception as error:
                self._failed(error)
                self._stop.wait(AGAIN_S)
        try:
            self._leave()
        except Exception as error:
            self._failed(error)
        heartbeat.end()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, InspectionError | OSError):
            said = str(error)
        else:
            log.exception("telemetry: an error of this software; it begins again from its cursors")
            said = f"an error of this software ({error!r}); please report it; it begins again by itself"
        if said != self._problem:
            log.warning("telemetry: %s", said)
        self._drop(said)
        if self._reader is not None:
            self._reader.close()
        self._sent = {way.stream.name: way.outbox.sent for way in self._ways} or self._sent
        self._reader, self._ways = None, ()
        self._status = self._snapshot()

    def _step(self) -> None:
        if not self._ways:
            self._open_journal()
        self._connect()
        if self._client is not None:
            self._take_receipts()
            for way in self._ways:
                self._send(way, self._client)
            self._show()
            if any(way.outbox.is_stuck(time.monotonic()) for way in self._ways):
                self._drop("the broker confirms nothing; it is connected to anew")
        self._move_cursors()
        self._status = self._snapshot()
        if not pump(self._client, LOOK_S, self._wake_r):
            self._drop(f"{self._where} was lost; check broker and network")

    def _open_journal(self) -> None:
        settings = self._settings
        self._reader = JournalFollower(self._path)
        self._ways = tuple(
            open_way(self._path, stream, settings, self._sent.get(stream.name, 0))
            for stream in self._streams(self._reader)
        )
        for way in self._ways:
            way.outbox.connected(None)

    # ------------------------------------------------------------------ the broker

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port_used}"

    def _presence(self, online: bool) -> bytes:
        return messages.presence(
            self.sender,
            online=online,
            session=self._session,
            receipts=self._settings.receipts,
            consumers=self._settings.consumers,
            is_simulated=self._is_simulated,
        )

    def _connect(self) -> None:
        if self._client is None and self._attempt is None and time.monotonic() >= self._try_at:
            will = (f"{self._settings.topic}/station", self._presence(False).decode())
            self._attempt = Attempt(
                self._settings, self._name, self._wake, will=will, longest=4 * LONGEST_RECEIPT
            )
        if self._attempt is None or not self._attempt.is_over:
            return
        attempt, self._attempt = self._attempt, None
        if attempt.client is not None:
            self._begin(attempt.client)
            self._pause_s = FIRST_PAUSE_S
        else:
            self._problem = f"{self._where} {attempt.problem}; tried again by itself"
            self._pause_s = min(2 * self._pause_s, self._settings.reopen_max_s)
        self._try_at = time.monotonic() + self._pause_s

    def _begin(self, client: Client) -> None:
        """Take a client that the broker has welcomed."""
        topic = self._settings.topic
        client.on_message = lambda c, data, message: self._heard(
            message.topic, bytes(message.payload[: LONGEST_RECEIPT + 1]), bool(message.retain)
        )
        client.on_publish = lambda c, data, mid, reason, properties: self._confirmed(mid, int(reason.value))
        if self._settings.consumers:
            # At quality of service 1, mosquitto counts what is too large for us as under way for ever.
            client.subscribe([(f"{topic}/receipts/{name}", 0) for name in self._settings.consumers])
        if self._settings.home_assistant is not None:
            client.subscribe(f"{self._settings.home_assistant}/status", qos=1)
        client.publish(f"{topic}/station", self._presence(True), qos=1, retain=True)
        self._announce(client)
        for way in self._ways:
            way.outbox.connected(self._lost_at)
        self._client, self._problem = client, ""
        self._state, self._state_at, self._gauges_at = {}, 0.0, 0.0
        log.info("telemetry: connected to %s", self._where)

    def _announce(self, client: Client) -> None:
        """Tell Home Assistant which sensors there are."""
        prefix = self._settings.home_assistant
        if prefix is not None:
            payload = home_assistant.announcement(self._settings.topic, self.sender.station)
            where = home_assistant.config_topic(prefix, self.sender.station)
            client.publish(where, payload, qos=1, retain=True)

    def _heard(self, topic: str, payload: bytes, retained: bool) -> None:
        try:
            self._arrived.put_nowait((topic, payload, retained))
        except queue.Full:
            self._ignored += 1  # a consumer says again what it holds

    def _confirmed(self, mid: int, reason: int) -> None:
        for way in self._ways:
            way.outbox.confirmed(mid, reason, time.monotonic())

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

    # ------------------------------------------------------------------ what goes out

    def _send(self, way: Way, client: Client) -> None:
        """Send what may go now; the broker's confirmations then wake the thread for more."""
        now = time.monotonic()
        while (batch := way.outbox.wants(now)) is not None:
            message, gone = way.take(batch, self._head())
            if gone is not None:
                self._say_what_is_gone(way, *gone, client)
            if message is None:
                if batch.last is None and gone is None:
                    return
                continue
            payload = messages.numbered(
                self.sender, way.stream.name, message, repeat=way.outbox.is_repeat(message.number)
            )
            sent = client.publish(f"{self._settings.topic}/{way.stream.name}", payload, qos=1)
            way.outbox.went(batch, message.number, sent.mid, now)

    def _say_what_is_gone(self, way: Way, first: int, last: int, client: Client) -> None:
        payload = messages.gone(self.sender, way.stream.name, first, last)
        client.publish(f"{self._settings.topic}/gone", payload, qos=1)

    def _show(self) -> None:
        """State and gauges: after the records, and gauges only where the broker keeps up."""
        now, topic, client = time.monotonic(), self._settings.topic, self._client
        if client is None or self._status_of_line is None or now < self._state_at:
            return
        self._state_at = now + STATE_S
        status = self._status_of_line()
        state = messages.state(self.sender, status)
        if state != self._state:
            self._state = state
            client.publish(f"{topic}/state", messages.encoded("state-1", state | _now()), qos=1, retain=True)
        if now < self._gauges_at:
            return
        self._gauges_at = now + self._settings.gauges_s
        if client.want_write() or any(way.outbox.in_flight >= WINDOW for way in self._ways):
            self._gauges_dropped += 1
            return
        own = {
            "waiting": self._status.waiting,
            "repeats": self._status.repeats,
            "gauges_dropped": self._gauges_dropped,
        }
        client.publish(f"{topic}/gauges", messages.gauges(self.sender, status, own), qos=0)

    # ------------------------------------------------------------------ what counts as delivered

    def _take_receipts(self) -> None:
        while not self._arrived.empty():
            topic, payload, retained = self._arrived.get()
            if topic == f"{self._settings.home_assistant}/status":
                if payload == b"online" and self._client is not None:  # it was started, and knows nothing
                    self._announce(self._client)
                continue
            consumer = topic.rpartition("/")[2]
            try:
                if retained:
                    raise NoReceiptError(
                        "the broker keeps it; remove it there (publish an empty retained message)"
                    )
                receipt = read_receipt(payload, self.sender.journal)
                way = next(one for one in self._ways if one.stream.name == receipt.stream)
                refused = way.outbox.receipt(
                    consumer, receipt.held, receipt.missing, way.outbox.sent, time.monotonic()
                )
                if refused:
                    raise NoReceiptError(refused)
            except NoReceiptError as error:
                self._ignored += 1
                self._problem = f"a message on {topic[:100]} is ignored: {error}"

    def _move_cursors(self) -> None:
        now = time.monotonic()
        if now < self._move_at:
            return
        self._move_at = now + MOVE_S
        for way in self._ways:
            way.move_cursors(self._head())

    def _snapshot(self) -> TelemetryStatus:
        problems = [self._problem, *(way.outbox.trouble for way in self._ways)]
        return TelemetryStatus(
            connected=self._client is not None,
            broker=self._where,
            topic=self._settings.topic,
            receipts=self._settings.receipts,
            problem=next(filter(None, problems), ""),
            lags=tuple(
                Lag(way.stream.name, holder, held, way.waiting.get(holder, 0))
                for way in self._ways
                for holder, held in way.outbox.held.items()
            ),
            repeats=sum(way.outbox.repeats for way in self._ways),
            receipts_ignored=self._ignored,
            gauges_dropped=self._gauges_dropped,
        )

    def _leave(self) -> None:
        """What is left goes out as far as the broker takes it now, then the goodbye."""
        until = time.monotonic() + LAST_WORDS_S
        while (client := self._client) is not None and time.monotonic() < until:
            self._take_receipts()
            for way in self._ways:
                self._send(way, client)
            if not any(way.outbox.in_flight for way in self._ways):
                break
            if not pump(client, 0.05):
                self._drop("the connection was lost")
        if (client := self._client) is not None:
            last = client.publish(
                f"{self._settings.topic}/station", self._presence(False), qos=1, retain=True
            )
            while not last.is_published() and time.monotonic() < until + 1.0 and pump(client, 0.05):
                pass
            client.disconnect()
            pump(client, 0.05)
            self._drop("closed")
        self._move_at = 0.0
        self._move_cursors()
        self._status = self._snapshot()
        if self._reader is not None:
            self._reader.close()


def _now() -> dict[str, str]:
    return {"sent_at": utc_ago(0)}
