"""A gateway between a cell that speaks frames and a station behind an MQTT broker, as plants have them.

For the cell's side it is a line like any other, which is plugged in and pulled out; frames that arrive broken
are lost there, as on a wire. Behind it is a client of its own at the broker.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from drivers.sorters.mqtt import words
from drivers.sorters.serial.frames import Decoder, FrameError, encode
from simulation.cell.gateway import Gateway

_KEEPALIVE_S = 5


class BrokerLine(Gateway):
    """The end of the line that is a client of the broker."""

    def __init__(self, port: int, topic: str) -> None:
        super().__init__(f"mqtt://127.0.0.1:{port}/{topic}")
        self._broker, self._topic = port, topic
        self._client: Any = None
        self._session = 0

    def plug_in(self) -> None:
        """Connect, and go on trying where there is no broker."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        client: Any = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.reconnect_delay_set(0.05, 0.2)
        client.on_socket_open = lambda _, __, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.on_connect = lambda *_: client.subscribe(f"{self._topic}/to-cell/+", qos=1)
        client.on_message = self._heard
        self._client = client
        super().plug_in()
        client.connect_async("127.0.0.1", self._broker, _KEEPALIVE_S)
        client.loop_start()

    def pull_out(self) -> None:
        """Vanish from the broker without a word; what was not sent yet is lost."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, AttributeError):  # it may have no connection now
                client.socket().shutdown(socket.SHUT_RDWR)
            client.disconnect()  # not for the broker, which hears nothing any more: else it connects again
            client.loop_stop()
        super().pull_out()

    def _serve(self, inner: socket.socket) -> None:
        """Publish what the cell says, until the line is pulled out."""
        decoder = Decoder()
        while data := inner.recv(4096):
            for message in decoder.feed(data):
                client = self._client
                if client is None or not client.is_connected():
                    continue  # lost, as on a wire that is cut
                if message.sender != self._session:
                    self._session = message.sender
                    online = {"online": True, "session": message.sender}
                    client.publish(f"{self._topic}/cell", json.dumps(online), qos=1, retain=True)
                topic = f"{self._topic}/to-station/{words.name_of(message.body)}"
                client.publish(topic, words.encode(message), qos=1)

    def _heard(self, client: Any, _: object, arrived: Any) -> None:
        """Hand the cell what the station says."""
        with contextlib.suppress(words.NoMessageError, FrameError):
            frame = encode(words.decode(arrived.topic.rpartition("/")[2], arrived.payload))
            inner = self._inner
            if inner is not None:
                with contextlib.suppress(OSError):  # it is being pulled out
                    inner.send(frame)
