"""A cell behind an MQTT broker: its settings, and one thread around the session.

The thread connects, reads, writes and watches the clock; no call of the application waits for it or for the
broker. A connection that is lost is thrown away with all that waits in it: a new one begins empty, so that no
old result leaves later than the handshake would send it.

What the broker confirms is not yet with the cell: only the cell's RESULT-ACK is a good receipt. A
confirmation with the reason *no matching subscribers* says that nobody listens, and is shown.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from drivers import heartbeat
from drivers.mqtt import (
    FIRST_PAUSE_S,
    NOBODY,
    PAHO,
    REFUSED,
    Attempt,
    BrokerError,
    BrokerSettings,
    Topic,
    Will,
    abandon,
    make_client,
    pump,
)
from drivers.sorters import PROTOCOLS
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import SorterError
from drivers.sorters.messages import Heartbeat, Hello, Message
from drivers.sorters.mqtt.words import LONGEST, NoMessageError, OtherVersionError, decode, encode, name_of
from drivers.sorters.session_sorter import SessionSorter

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_QUEUED = 256
"""Messages that wait for the broker, and messages of the cell that wait to be read."""
_LONGEST_WAIT_S = 0.2


class MqttSettings(BrokerSettings, HandshakeSettings):
    """A robot or PLC behind an MQTT broker, docs/mqtt-protocol.md."""

    kind: Literal["mqtt"] = "mqtt"
    """the sorter's protocol"""
    topic: Topic
    """where the messages of this station and its cell are, such as `plant/line-1/cell-4`"""


