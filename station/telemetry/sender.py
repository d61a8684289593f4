"""What sends the messages in JSON: the journal on one side, the broker on the other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.mqtt import Will, pump
from station.journal.errors import JournalError
from station.journal.events import utc_ago
from station.journal.following import JournalFollower
from station.telemetry import home_assistant, messages
from station.telemetry.messages import NoReceiptError, Sender, read_receipt
from station.telemetry.settings import Telemetry
from station.telemetry.status import Lag, TelemetryStatus
from station.telemetry.streams import Stream, streams_of
from station.telemetry.thread import LAST_WORDS_S, LOOK_S, BrokerThread
from station.telemetry.way import WINDOW, Way, may_be_sent, open_way

if TYPE_CHECKING:
    from paho.mqtt.client import Client

    from station.line_values import LineStatus

STATE_S = 0.5
"""How often it looks for a new state."""
MOVE_S = 1.0
"""How often cursors are written; what is confirmed later than that before a crash is sent again."""


class TelemetrySender(BrokerThread):
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
        name = settings.client_id or f"telemetry-{settings.topic.replace('/', '-')}"
        super().__init__(settings, name, "telemetry", journal)
        self._head, self._is_simulated, self._streams = head, is_simulated, streams
        self._sent: dict[str, int] = {}
        """Stream -> the highest number that may have been sent before."""
        with JournalFollower(journal) as reader:
            self.sender = Sender(station, reader.head().journal_id)
            with suppress(JournalError):  # said by the thread, which meets it again
                # Before the first part of the run, so that nothing of it lies before a cursor made now.
                self._sent = {one.name: may_be_sent(journal, one, settings) for one in streams(reader)}
        self._session = secrets.token_hex(8)
        self._status_of_line: Callable[[], LineStatus] | None = None
        self._engines_home: Callable[[], dict[str, Any] | None] | None = None
        self._ways: tuple[Way, ...] = ()
        self._gauges_dropped = 0
        self._state: dict[str, Any] = {}
        self._engines: dict[str, Any] = {}
        self._state_at = self._gauges_at = self._move_at = 0.0
        self._look()
        self._start()

    def watch(
        self, status: Callable[[], LineStatus], engines: Callable[[], dict[str, Any] | None] | None = None
    ) -> None:
        """Send the state and the gauges of a line from now on.

        ``engines``: what the status document says of engines that came home; None where none did.
        """
        self._engines_home = engines
        self._status_of_line = status

    def status(self) -> TelemetryStatus:
        """As it was a moment ago; never waits."""
        if self._thread.is_alive() or self._stop.is_set():
            return self._status
        return replace(self._status, problem="its thread is dead; start the station again")

    # ------------------------------------------------------------------ the thread

    def _forget(self) -> None:
        self._sent = {way.stream.name: way.outbox.sent for way in self._ways} or self._sent
        self._ways = ()

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
        self._look()
        if not pump(self._client, LOOK_S, self._wake_r):
            self._drop(f"{self._where} was lost; check broker and network")

    def _open_journal(self) -> None:
        settings, self._reader = self._settings, JournalFollower(self._path)
        self._ways = tuple(
            open_way(self._path, stream, settings, self._sent.get(stream.name, 0))
            for stream in self._streams(self._reader)
        )
        for way in self._ways:
            way.outbox.connected(None)

    # ------------------------------------------------------------------ the broker

    def _presence(self, online: bool) -> bytes:
        return messages.presence(
            self.sender,
            online=online,
            session=self._session,
            receipts=self._settings.receipts,
            consumers=self._settings.consumers,
            is_simulated=self._is_simulated,
        )

    def _will(self) -> Will:
        return Will(f"{self._settings.topic}/station", self._presence(False))

    def _begin(self, client: Client) -> None:
        topic = self._settings.topic
        client.on_message = self._heard
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
        self._state, self._engines, self._state_at, self._gauges_at = {}, {}, 0.0, 0.0

    def _announce(self, client: Client) -> None:
        """Tell Home Assistant which sensors there are."""
        prefix = self._settings.home_assistant
        if prefix is not None:
            payload = home_assistant.announcement(self._settings.topic, self.sender.station)
            where = home_assistant.config_topic(prefix, self.sender.station)
            client.publish(where, payload, qos=1, retain=True)

    def _confirmed(self, mid: int, reason: int) -> None:
        for way in self._ways:
            way.outbox.confirmed(mid, reason, time.monotonic())

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
        if self._engines_home is not None:
            engines = {"station": self.sender.station, **messages.engines_home(self._engines_home())}
            if engines != self._engines:
                self._engines = engines
                payload = messages.encoded("engines-1", engines | _now())
                client.publish(f"{topic}/engines", payload, qos=1, retain=True)
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

    def _look(self) -> None:
        problems = [self._problem, *(way.outbox.trouble for way in self._ways)]
        self._status = TelemetryStatus(
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
        self._look()


def _now() -> dict[str, str]:
    return {"sent_at": utc_ago(0)}
