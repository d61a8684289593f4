"""A cell behind an MQTT broker: its settings, and paho's client and one thread around the session.

The thread connects, reads, writes and watches the clock; no call of the application waits for it or for the
broker. A connection that is lost is thrown away with all that waits in it: a new one begins empty, so that no
old result leaves later than the handshake would send it.

What the broker confirms is not yet with the cell: only the cell's RESULT-ACK is a good receipt. A
confirmation with the reason *no matching subscribers* says that nobody listens, and is shown.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drivers import heartbeat
from drivers.registry import Package
from drivers.settings import FilePath, Seconds, Word, mistake
from drivers.sorters import PROTOCOLS
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import SorterError
from drivers.sorters.messages import Heartbeat, Hello, Message
from drivers.sorters.mqtt.words import LONGEST, NoMessageError, decode, encode, name_of
from drivers.sorters.session_sorter import SessionSorter

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

PORT, TLS_PORT = 1883, 8883
NOBODY = 0x10
"""The reason of a confirmation: no matching subscribers."""
_QUEUED = 256
"""Messages that wait for the broker, and messages of the cell that wait to be read."""
_LONGEST_WAIT_S = 0.2
_FIRST_PAUSE_S = 0.05


class MqttSettings(HandshakeSettings):
    """A robot or PLC behind an MQTT broker, docs/mqtt-protocol.md."""

    kind: Literal["mqtt"] = "mqtt"
    """the sorter's protocol"""
    host: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:\-]+$")]
    """the broker's name or address"""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """the broker's port; without it, 1883, and 8883 with `tls`"""
    topic: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """where the messages of this station and its cell are, such as `plant/line-1/cell-4`"""
    client_id: Word = ""
    """the station's name at the broker; without it, it is made from the topic"""
    user: Word = ""
    """the user at the broker"""
    password_file: FilePath | None = None
    """a file with the user's password"""
    tls: bool = False
    """whether the connection is encrypted and the broker's certificate checked"""
    ca_file: FilePath | None = None
    """the certificate of the authority that signed the broker's; without it, those that the system trusts"""
    cert_file: FilePath | None = None
    """the station's own certificate, where the broker asks for one"""
    key_file: FilePath | None = None
    """the key of the station's own certificate"""
    keepalive_s: Annotated[int, Field(ge=1, le=600)] = 5
    """the broker says that the station is offline after one and a half times this silence, s"""
    connect_timeout_s: Seconds = 5.0
    """the time after which an attempt to connect is given up, s"""
    reopen_max_s: Seconds = 2.0
    """the longest pause between two attempts to connect, s; the first pause is 0.05 s"""

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if any(character in self.topic for character in "#+$\0") or "" in self.topic.split("/"):
            raise mistake(
                "topic",
                f"is {self.topic!r}, with #, + or $, or with an empty level",
                "write a topic such as plant/line-1/cell-4",
            )
        if self.password_file is not None and not self.user:
            raise mistake("user", "is missing, though there is a password_file", "write the user's name")
        given = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        for key, file in given.items():
            if file is not None and not self.tls:
                raise mistake(key, "is set without `tls`", "write `tls: true`, or remove it")
        if (self.cert_file is None) != (self.key_file is None):
            absent = "key_file" if self.key_file is None else "cert_file"
            raise mistake(absent, "is missing: certificate and key belong together", "write both, or none")
        return self


@PROTOCOLS.register(MqttSettings, needs=Package("paho", extra="mqtt", distribution="paho-mqtt"))
class MqttSorter(SessionSorter):
    """The station's end of docs/mqtt-protocol.md; ``station`` is its name."""

    def __init__(self, settings: MqttSettings, station: str = "station") -> None:
        super().__init__(settings, station)
        self._settings = settings
        self._name = station
        self._port = settings.port or (TLS_PORT if settings.tls else PORT)
        self._out: deque[Message] = deque(maxlen=_QUEUED)
        self._client: Client | None = None
        """The connection in use; None while there is none."""
        self._connecting: _Attempt | None = None
        self._arrived: queue.SimpleQueue[tuple[str, bytes, bool]] = queue.SimpleQueue()
        self._bad = 0
        self._unheard = ""
        """Why the message that was confirmed last reached nobody."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_r = self._wake_w = -1

    def open(self) -> None:
        """Serve the broker from now on; one that is away is waited for, in the background."""
        if self._thread is not None:
            raise SorterError("this sorter was already opened once; make a new one")
        _make_client(self._settings)  # files that cannot be read do not pass with time
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name=f"sorter {self._settings.host}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say "not ready" and "offline", give the open results their bad receipts, leave the broker."""
        if self._stop.is_set():
            return
        with self._lock:
            self._do(self._session.close(time.monotonic_ns()))
        self._stop.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        with self._lock:
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
        heartbeat.begin("sorter")
        pause_s, try_at = _FIRST_PAUSE_S, 0.0
        while not self._stop.is_set():
            heartbeat.beat()
            try:
                if self._client is None and self._connecting is None and time.monotonic() >= try_at:
                    self._connecting = _Attempt(self._settings, self._port, self._wake)
                if self._connecting is not None and self._connecting.is_over:
                    attempt, self._connecting = self._connecting, None
                    if attempt.client is not None:
                        self._begin(attempt.client)
                        pause_s = _FIRST_PAUSE_S
                    else:
                        self._not_connected(attempt.problem)
                        pause_s = min(2 * pause_s, self._settings.reopen_max_s)
                    try_at = time.monotonic() + pause_s
                self._serve_once(try_at)
            except Exception as error:  # a mistake of ours must not end the service of the wire
                log.exception("sorter %s: the connection is made anew", self._settings.host)
                with self._lock:
                    why = f"an error of this software ({error!r}); please report it; it recovers by itself"
                    self._give_up_all(why)
                self._drop(why)
                pause_s = min(2 * pause_s, self._settings.reopen_max_s)
                try_at = time.monotonic() + pause_s
                self._stop.wait(min(pause_s, 0.2))
        self._leave()
        heartbeat.end()

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
        if not _pump(client, max(0.0, wait_s), self._wake_r):
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
        elif reason >= 0x80:
            text = f"the broker refuses our messages (reason 0x{reason:02X}); check the rights of the user"
        with self._lock:
            self._unheard = text

    def _drop(self, why: str) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        _abandon(client)
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
        while not last.is_published() and time.monotonic() < until and _pump(client, 0.05):
            pass
        client.disconnect()
        _pump(client, 0.05)
        self._drop("closed")

    def _wake(self) -> None:
        if self._wake_w < 0 or self._thread is threading.current_thread():
            return
        try:
            os.write(self._wake_w, b"\0")
        except OSError:  # full: it wakes as well; closed: nobody is left to wake
            return


