"""An MQTT broker as seen by a client of ours: settings, TLS, an attempt to connect, a step of the connection.

A connection that is lost is thrown away with all that waits in it (:func:`abandon`); a new one begins empty.
What belongs on the broker's topics is none of this file's business.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from drivers.errors import InspectionError
from drivers.registry import Package
from drivers.settings import FilePath, Seconds, Section, Word, mistake

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

PAHO = Package("paho", extra="mqtt", distribution="paho-mqtt")
"""What every client of a broker needs."""

PORT, TLS_PORT = 1883, 8883
NOBODY = 0x10
"""The reason of a confirmation: no matching subscribers."""
REFUSED = 0x80
"""The lowest reason of a confirmation that refuses the message."""
FIRST_PAUSE_S = 0.05
"""Between the first two attempts to connect; it doubles."""
_QUEUED = 256


class BrokerError(InspectionError):
    """A client cannot be made; the message names the file and says what to do about it."""


def _is_one_place(topic: str) -> str:
    if any(character in "#+$" or not character.isprintable() for character in topic) or "" in topic.split(
        "/"
    ):
        problem = f"is {topic!r}, with #, + or $, a control character, or an empty level"
        raise PydanticCustomError(
            "topic", "{problem}", {"problem": problem, "remedy": "write a topic such as plant/line-1/cell-4"}
        )
    return topic


Topic = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_is_one_place)]
"""A topic that names one place."""


class BrokerSettings(Section):
    """A connection to an MQTT broker."""

    host: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:\-]+$")]
    """the broker's name or address"""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """the broker's port; without it, 1883, and 8883 with `tls`"""
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

    @property
    def port_used(self) -> int:
        """The port, also where none is set."""
        return self.port or (TLS_PORT if self.tls else PORT)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
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


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the connection is lost without a goodbye."""

    topic: str
    payload: bytes
    retain: bool = True


class Attempt:
    """One attempt to reach the broker, in a thread of its own: looking a name up may take long."""

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        done: Callable[[], None],
        *,
        will: Will | None,
        longest: int,
    ) -> None:
        """``name``: at the broker. ``will``: the last will, if any.

        ``longest``: the largest packet that the broker may send, bytes.
        """
        self.client: Client | None = None
        """Once the attempt is over: a client that the broker has welcomed; None where it has not."""
        self.problem = ""
        self.is_over = False
        self._settings, self._name, self._done = settings, name, done
        self._will, self._longest = will, longest
        threading.Thread(target=self._try, name="connecting to the broker", daemon=True).start()

    def _try(self) -> None:
        try:
            self.client = self._connected()
        except ssl.SSLCertVerificationError as error:
            self.problem = f"has no valid certificate ({error.verify_message}); renew it or correct `ca_file`"
        except ssl.SSLError as error:
            self.problem = f"does not speak TLS with this station ({error.reason}); check port and `tls`"
        except (OSError, ValueError, InspectionError) as error:
            self.problem = f"cannot be reached ({error}); check broker and network"
        except Exception as error:  # an attempt that never ends would be the last one
            log.exception("broker %s: an attempt to connect failed", self._settings.host)
            self.problem = f"cannot be reached, by an error of this software ({error!r}); please report it"
        finally:
            self.is_over = True
            self._done()

    def _connected(self) -> Client | None:
        settings = self._settings
        client = make_client(settings, self._name)
        if self._will is not None:
            will = self._will
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        answers: list[Any] = []
        client.on_connect = lambda c, data, flags, reason, properties: answers.append(reason)
        until = time.monotonic() + settings.connect_timeout_s
        client.on_socket_open = _send_at_once
        client.connect(
            settings.host,
            settings.port_used,
            settings.keepalive_s,
            clean_start=True,
            properties=_wishes(self._longest),
        )
        while not answers and time.monotonic() < until and pump(client, 0.05):
            pass
        if answers and not answers[0].is_failure:
            return client
        abandon(client)
        self.problem = "does not answer as a broker; check host and port"
        if answers:
            self.problem = f"refuses the connection ({answers[0]}); check user, password and rights there"
        return None


def make_client(settings: BrokerSettings, name: str) -> Client:
    """A client that is not connected. Raises :class:`BrokerError` for files that cannot be used."""
    if PAHO.missing:
        raise BrokerError(PAHO.missing)
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

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
            raise BrokerError(f"{files} cannot be used ({error}); write files in PEM format") from None
        client.tls_set_context(context)
    return client


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerError(f"{file} cannot be read ({error}); write the password into it as text") from None


def _wishes(longest: int) -> Any:
    """Nothing is kept for this station while it is away, and nothing large is sent to it."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    properties.MaximumPacketSize = longest
    return properties


def _send_at_once(client: Client, data: object, sock: Any) -> None:
    """Otherwise a small message waits up to 40 ms for the next one."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def pump(client: Client | None, wait_s: float, wake: int = -1) -> bool:
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


def abandon(client: Client) -> None:
    """Close the connection without a word: the broker then publishes the last will."""
    sock = client.socket()
    client.on_message = client.on_publish = client.on_connect = None
    if sock is not None:
        sock.close()
