"""Sends the station's records, counts and states as Sparkplug B 3.0, docs/sparkplug.md.

A thread and a connection of its own, because the last will of a node is its NDEATH. The queue of records is
the journal, as for the messages in JSON; messages of Sparkplug are never confirmed (quality of service 0),
so a record counts as delivered when it was handed to the network, and the last ``replay_s`` before a loss
are sent again. Source: Eclipse Sparkplug Specification 3.0.0.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.mqtt import Will, pump
from station.journal.errors import JournalError
from station.journal.following import JournalFollower
from station.telemetry.messages import engines_home
from station.telemetry.settings import Telemetry
from station.telemetry.sparkplug_metrics import (
    line_metrics,
    node_metrics,
    record_metrics,
    stamped,
)
from station.telemetry.sparkplug_payload import Metric, NoPayloadError
from station.telemetry.sparkplug_session import Message, NodeSession, PrimaryHost, asks_for_rebirth
from station.telemetry.sparkplug_settings import Sparkplug
from station.telemetry.status import SparkplugStatus
from station.telemetry.streams import RecordStream
from station.telemetry.thread import LAST_WORDS_S, LOOK_S, BrokerThread
from station.telemetry.way import Way, may_be_sent, open_way

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

    from station.line_values import LineStatus

STATE_S = 0.5
"""How often it looks for a new state."""
MOVE_S = 1.0
"""How often the cursor is written."""
REBIRTH_S = 1.0
"""Births that a host asks for come at most so often."""
AT_A_TIME = 200
"""Records that are sent before the connection is read again."""


class SparkplugSender(BrokerThread):
    """One station as a node, its line as a device. Its creator closes it."""

    def __init__(
        self,
        settings: Telemetry,
        sparkplug: Sparkplug,
        station: str,
        journal: Path,
        head: Callable[[], int],
        *,
        is_simulated: bool,
    ) -> None:
        """``head``: the journal's last event, from memory. Raises ``BrokerError`` for files of no use."""
        own = f"{sparkplug.group}-{sparkplug.node}".replace(" ", "-")
        name = f"{settings.client_id}-sparkplug" if settings.client_id else f"sparkplug-{own}"
        super().__init__(settings.for_sparkplug(), name, "telemetry by Sparkplug", journal)
        self._head, self._station, self._is_simulated = head, station, is_simulated
        self._node = NodeSession(sparkplug)
        self._host = PrimaryHost(sparkplug.primary_host) if sparkplug.primary_host else None
        self._sent = 0
        with JournalFollower(journal) as reader:
            self._journal_id = reader.head().journal_id
            with suppress(JournalError):  # said by the thread, which meets it again
                self._sent = may_be_sent(journal, RecordStream(reader), self._settings)
        self._status_of_line: Callable[[], LineStatus] | None = None
        self._engines: Callable[[], dict[str, Any] | None] = lambda: None
        self._way: Way | None = None
        self._going: deque[MQTTMessageInfo] = deque()
        """Records that are handed to the network, in their order."""
        self._is_born = self._line_is_born = self._must_bear = False
        self._late = 0
        """Up to this number, records were in the journal at the last birth: they are history."""
        self._shown: dict[str, Metric] = {}
        """What the host knows of the line."""
        self._node_shown: tuple[Metric, ...] = ()
        self._births = 0
        self._born_at = self._state_at = self._gauges_at = self._move_at = 0.0
        self._look()
        self._start()

    def watch(
        self, status: Callable[[], LineStatus], engines: Callable[[], dict[str, Any] | None] = lambda: None
    ) -> None:
        """Send the state and the counts of a line from now on.

        ``engines``: what the status document says of engines that came home; None where none did.
        """
        self._engines = engines
        self._status_of_line = status

    def status(self) -> SparkplugStatus:
        """As it was a moment ago; never waits."""
        if self._thread.is_alive() or self._stop.is_set():
            return self._status
        return replace(self._status, problem="its thread is dead; start the station again")

    # ------------------------------------------------------------------ the thread

    def _will(self) -> Will:
        return self._node.connects(_now())

    def _forget(self) -> None:
        if self._way is not None:
            self._sent = self._way.outbox.sent
        self._way = None

    def _step(self) -> None:
        if self._way is None:
            self._reader = JournalFollower(self._path)
            self._way = open_way(self._path, RecordStream(self._reader), self._settings, self._sent)
            self._way.outbox.connected(None)
        self._connect()
        more = False
        if self._client is not None:
            self._listen(self._client)
        if self._client is not None:
            self._bear(self._client, self._way)
            more = self._send(self._client, self._way)
            self._show(self._client, self._way)
        now = time.monotonic()
        if now >= self._move_at:
            self._move_at = now + MOVE_S
            self._way.move_cursors(self._head())
        self._look()
        if not pump(self._client, 0.0 if more else LOOK_S, self._wake_r):
            self._drop(f"{self._where} was lost; check broker and network")

    def _begin(self, client: Client) -> None:
        self._is_born = self._line_is_born = self._must_bear = False
        self._going.clear()
        client.on_message = self._heard
        topics = [(self._node.topic("NCMD"), 1)]
        if self._host is not None:
            self._host.online = False  # until it says so to this connection
            topics.append((self._host.topic, 1))
        client.subscribe(topics)

    # ------------------------------------------------------------------ what hosts say

    def _listen(self, client: Client) -> None:
        """STATE of the primary host, and NCMD."""
        while not self._arrived.empty():
            topic, payload, retained = self._arrived.get()
            try:
                if self._host is not None and topic == self._host.topic:
                    self._host.said(payload)
                elif retained:
                    raise NoPayloadError("the broker keeps it; remove it there")
                elif asks_for_rebirth(payload):
                    self._must_bear = True
            except NoPayloadError as error:
                self._ignored += 1
                self._problem = f"a message on {topic[:100]} is ignored: {error}"
        if self._is_born and self._host is not None and not self._host.online:
            self._say_goodbye(client)
            self._drop(f"the primary host {self._host.name} is offline; records wait in the journal")

    # ------------------------------------------------------------------ births

    def _bear(self, client: Client, way: Way) -> None:
        """NBIRTH and DBIRTH, once the host is there, and again when it asks for them."""
        if self._host is not None and not self._host.online:
            self._problem = self._problem or (
                f"the primary host {self._host.name} is not online; records wait in the journal"
            )
            return
        now = time.monotonic()
        if self._is_born and not (self._must_bear and now >= self._born_at + REBIRTH_S):
            return
        if not self._is_born:
            self._problem = ""
            way.outbox.connected(self._lost_at)
        self._is_born, self._line_is_born, self._must_bear, self._born_at = True, False, False, now
        self._births += 1
        self._node_shown = self._node_metrics(way)
        at = _now()
        self._publish(client, self._node.birth(stamped(self._node_shown, at), at))
        self._bear_line(client, way)

    def _bear_line(self, client: Client, way: Way) -> None:
        if self._status_of_line is None:
            return
        status = self._status_of_line()
        if status.died:
            return
        self._late = way.stream.newest()
        last = way.stream.read(self._late - 1, 1) if self._late else []
        number, record = (last[0].number, last[0].body["record"]) if last else (None, {})
        at, line = _now(), line_metrics(status, self._home())
        metrics = (*record_metrics(number, record, at=at, is_historical=False), *stamped(line, at))
        self._shown = {one.name: one for one in line}
        self._publish(client, self._node.device_birth(metrics, at))
        self._line_is_born = True
        self._state_at = self._gauges_at = 0.0

    def _home(self) -> dict[str, Any]:
        return engines_home(self._engines())

    def _node_metrics(self, way: Way) -> tuple[Metric, ...]:
        waiting = sum(way.waiting.values())
        return node_metrics(self._station, self._journal_id, is_simulated=self._is_simulated, waiting=waiting)

    # ------------------------------------------------------------------ data

    @property
    def _may_send(self) -> bool:
        return self._is_born and self._line_is_born and not self._must_bear

    def _send(self, client: Client, way: Way) -> bool:
        """Send records; whether more of them wait."""
        if not self._may_send:
            return False
        for _ in range(AT_A_TIME):
            self._count_as_delivered(way)
            now = time.monotonic()
            batch = way.outbox.wants(now)
            if batch is None:
                return False
            message, gone = way.take(batch, self._head())
            if message is None:
                if gone is None:
                    return False
                continue
            late = message.number <= self._late or way.outbox.is_repeat(message.number)
            at = _now()
            metrics = record_metrics(message.number, message.body["record"], at=at, is_historical=late)
            sent = self._publish(client, self._node.device_data(metrics, at))
            way.outbox.went(batch, message.number, sent.mid, now)
            self._going.append(sent)
        self._count_as_delivered(way)
        return True

    def _count_as_delivered(self, way: Way) -> None:
        while self._going and self._going[0].rc == 0 and self._going[0].is_published():
            way.outbox.confirmed(self._going.popleft().mid, 0, time.monotonic())

    def _show(self, client: Client, way: Way) -> None:
        """What has changed: of the line's state at once, of its counts and times every ``gauges_s``."""
        now = time.monotonic()
        if not self._is_born or self._must_bear or self._status_of_line is None or now < self._state_at:
            return
        self._state_at = now + STATE_S
        status = self._status_of_line()
        if status.died or not self._line_is_born:
            self._line_died_or_came(client, way, died=status.died)
            return
        line = line_metrics(status, self._home())
        if any(one.name not in self._shown for one in line):
            self._bear_line(client, way)  # births name everything that data ever names
            return
        changed = [one for one in line if one != self._shown[one.name]]
        if now < self._gauges_at:
            changed = [one for one in changed if one.name.startswith("Line/") and isinstance(one.value, str)]
        else:
            self._gauges_at = now + self._settings.gauges_s
            self._show_node(client, way)
        if changed:
            at = _now()
            self._shown.update({one.name: one for one in changed})
            self._publish(client, self._node.device_data(stamped(changed, at), at))

    def _line_died_or_came(self, client: Client, way: Way, *, died: bool) -> None:
        if not died:
            self._bear_line(client, way)
        elif self._line_is_born:
            self._line_is_born = False
            self._publish(client, self._node.device_death(_now()))

    def _show_node(self, client: Client, way: Way) -> None:
        metrics = self._node_metrics(way)
        changed = [one for one, known in zip(metrics, self._node_shown, strict=True) if one != known]
        if changed:
            at = _now()
            self._node_shown = metrics
            self._publish(client, self._node.data(stamped(changed, at), at))

    def _publish(self, client: Client, message: Message, qos: int = 0) -> MQTTMessageInfo:
        topic, payload = message
        return client.publish(topic, payload, qos=qos)

    # ------------------------------------------------------------------ the end

    def _leave(self) -> None:
        until = time.monotonic() + LAST_WORDS_S
        while (client := self._client) is not None and self._way is not None and time.monotonic() < until:
            more = self._send(client, self._way)
            if not more and not self._going:
                break
            if not pump(client, 0.05):
                self._drop("the connection was lost")
        if (client := self._client) is not None:
            if self._is_born:
                if self._line_is_born:
                    self._publish(client, self._node.device_death(_now()))
                self._say_goodbye(client)
            else:
                client.disconnect()
                pump(client, 0.05)
            self._drop("closed")
        if self._way is not None:
            self._way.move_cursors(self._head())
        self._look()

    def _say_goodbye(self, client: Client) -> None:
        """NDEATH, which has the quality of service of the will, then the end of the connection."""
        until = time.monotonic() + 1.0
        last = self._publish(client, self._node.death(_now()), qos=1)
        while last.rc == 0 and not last.is_published() and time.monotonic() < until and pump(client, 0.05):
            pass
        client.disconnect()
        pump(client, 0.05)

    def _drop(self, why: str) -> None:
        last, was_born = self._lost_at, self._is_born
        self._is_born = self._line_is_born = False
        super()._drop(why)
        if not was_born:
            self._lost_at = last  # nothing was sent since the loss before

    def _look(self) -> None:
        way = self._way
        self._status = SparkplugStatus(
            connected=self._client is not None,
            born=self._is_born,
            node=self._node.topic("NBIRTH"),
            problem=self._problem,
            waiting=sum(way.waiting.values()) if way is not None else 0,
            repeats=way.outbox.repeats if way is not None else 0,
            births=self._births,
            ignored=self._ignored,
        )


def _now() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
