"""Light controllers without hardware: they speak the drivers' protocols on loopback and can be made to fail.

``python -m simulation.lights gardasoft --port 30313`` serves one on TCP until it is interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import socket
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from drivers.lights.ccs import checksum
from simulation.place import LitLamps

LOOPBACK = "127.0.0.1"


@dataclass
class LightFaults:
    """What is wrong with a simulated controller now; changed while it runs."""

    silent: bool = False
    """It answers nothing."""
    stuck: bool = False
    """It says yes to a setting and keeps the old one."""
    refuses: str = ""
    """It answers every setting with this error of its protocol, such as ``1`` or ``03``."""
    garbles: bool = False
    """Its answers have a flipped bit."""
    hangs_up: bool = False
    """It closes the connection instead of answering."""
    idle_s: float | None = None
    """It closes a connection on which nothing was asked for so long."""
    says: str | None = None
    """It answers this to everything."""


@dataclass
class Lamp:
    """What one output does."""

    percent: float = 0.0
    pulse_ms: float | None = None
    delay_ms: float = 0.0
    flashes: int = 0


@dataclass
class SimulatedLights:
    """A controller on TCP, UDP or a pseudo-terminal; a context manager.

    ``protocol``: ``gardasoft`` or ``ccs``; ``wire``: ``tcp``, ``udp`` or ``serial``. :attr:`address` is what
    a driver's settings take.
    """

    protocol: str
    wire: str = "tcp"
    port: int = 0
    """TCP or UDP port on loopback, 0 for a free one."""
    lamps: dict[int, Lamp] = field(default_factory=lambda: {number: Lamp() for number in range(1, 9)})
    """The outputs by their number, from 1."""
    faults: LightFaults = field(default_factory=LightFaults)
    heard: list[str] = field(default_factory=list)
    """Every command, in order."""
    shown: LitLamps | None = None
    """Where a simulated camera looks which lamps are lit."""
    address: str = ""

    def __enter__(self) -> Self:
        self._show()
        self._wake, self._woken = os.pipe()
        if self.wire == "serial":
            master, slave = os.openpty()
            tty.setraw(slave)
            self.address = os.ttyname(slave)
            self._files = [master, slave]
            serve = self._serve_terminal
        else:
            kind = socket.SOCK_STREAM if self.wire == "tcp" else socket.SOCK_DGRAM
            self._socket = socket.socket(socket.AF_INET, kind)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((LOOPBACK, self.port))
            self.address = f"{self.wire}://{LOOPBACK}:{self._socket.getsockname()[1]}"
            if self.wire == "tcp":
                self._socket.listen()
            serve = self._serve_tcp if self.wire == "tcp" else self._serve_udp
        self._thread = threading.Thread(target=serve, name="simulated-lights", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._woken, b"x")
        self._thread.join(5)
        if self.wire == "serial":
            for file in self._files:
                os.close(file)
        else:
            self._socket.close()
        os.close(self._wake)
        os.close(self._woken)

    def _serve_tcp(self) -> None:
        while self._ready(self._socket.fileno()):
            line, _ = self._socket.accept()
            with line, contextlib.suppress(OSError):
                self._serve(line.fileno())

    def _serve_udp(self) -> None:
        while self._ready(self._socket.fileno()):
            data, sender = self._socket.recvfrom(4096)
            answer = self._answer(data)
            if answer:
                self._socket.sendto(answer, sender)

    def _serve_terminal(self) -> None:
        self._serve(self._files[0])

    def _serve(self, file: int) -> None:
        """Answer commands until the other end leaves or hangs up is switched on."""
        while self._ready(file, self.faults.idle_s):
            data = os.read(file, 4096)
            if not data or self.faults.hangs_up:
                return
            os.write(file, self._answer(data))

    def _ready(self, file: int, timeout_s: float | None = None) -> bool:
        """Wait for bytes or a connection; False in vain, and when the controller is switched off."""
        return select.select([file, self._wake], [], [], timeout_s)[0] == [file]

    def _show(self) -> None:
        """Let the camera see the lamps that light all the time; a pulse is over before it looks."""
        if self.shown is not None:
            lamps = self.lamps.items()
            self.shown.show(number for number, one in lamps if one.percent and one.pulse_ms is None)

    def _answer(self, data: bytes) -> bytes:
        if self.faults.silent:
            return b""
        answer = b""
        for command in data.decode("ascii", "replace").replace("\n", "").split("\r"):
            if command:
                self.heard.append(command)
                if self.faults.says is not None:
                    return self.faults.says.encode("ascii")
                answer += _PROTOCOLS[self.protocol](self, command).encode("ascii")
                self._show()
        if self.faults.garbles and answer:
            middle = len(answer) // 2
            answer = answer[:middle] + bytes([answer[middle] ^ 0x08]) + answer[middle + 1 :]
        return answer


def _gardasoft(lights: SimulatedLights, command: str) -> str:
    name = command[:2]
    if name == "VR":
        return f"{command}\nRT820F-20 (HW02) V033 simulated\n>"
    try:
        channel, *numbers = (float(one) for one in command[2:].split(","))
        lamp = lights.lamps[int(channel)]
    except (ValueError, KeyError):
        return f"{command}\nErr 1\n>"
    if name == "ST":
        pulsed = lamp.pulse_ms is not None
        times = f"DL {lamp.delay_ms:.3f}ms, PU {lamp.pulse_ms or 0:.3f}ms"
        state = f"CH {int(channel)}, MD {int(pulsed)}, S{lamp.percent:.1f}%, {times}, FL 0, CS 0.500A"
        return f"{command}\n{state}\n>"
    if lights.faults.refuses:
        return f"{command}\nErr {lights.faults.refuses}\n>"
    if name == "TR":
        lamp.flashes += 1
    elif name == "RS" and len(numbers) == 1 and 0 <= numbers[0] <= 100:
        if not lights.faults.stuck:
            lamp.percent, lamp.pulse_ms, lamp.delay_ms = numbers[0], None, 0.0
    elif name == "RT" and len(numbers) == 3 and 0 <= numbers[2] <= 999:
        if not lights.faults.stuck:
            lamp.pulse_ms, lamp.delay_ms, lamp.percent = numbers
    else:
        return f"{command}\nErr {1 if name in ('RS', 'RT') else 2}\n>"
    return f"{command}\n>"


_CCS = re.compile(r"(@(\d\d)([FLM])(\d+)00)([0-9A-F]{2})")


def _ccs(lights: SimulatedLights, command: str) -> str:
    found = _CCS.fullmatch(command)
    if found is None:
        return _ended("@00N01")
    text, channel, name, number, total = found.groups()
    if total != checksum(text):
        return _ended(f"@{channel}N02")
    lamp = lights.lamps.get(int(channel) + 1)
    if lamp is None:
        return _ended(f"@{channel}N03")
    if name == "M":
        return _ended(f"@4{int(channel)}0{round(lamp.percent * 2.55):02X}")
    if lights.faults.refuses or (name == "F" and int(number) > 255):
        return _ended(f"@{channel}N{lights.faults.refuses or '03'}")
    if name == "F" and not lights.faults.stuck:
        lamp.percent = int(number) / 2.55
    return _ended(f"@{channel}O00")


def _ended(text: str) -> str:
    return f"{text}{checksum(text)}\r\n"


_PROTOCOLS: dict[str, Callable[[SimulatedLights, str], str]] = {"gardasoft": _gardasoft, "ccs": _ccs}


def main() -> None:
    """Serve one controller on TCP until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m simulation.lights", description=__doc__.split("\n")[0])
    parser.add_argument("protocol", choices=sorted(_PROTOCOLS))
    parser.add_argument("--port", type=int, default=30313, help="TCP port on loopback (30313)")
    chosen = parser.parse_args()
    with SimulatedLights(chosen.protocol, port=chosen.port) as lights:
        print(f"{chosen.protocol} at {lights.address}; end it with Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