class _Attempt:
    """One attempt to reach the broker, in a thread of its own: looking a name up may take long."""

    def __init__(self, settings: MqttSettings, port: int, done: Callable[[], None]) -> None:
        self.client: Client | None = None
        """Once the attempt is over: a client that the broker has welcomed; None where it has not."""
        self.problem = ""
        self.is_over = False
        self._settings, self._port, self._done = settings, port, done
        threading.Thread(target=self._try, name="sorter connecting", daemon=True).start()

    def _try(self) -> None:
        try:
            self.client = self._connected()
        except ssl.SSLCertVerificationError as error:
            self.problem = f"has no valid certificate ({error.verify_message}); renew it or correct `ca_file`"
        except ssl.SSLError as error:
            self.problem = f"does not speak TLS with this station ({error.reason}); check port and `tls`"
        except (OSError, ValueError, SorterError) as error:
            self.problem = f"cannot be reached ({error}); check broker and network"
        except Exception as error:  # an attempt that never ends would be the last one
            log.exception("sorter %s: an attempt to connect failed", self._settings.host)
            self.problem = f"cannot be reached, by an error of this software ({error!r}); please report it"
        finally:
            self.is_over = True
            self._done()

    def _connected(self) -> Client | None:
        settings = self._settings
        client = _make_client(settings)
        client.will_set(f"{settings.topic}/station", json.dumps({"online": False}), qos=1, retain=True)
        answers: list[Any] = []
        client.on_connect = lambda c, data, flags, reason, properties: answers.append(reason)
        wishes = _connect_wishes()
        until = time.monotonic() + settings.connect_timeout_s
        client.on_socket_open = _send_at_once
        client.connect(settings.host, self._port, settings.keepalive_s, clean_start=True, properties=wishes)
        while not answers and time.monotonic() < until and _pump(client, 0.05):
            pass
        if answers and not answers[0].is_failure:
            return client
        _abandon(client)
        self.problem = "does not answer as a broker; check host and port"
        if answers:
            self.problem = f"refuses the connection ({answers[0]}); check user, password and rights there"
        return None


def _make_client(settings: MqttSettings) -> Client:
    """A client that is not connected. Raises :class:`SorterError` for files that cannot be used."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    name = settings.client_id or f"station-{settings.topic.replace('/', '-')}"
    client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect_timeout = settings.connect_timeout_s
    client.max_queued_messages_set(_QUEUED)
    if settings.user:
        client.username_pw_set(settings.user, _password(settings.password_file))
    if settings.tls:
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
            if settings.cert_file is not None:
                context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(f) for f in (settings.ca_file, settings.cert_file, settings.key_file) if f)
            raise SorterError(f"{files} cannot be used ({error}); write files in PEM format") from None
        client.tls_set_context(context)
    return client


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SorterError(f"{file} cannot be read ({error}); write the password into it as text") from None


def _connect_wishes() -> Any:
    """Nothing is kept for this station while it is away, and nothing large is sent to it."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    properties.MaximumPacketSize = 4 * LONGEST
    return properties


def _send_at_once(client: Client, data: object, sock: Any) -> None:
    """Otherwise a small message waits up to 40 ms for the next one."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _options() -> Any:
    """At least once, and never what this client sent itself."""
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return SubscribeOptions(qos=1, noLocal=True)


def _pump(client: Client | None, wait_s: float, wake: int = -1) -> bool:
    """Read and write what can be read and written within a time; False when the connection is lost."""
    poll = select.poll()
    if wake >= 0:
        poll.register(wake, select.POLLIN)
    sock = client.socket() if client is not None else None
    if client is not None:
        if sock is None:
            return False
        if getattr(sock, "pending", int)():  # TLS has read more than was asked for
            wait_s = 0.0
        poll.register(sock.fileno(), select.POLLIN | (select.POLLOUT if client.want_write() else 0))
    happened = dict(poll.poll(wait_s * 1000))
    if happened.get(wake, 0):
        os.read(wake, 4096)
    if client is None or sock is None:
        return True
    events = happened.get(sock.fileno(), 0)
    if (events & ~select.POLLOUT or getattr(sock, "pending", int)()) and client.loop_read() != 0:
        return False
    if client.want_write() and client.loop_write() != 0:
        return False
    return client.loop_misc() == 0 and client.socket() is not None


def _abandon(client: Client) -> None:
    """Close the connection without a word: the broker then says that the station is offline."""
    sock = client.socket()
    client.on_message = client.on_publish = client.on_connect = None
    if sock is not None:
        sock.close()
