"""The simulated cell on a wire of its own choice, in a thread: serial, MQTT, Modbus or OPC UA.

For tests and measurements: the rules are those of :mod:`simulation.cell.protocol`, whatever carries them.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeAlias

from drivers.sorters.messages import Message, TriggerBody
from drivers.sorters.registers import Cell, encode
from simulation.cell.line import PtyLine
from simulation.cell.peers import Peer
from simulation.cell.protocol import CellProtocol, CellRules, Job, Part

Spoil: TypeAlias = Callable[[Message], list[Message]]


class LiveCell(ABC):
    """The simulated cell in a thread of its own, on a wire."""

    def __init__(self, session: int, rules: CellRules) -> None:
        self.protocol = CellProtocol(session, rules)
        self.lock = threading.Lock()
        self.hears = True
        """Whether it takes what the station says."""
        self.spoil: Spoil = lambda message: [message]
        """What is said instead of a message, from now on."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @abstractmethod
    def _serve(self) -> None: ...

    @abstractmethod
    def cut(self) -> None:
        """Cut the wire between the cell and the station."""

    @abstractmethod
    def mend(self) -> None:
        """Put it together again."""

    @abstractmethod
    def garble(self) -> None:
        """Say something that is no message."""

    def start(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def place(self, part_id: int, recipe: str = "", lot: str = "") -> None:
        """A part is in position."""
        now = time.monotonic_ns()
        with self.lock:
            self.protocol.waiting[part_id] = Part(part_id, recipe, placed_ns=now, next_ns=now, lot=lot)

    def ask_job(self, recipe: str) -> None:
        """Ask for another recipe."""
        with self.lock:
            self.protocol.job = Job(recipe, next_ns=time.monotonic_ns())

    def restart(self, session: int) -> None:
        """The cell forgets everything and begins a new session."""
        with self.lock:
            self.protocol = CellProtocol(session, self.protocol.rules)
            self.protocol.line_up(time.monotonic_ns())

    def wait(self, condition: Callable[[CellProtocol], bool], within_s: float = 15.0) -> None:
        """Wait for a condition. Raises AssertionError after ``within_s``."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            with self.lock:
                if condition(self.protocol):
                    return
            time.sleep(0.005)
        raise AssertionError("the cell waited in vain")

    def sorted(self, count: int) -> list[Part]:
        """The parts that were sorted, once there are so many."""
        self.wait(lambda protocol: len(protocol.sorted_parts) >= count)
        with self.lock:
            return list(self.protocol.sorted_parts)

    def end(self) -> None:
        """Serve no more."""
        self._stop.set()
        self._thread.join()


class SerialCell(LiveCell):
    """On a pty, whose other end has a name that stays the same."""

    def __init__(self, folder: Path, session: int, rules: CellRules, words: Any) -> None:
        super().__init__(session, rules)
        self._words = words
        self._line = PtyLine(str(folder / "robot"))
        self._line.plug_in()
        self.port = self._line.port
        self._decoder = words.Decoder()
        self._wanted = True

    @property
    def line_fd(self) -> int:
        """The descriptor of the cell's end; -1 while the line is cut."""
        return self._line.fd

    def cut(self) -> None:
        """Disconnect the cell."""
        self._wanted = False
        self.wait(lambda _: self._line.fd < 0)

    def mend(self) -> None:
        """Connect it again."""
        self._wanted = True
        self.wait(lambda _: self._line.fd >= 0)

    def garble(self) -> None:
        """A message with one bit wrong."""
        data = bytearray(self._words.encode(Message(self.protocol.session, 1, 1, TriggerBody(1))))
        data[len(data) // 2] ^= 0x41
        os.write(self._line.fd, data)

    def _serve(self) -> None:
        with self.lock:
            self._say(self.protocol.line_up(time.monotonic_ns()))
        while not self._stop.wait(0.001):
            with self.lock:
                now = time.monotonic_ns()
                if self._wanted != (self._line.fd >= 0):
                    if self._wanted:
                        self._line.plug_in()
                        self._say(self.protocol.line_up(now))
                    else:
                        self._line.pull_out()
                        self.protocol.line_down()
                if self._line.fd >= 0 and select.select([self._line.fd], [], [], 0)[0]:
                    for message in self._decoder.feed(os.read(self._line.fd, 4096)):
                        if self.hears:
                            self._say(self.protocol.received(message, now))
                self._say(self.protocol.scan(now))
        if self._line.fd >= 0:
            self._line.pull_out()

    def _say(self, messages: list[Message]) -> None:
        for message in messages:
            for spoiled in self.spoil(message):
                if self._line.fd >= 0:
                    with suppress(BlockingIOError):
                        os.write(self._line.fd, self._words.encode(spoiled))


class MqttCell(LiveCell):
    """Behind a broker."""

    def __init__(self, port: int, topic: str, session: int, rules: CellRules) -> None:
        super().__init__(session, rules)
        self._port, self._topic = port, topic
        self._client: Any = None

    def cut(self) -> None:
        """Disconnect the cell from the broker."""
        self._client.disconnect()

    def mend(self) -> None:
        """Connect it again."""
        self._client.reconnect()

    def garble(self) -> None:
        """Publish what is no message."""
        self._client.publish(f"{self._topic}/to-station/trigger", b'{"version":3,"part_id":', qos=1)

    def vanish(self) -> None:
        """The connection ends without a word, as when the cell loses its power."""
        self._client.socket().shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        from drivers.sorters.mqtt.words import decode

        session = self.protocol.session
        version = MQTTProtocolVersion.MQTTv5
        client = self._client = Client(CallbackAPIVersion.VERSION2, f"cell-{session}", protocol=version)
        up = threading.Event()
        offline = f'{{"online":false,"session":{session}}}'
        client.will_set(f"{self._topic}/cell", offline, qos=1, retain=True)
        client.reconnect_delay_set(1, 1)
        client.on_socket_open = _send_at_once

        def connected(*_: object) -> None:
            client.subscribe(f"{self._topic}/to-cell/+", qos=1)
            online = f'{{"online":true,"session":{session}}}'
            client.publish(f"{self._topic}/cell", online, qos=1, retain=True)
            up.set()

        def arrived(_: object, __: object, message: Any) -> None:
            if self.hears:
                heard = decode(message.topic.rpartition("/")[2], message.payload)
                with self.lock:
                    self._say(self.protocol.received(heard, time.monotonic_ns()))

        client.on_connect, client.on_message = connected, arrived
        client.on_disconnect = lambda *_: up.clear()
        client.connect_async("127.0.0.1", self._port, 5)
        client.loop_start()
        was_up = False
        while not self._stop.wait(0.002):
            with self.lock:
                now = time.monotonic_ns()
                if up.is_set() != was_up:
                    was_up = up.is_set()
                    if was_up:
                        self._say(self.protocol.line_up(now))
                    else:
                        self.protocol.line_down()
                if was_up:
                    self._say(self.protocol.scan(now))
        client.disconnect()
        client.loop_stop()

    def _say(self, messages: list[Message]) -> None:
        from drivers.sorters.mqtt.words import encode, name_of

        for message in messages:
            for spoiled in self.spoil(message):
                topic = f"{self._topic}/to-station/{name_of(spoiled.body)}"
                self._client.publish(topic, encode(spoiled), qos=1)


def _send_at_once(_: object, __: object, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class RegisterCell(LiveCell):
    """A PLC that reads and writes registers; ``make_peer`` makes its client, anew for each connection."""

    def __init__(self, session: int, rules: CellRules, make_peer: Callable[[], Peer]) -> None:
        super().__init__(session, rules)
        self._make_peer = make_peer
        self._peer: Peer | None = None
        self._wanted = True

    def cut(self) -> None:
        """Disconnect the cell."""
        self._wanted = False
        self.wait(lambda _: self._peer is None)

    def mend(self) -> None:
        """Connect it again."""
        self._wanted = True

    def garble(self) -> None:
        """A mailbox with a type that does not exist."""
        box = encode(Message(self.protocol.session, 1, 1, TriggerBody(1)))
        box[2] = 0x03_77
        with self.lock:
            if self._peer is not None:
                self._peer.write(Cell.TRIGGER, box)

    def _serve(self) -> None:
        while not self._stop.wait(0.002):
            try:
                if self._peer is None and self._wanted:
                    peer = self._make_peer()
                    if peer.connect():
                        with self.lock:
                            self._peer = peer
                            self._say(self.protocol.line_up(time.monotonic_ns()))
                elif not self._wanted:
                    self._let_go()
                elif self._peer is not None:
                    self._cycle(self._peer)
            except OSError:
                self._let_go()
        self._let_go()

    def _cycle(self, peer: Peer) -> None:
        heard = peer.news(time.monotonic_ns())
        with self.lock:
            now = time.monotonic_ns()
            for message in heard if self.hears else ():
                self._say(self.protocol.received(message, now))
            self._say(self.protocol.scan(now))

    def _let_go(self) -> None:
        if self._peer is not None:
            self._peer.close()
            with self.lock:
                self._peer = None
                self.protocol.line_down()

    def _say(self, messages: list[Message]) -> None:
        for message in messages:
            for spoiled in self.spoil(message):
                if self._peer is not None:
                    self._peer.say(spoiled)