@PROTOCOLS.register(MqttSettings, needs=PAHO)
class MqttSorter(SessionSorter):
    """The station's end of docs/mqtt-protocol.md; ``station`` is its name."""

    def __init__(self, settings: MqttSettings, station: str = "station") -> None:
        super().__init__(settings, station)
        self._settings = settings
        self._name = station
        self._port = settings.port_used
        self._client_name = settings.client_id or f"station-{settings.topic.replace('/', '-')}"
        self._out: deque[Message] = deque(maxlen=_QUEUED)
        self._client: Client | None = None
        """The connection in use; None while there is none."""
        self._connecting: Attempt | None = None
        self._arrived: queue.SimpleQueue[tuple[str, bytes, bool]] = queue.SimpleQueue()
        self._bad = 0
        self._unheard = ""
        """Why the message that was confirmed last reached nobody."""
        self._wake_r = self._wake_w = -1

    @property
    def _place(self) -> str:
        return self._settings.host

    def _begin_service(self) -> None:
        try:
            make_client(self._settings, self._client_name)
        except BrokerError as error:  # files that cannot be read do not pass with time
            raise SorterError(str(error)) from None
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def _end_service(self) -> None:
        for end in (self._wake_r, self._wake_w):
            if end >= 0:
                os.close(end)
        self._wake_r = self._wake_w = -1

    @property
    def _described(self) -> str:
        tls = " by TLS" if self._settings.tls else ""
        return f"MQTT {self._settings.host}:{self._port}{tls}, {self._settings.topic}"

    # -- with the lock held

    def _put_out(self, messages: list[Message]) -> None:
        if self._client is not None:
            self._out.extend(messages)
        self._wake()

    def _is_up(self) -> bool:
        return self._client is not None

    def _garbled(self) -> int:
        return self._bad

    def _trouble(self) -> str:
        return self._unheard

    # -- the thread

    def _serve(self) -> None:
        pause_s, try_at = FIRST_PAUSE_S, 0.0
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                if self._client is None and self._connecting is None and time.monotonic() >= try_at:
                    self._connecting = self._attempt()
                if self._connecting is not None and self._connecting.is_over:
                    attempt, self._connecting = self._connecting, None
                    if attempt.client is not None:
                        self._begin(attempt.client)
                        pause_s = FIRST_PAUSE_S
                    else:
                        self._not_connected(attempt.problem)
                        pause_s = min(2 * pause_s, self._settings.reopen_max_s)
                    try_at = time.monotonic() + pause_s
                self._serve_once(try_at)
            except Exception as error:
                with self._lock:
                    why = self._begin_anew(error)
                self._drop(why)
                pause_s = min(2 * pause_s, self._settings.reopen_max_s)
                try_at = time.monotonic() + pause_s
                self._stop.wait(min(pause_s, 0.2))
        self._leave()

    def _attempt(self) -> Attempt:
        will = Will(f"{self._settings.topic}/station", b'{"online": false}')
        return Attempt(self._settings, self._client_name, self._wake, will=will, longest=4 * LONGEST)

    def _not_connected(self, problem: str) -> None:
        with self._lock:
            self._last_error = f"{self._settings.host}:{self._port} {problem}; tried again by itself"

    def _begin(self, client: Client) -> None:
        """Take a client that the broker has welcomed."""
        client.on_message = lambda c, data, message: self._arrived.put(
            (message.topic, bytes(message.payload), bool(message.retain))
        )
        topic = self._settings.topic
        client.subscribe([(f"{topic}/to-station/+", _options()), (f"{topic}/cell", _options())])
        online = {"online": True, "session": self._session.link.session, "name": self._name}
        birth = client.publish(f"{topic}/station", json.dumps(online), qos=1, retain=True).mid
        client.on_publish = lambda c, data, mid, reason, properties: self._confirmed(
            0 if mid == birth and reason.value == NOBODY else int(reason.value)
        )
        with self._lock:
            self._client = client
            self._opened += 1
            self._last_error = self._unheard = ""
            self._do(self._session.line_up(time.monotonic_ns()))

    def _serve_once(self, try_at: float) -> None:
        client = self._client
        with self._lock:
            wait_s = min((self._session.next_due_ns() - time.monotonic_ns()) / 1e9, _LONGEST_WAIT_S)
        if client is None:
            wait_s = min(wait_s, try_at - time.monotonic()) if self._connecting is None else wait_s
        if not pump(client, max(0.0, wait_s), self._wake_r):
            self._drop(f"{self._settings.host}:{self._port} was lost; check broker and network")
            return
        with self._lock:
            now_ns = time.monotonic_ns()
            while not self._arrived.empty():
                self._take(*self._arrived.get(), now_ns)
            self._do(self._session.tick(now_ns))
            going, self._sent = list(self._out), self._sent + len(self._out)
            self._out.clear()
        if self._client is not None:
            for message in going:
                self._publish(self._client, message)

    def _take(self, topic: str, payload: bytes, retained: bool, now_ns: int) -> None:
        """One message of the broker, with the lock held."""
        if topic == f"{self._settings.topic}/cell":
            self._cell_said(payload)
            return
        if retained:
            self._bad += 1
            self._session.handshake.problem = (
                f"a message that the broker keeps lies on {topic}; it is ignored: remove it there (publish "
                "an empty retained message)"
            )
            return
        try:
            message = decode(topic.rpartition("/")[2], payload)
        except OtherVersionError as error:
            self._do(self._session.other_version(error.version))
            return
        except NoMessageError as error:
            self._bad += 1
            self._session.handshake.problem = f"on {topic[:100]}: {error}"
            return
        self._do(self._session.received(message, now_ns))

    def _cell_said(self, payload: bytes) -> None:
        """The cell's birth or last will: only *offline* counts, because life is shown by messages."""
        try:
            words = json.loads(payload[:LONGEST])
        except (ValueError, RecursionError):
            return
        if isinstance(words, dict) and words.get("online") is False:
            self._session.link.other_end_is_gone(words.get("session"))

    def _publish(self, client: Client, message: Message) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = max(1, round(self._settings.ack_timeout_ms / 1000))
        client.publish(
            f"{self._settings.topic}/to-cell/{name_of(message.body)}",
            encode(message),
            qos=0 if isinstance(message.body, Hello | Heartbeat) else 1,
            properties=properties,
        )

    def _confirmed(self, reason: int) -> None:
        """The broker has taken a message; whether it is with the cell, only the cell says."""
        text = ""
        if reason == NOBODY:
            text = f"nobody is subscribed to {self._settings.topic}/to-cell/+; connect the cell to the broker"
        elif reason >= REFUSED:
            text = f"the broker refuses our messages (reason 0x{reason:02X}); check the rights of the user"
        with self._lock:
            self._unheard = text

    def _drop(self, why: str) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        abandon(client)
        with self._lock:
            self._out.clear()
            self._last_error = why
            while not self._arrived.empty():
                self._arrived.get()
            self._do(self._session.line_down(time.monotonic_ns()))

    def _leave(self) -> None:
        """What was said last goes out, and *offline*, as far as the broker takes it now."""
        client = self._client
        if client is None:
            return
        with self._lock:
            going = list(self._out)
            self._out.clear()
        for message in going:
            self._publish(client, message)
        offline = {"online": False, "session": self._session.link.session}
        last = client.publish(f"{self._settings.topic}/station", json.dumps(offline), qos=1, retain=True)
        until = time.monotonic() + 1.0
        while not last.is_published() and time.monotonic() < until and pump(client, 0.05):
            pass
        client.disconnect()
        pump(client, 0.05)
        self._drop("closed")

    def _wake(self) -> None:
        if self._wake_w < 0 or self._thread is threading.current_thread():
            return
        try:
            os.write(self._wake_w, b"\0")
        except OSError:  # full: it wakes as well; closed: nobody is left to wake
            return


def _options() -> Any:
    """As it comes, and never what this client sent itself.

    The messages that matter are repeated until they are answered, so nothing is lost by quality of service 0.
    With 1, mosquitto counts each message that is larger than we take as one under way for ever: after twenty
    such messages of a stranger nothing reaches the station any more.
    """
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return SubscribeOptions(qos=0, noLocal=True)
