"""The cable between cell and station, with somebody at it: it carries frames, spoils and logs them.

The wire stands between two ptys, or between the cell's pty and a gateway to a broker. What each end sends is
written to a log before anything is done to it, so that the log is a witness of its own beside the cell's log
and the journal.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import json
import os
import random
import select
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path

from drivers.sorters.messages import ResultAck, ResultBody, Sorted, TriggerAck, TriggerBody, WireOutcome
from drivers.sorters.serial.frames import ETX, STX, Decoder
from simulation.cell.broker_line import BrokerLine
from simulation.cell.line import PtyLine
from simulation.cell.register_line import RegisterLine

Spoil = Callable[[bytes, random.Random], list[tuple[float, bytes]]]
"""A frame becomes pieces of bytes, each with a delay in seconds; no piece is a frame that is lost."""

TO_STATION, TO_CELL = "to station", "to cell"


class Wire:
    """The cable: a thread that carries what either end sends."""

    def __init__(
        self, cell_port: Path, station: PtyLine | BrokerLine | RegisterLine, log: Path, seed: int
    ) -> None:
        self._cell_port = cell_port
        self._station = station
        self._cell = -1
        self._log = log.open("a", encoding="ascii")
        self._random = random.Random(seed)
        self._spoils: dict[str, Spoil] = {}
        self._lock = threading.Lock()
        self._news = threading.Condition()
        self._good: list[tuple[int, int]] = []
        """Accepted parts that lie in the good bin: (triggered, sorted), ns."""
        self._triggered: dict[tuple[int, int], int] = {}
        self._accepted: set[int] = set()
        self._wants_plug = True
        self._orders: list[bytes] = []
        """Bytes that somebody else puts on the line to the station."""
        self._late: list[tuple[float, int, str, bytes]] = []
        self._count = 0
        self._ended = threading.Event()
        self.traffic: deque[tuple[int, str, bytes]] = deque(maxlen=400)
        """What went over the wire last: (ns, direction, bytes), for the cause of a standstill."""
        self.last_part = 0
        """The highest part id that a trigger has named."""
        self.last_trigger = b""
        """The last frame with a trigger, as the cell sent it."""
        self.last_result = b""
        self._thread = threading.Thread(target=self._carry, name="wire", daemon=True)

    def start(self) -> None:
        """Plug in and begin."""
        self._station.plug_in()
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of both ends."""
        self._ended.set()
        self._thread.join(5)
        self._log.close()

    def spoil(self, direction: str, how: Spoil | None) -> None:
        """Do this to every frame of a direction from now on; None carries them as they are."""
        with self._lock:
            if how is None:
                self._spoils.pop(direction, None)
            else:
                self._spoils[direction] = how

    def forge(self, data: bytes) -> None:
        """Put bytes on the line to the station."""
        with self._lock:
            self._orders.append(data)

    def pull(self) -> None:
        """Take the plug out of the station; the device is gone."""
        self._wants_plug = False

    def plug(self) -> None:
        """Put it back; the device has a new number."""
        self._wants_plug = True

    def good_after(self, after_ns: int, timeout_s: float) -> int | None:
        """When the first part that was triggered after a moment lay in the good bin, ns; None: none did."""
        until = time.monotonic() + timeout_s
        with self._news:
            while True:
                found = [done for triggered, done in self._good if triggered >= after_ns]
                if found:
                    return min(found)
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._news.wait(left)

    # -- the thread

    def _carry(self) -> None:
        ends = {TO_STATION: _Frames(), TO_CELL: _Frames()}
        while not self._ended.is_set():
            self._plug_as_wanted()
            if self._cell < 0:
                self._open_cell()
            sources = {
                fd: to for fd, to in ((self._cell, TO_STATION), (self._station.fd, TO_CELL)) if fd >= 0
            }
            wait_s = min(0.02, max(0.0, self._late[0][0] - time.monotonic())) if self._late else 0.02
            if not sources:
                time.sleep(wait_s)
            readable, _, _ = select.select(list(sources), [], [], wait_s) if sources else ([], [], [])
            for fd in readable:
                direction = sources[fd]
                for piece in ends[direction].feed(self._read(fd)):
                    self.traffic.append((time.monotonic_ns(), direction, piece))
                    self._listen(direction, piece)
                    self._pass(direction, piece)
            with self._lock:
                orders, self._orders = self._orders, []
            for order in orders:
                self._write(TO_STATION, order)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, direction, piece = heapq.heappop(self._late)
                self._write(direction, piece)
        self._station.pull_out()
        if self._cell >= 0:
            os.close(self._cell)

    def _plug_as_wanted(self) -> None:
        if self._wants_plug and self._station.fd < 0:
            self._station.plug_in()
        elif not self._wants_plug and self._station.fd >= 0:
            self._station.pull_out()

    def _open_cell(self) -> None:
        with contextlib.suppress(OSError):
            self._cell = os.open(self._cell_port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            tty.setraw(self._cell)

    def _read(self, fd: int) -> bytes:
        try:
            data = os.read(fd, 4096)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return b""
            data = b""
        if not data and fd == self._cell:  # the cell's end is gone with its process
            os.close(self._cell)
            self._cell = -1
        return data

    def _pass(self, direction: str, piece: bytes) -> None:
        with self._lock:
            spoil = self._spoils.get(direction)
        if spoil is None:
            self._write(direction, piece)
            return
        for delay_s, part in spoil(piece, self._random):
            if delay_s <= 0:
                self._write(direction, part)
            else:
                self._count += 1
                heapq.heappush(self._late, (time.monotonic() + delay_s, self._count, direction, part))

    def _write(self, direction: str, data: bytes) -> None:
        fd = self._station.fd if direction == TO_STATION else self._cell
        if fd >= 0:
            with contextlib.suppress(OSError):  # nobody reads, or the end is gone: lost, as on a wire
                os.write(fd, data)

    def _listen(self, direction: str, piece: bytes) -> None:
        for message in Decoder().feed(piece):
            now, body = time.monotonic_ns(), message.body
            line: dict[str, object]
            match body:
                case TriggerBody(part_id, recipe) if direction == TO_STATION:
                    self.last_trigger = piece
                    key = (message.sender, message.sequence)
                    if key in self._triggered:
                        continue
                    self._triggered[key] = now
                    self.last_part = max(self.last_part, part_id)
                    line = {"what": "trigger", "part_id": part_id, "recipe": recipe}
                case TriggerAck(_, part_id) if direction == TO_CELL:
                    line = {"what": "trigger-ack", "part_id": part_id}
                case ResultBody(trigger, part_id, outcome, bin_) if direction == TO_CELL:
                    self.last_result = piece
                    if outcome is WireOutcome.ACCEPT:
                        self._accepted.add(part_id)
                    line = {
                        "what": "result",
                        "part_id": part_id,
                        "outcome": outcome.name.lower(),
                        "bin": bin_,
                    }
                case ResultAck(trigger, part_id, status, bin_) if direction == TO_STATION:
                    line = {"what": "result-ack", "part_id": part_id, "bin": bin_, "status": int(status)}
                    triggered = self._triggered.get((message.sender, trigger))
                    if status is Sorted.IN_BIN and part_id in self._accepted and triggered:
                        self._accepted.discard(part_id)
                        with self._news:
                            self._good.append((triggered, now))
                            del self._good[:-256]
                            self._news.notify_all()
                case _:
                    continue
            trigger_number = getattr(body, "trigger", message.sequence)
            session = message.sender if direction == TO_STATION else message.receiver
            line |= {"at_ns": now, "session": session, "trigger": trigger_number}
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()


class _Frames:
    """Bytes in pieces of any size become whole frames, and what stands between them."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes."""
        found: list[bytes] = []
        for byte in data:
            if byte == STX and self._kept:
                found.append(bytes(self._kept))
                self._kept.clear()
            self._kept.append(byte)
            if byte == ETX:
                found.append(bytes(self._kept))
                self._kept.clear()
        if len(self._kept) > 1024:
            found.append(bytes(self._kept))
            self._kept.clear()
        return found
