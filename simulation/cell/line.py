"""The cell's end of the line, a pty or a device, and the mischief done to what goes over it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import tty
from collections import Counter
from pathlib import Path

from drivers.sorters.messages import Message, ResultAck, TriggerBody
from drivers.sorters.serial.frames import encode
from simulation.cell.settings import CellSettings
from simulation.switchboard import Switchboard

_MS = 1_000_000


class PtyLine:
    """The cell's end of a pty pair; the slave is kept open, so that a station may come and go."""

    def __init__(self, link: str) -> None:
        self._link = Path(link) if link else None
        self._slave = -1
        self.fd = -1
        self.port = ""

    def plug_in(self) -> None:
        """Make the pair and show it under its name."""
        self.fd, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.fd, False)
        self.port = os.ttyname(self._slave)
        if self._link is not None:
            fresh = self._link.with_name(self._link.name + ".new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self.port)
            fresh.replace(self._link)
            self.port = str(self._link)

    def pull_out(self) -> None:
        """The device node disappears, an open one hangs up."""
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        for fd in (self._slave, self.fd):
            if fd >= 0:
                os.close(fd)
        self._slave = self.fd = -1


class DeviceLine:
    """A real serial device."""

    def __init__(self, device: str, baud: int) -> None:
        import serial

        self._serial = serial.Serial(baudrate=baud, timeout=0, write_timeout=0, exclusive=True)
        self._serial.port = device
        self.fd = -1
        self.port = device

    def plug_in(self) -> None:
        """Open it."""
        self._serial.open()
        self.fd = self._serial.fileno()

    def pull_out(self) -> None:
        """Close it."""
        self.fd = -1
        with contextlib.suppress(OSError):
            self._serial.close()


class Mischief:
    """Spoils what goes over the line, on request and by seed; counts what it did."""

    def __init__(self, settings: CellSettings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)
        self.switches = Switchboard(Path(settings.switches) if settings.switches else None)
        self.done: Counter[str] = Counter()
        self.waiting: list[tuple[int, bytes]] = []
        """Late frames: (time, frame)."""

    def _happens(self, name: str) -> bool:
        switched = self.switches.on().get(f"cell-{name.replace('_', '-')}", 0.0)
        probability = max(float(getattr(self._settings, name)), switched)
        strikes = probability > 0 and self._random.random() < probability
        self.done[name] += strikes
        return strikes

    def outgoing(self, message: Message, now: int) -> list[bytes]:
        """The frames to send now instead of ``message``."""
        body = message.body
        if not isinstance(body, TriggerBody | ResultAck):
            return [self.noise(encode(message))]
        if self._happens("silent"):
            return []
        if isinstance(body, ResultAck) and self._happens("wrong_part_id"):
            body = dataclasses.replace(body, part_id=(body.part_id + 1) % 2**32)
            message = dataclasses.replace(message, body=body)
        frames = [self.noise(encode(message))]
        if self._happens("duplicate"):
            frames.append(frames[0])
        if self._happens("late"):
            late_ms = self.switches.on().get("cell-late-ms", self._settings.late_ms)
            due = now + int(late_ms * _MS)
            self.waiting += [(due, frame) for frame in frames]
            return []
        return frames

    def due(self, now: int) -> list[bytes]:
        """Late frames whose time has come."""
        ready = [frame for at, frame in self.waiting if at <= now]
        self.waiting = [(at, frame) for at, frame in self.waiting if at > now]
        return ready

    def noise(self, data: bytes) -> bytes:
        """``data``, or with one to three bits flipped."""
        if not data or not self._happens("garble"):
            return data
        spoiled = bytearray(data)
        for _ in range(self._random.randint(1, 3)):
            spoiled[self._random.randrange(len(spoiled))] ^= 1 << self._random.randrange(8)
        return bytes(spoiled)

    def gate(self, bin_: int) -> int:
        """Where a part lands when the gate is set to ``bin_``."""
        return self._settings.reject_bin if self._happens("wrong_bin") else bin_

    def next_unplug(self, now: int) -> int:
        """When the plug is pulled next."""
        every_s = self._settings.unplug_every_s
        return now + int(every_s * self._random.uniform(0.5, 1.5) * 1e9) if every_s > 0 else 1 << 62
