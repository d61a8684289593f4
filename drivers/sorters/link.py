"""Sessions, sequence numbers and heartbeats between station and cell, the station's side.

Rules, in the order of docs/serial-protocol.md: every message names both sessions; a HELLO that does not
name ours is answered with a HELLO, and one that does with a HEARTBEAT; either brings the link up; a session
seen for the first time means that the cell restarted; a session that was replaced does not come back
while its successor is alive; only messages with a growing number count as signs of life; a session is
answered in the newest version that it was heard in. Pure: time is passed in, in nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from drivers.sorters import messages as wire

_REMEMBERED_SESSIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the link makes of one message."""

    ours: bool = False
    """From the present cell session to ours: the handshake may look at it."""
    restarted: bool = False
    """The cell has a new session, and had another before."""
    came_up: bool = False
    answers: list[wire.Message] = field(default_factory=list)


class Link:
    """The other end: its session, and whether it answers."""

    def __init__(
        self,
        session: int,
        name: str,
        hello_ns: int,
        heartbeat_ns: int,
        timeout_ns: int,
        newest: int = wire.VERSION,
    ) -> None:
        if not 1 <= session <= 0xFFFF:
            raise ValueError(f"a session is 1..65535, got {session}")
        self.session = session
        self.peer = 0
        self.peer_name = ""
        self.up = False
        self.newest = newest
        """The newest version of the protocol that this end speaks."""
        self.version = wire.OLDEST
        """The newest one that the present cell session is known to read."""
        self.floor = 0
        """The highest number heard from the present cell session before it was, once, replaced."""
        self.stale = 0
        """Messages of other sessions, and heartbeats overtaken by younger ones."""
        self.problem = ""
        self._name = wire.plain_text(name, wire.MAX_NAME)
        self._hello_ns = hello_ns
        self._heartbeat_ns = heartbeat_ns
        self._timeout_ns = timeout_ns
        self._line = False
        self._sequence = 0
        self._highest = 0
        self._last_heartbeat = 0
        self._heard_ns = 0
        self._beat_due_ns = 0
        self._hello_due_ns = 0
        self._retired: dict[int, int] = {}
        """Sessions that were replaced -> the highest number heard from them."""

    def message(
        self, body: wire.Body, receiver: int | None = None, version: int | None = None
    ) -> wire.Message:
        """``body`` as a new message with the next number, to the present cell unless told otherwise."""
        self._sequence += 1
        to = self.peer if receiver is None else receiver
        return wire.Message(self.session, to, self._sequence, body, version or self.version)

    def line_up(self, now_ns: int) -> None:
        """The line is open: HELLO and HEARTBEAT are due."""
        self._line = True
        self._hello_due_ns = self._beat_due_ns = now_ns

    def line_down(self) -> None:
        """The line is gone; the session, and what is in hand, stay."""
        self._line = self.up = False

    def other_end_is_gone(self, session: object) -> None:
        """A third party knows that this session of the cell has ended, such as a broker by a last will."""
        if self.up and session == self.peer:
            self.up = False
            self.problem = "the cell is offline; connect it again"

    def beat_now(self, now_ns: int) -> None:
        """Something that the HEARTBEAT carries has changed."""
        self._beat_due_ns = now_ns

    def receive(self, message: wire.Message, now_ns: int) -> Arrival:
        """Sort out one message by its sessions and its number."""
        body = message.body
        if message.sender == self.session and isinstance(body, wire.Hello) and body.role is wire.Role.STATION:
            self.problem = (
                "the line returns the station's own messages; look for a loop-back plug or local echo"
            )
            return Arrival()
        if message.sender == 0 or (isinstance(body, wire.Hello) and body.role is not wire.Role.CELL):
            self.problem = "the other end is no cell; check which device is wired to this port"
            return Arrival()
        if message.receiver != self.session:
            if isinstance(body, wire.Hello):
                hello = wire.Hello(wire.Role.STATION, self._name)
                return Arrival(answers=[self.message(hello, message.sender, message.version)])
            if isinstance(body, wire.Fault) and message.receiver == 0 and not self.up:
                self.problem = f"the other end reports {body.code.name}: {body.reason}"
            self.stale += 1
            return Arrival()
        restarted = False
        if message.sender != self.peer:
            if not self._may_adopt(message):
                self.stale += 1
                return Arrival()
            restarted = self._adopt(message.sender)
        self.version = max(self.version, message.version)
        if isinstance(body, wire.Heartbeat):
            if message.sequence <= self._last_heartbeat:
                self.stale += 1
                return Arrival(restarted=restarted)
            self._last_heartbeat = message.sequence
        if isinstance(body, wire.Hello):
            self.peer_name = body.name
            self.beat_now(now_ns)  # the other end does not hear us, or it would not say HELLO
        return Arrival(ours=True, restarted=restarted, came_up=self._alive(message, now_ns))

    def _may_adopt(self, message: wire.Message) -> bool:
        """An earlier session comes back only while its successor is silent, and only with a new message."""
        if not isinstance(message.body, wire.Hello | wire.Heartbeat):
            return False
        heard = self._retired.get(message.sender)
        return heard is None or (not self.up and message.sequence > heard)

    def _adopt(self, session: int) -> bool:
        before = self.peer
        if before:
            self._retired[before] = self._highest
        self.floor = self._highest = self._last_heartbeat = self._retired.pop(session, 0)
        while len(self._retired) > _REMEMBERED_SESSIONS:
            del self._retired[next(iter(self._retired))]
        self.peer = session
        self.version = wire.OLDEST
        self.peer_name = ""
        self.up = False
        return before != 0

    def _alive(self, message: wire.Message, now_ns: int) -> bool:
        if message.sequence <= self._highest:
            if not self.up:
                self.problem = (
                    "the cell's sequence numbers went back within its session; "
                    "let it take a new session id whenever it restarts"
                )
            return False
        self._highest = message.sequence
        self._heard_ns = now_ns
        came_up = not self.up
        if came_up:
            self.up = True
            self.problem = ""
            self._beat_due_ns = now_ns
        return came_up

    def tick(self, now_ns: int, beat: wire.Heartbeat) -> list[wire.Message]:
        """HELLO and HEARTBEAT when they are due; the link goes down here when the cell is silent."""
        if self.up and now_ns - self._heard_ns >= self._timeout_ns:
            self.up = False
            self._hello_due_ns = now_ns
            self.problem = (
                f"the cell was silent for {self._timeout_ns / 1e9:g} s; check cable, baud and the cell"
            )
        due: list[wire.Message] = []
        if not self._line:
            return due
        if not self.up and now_ns >= self._hello_due_ns:
            self._hello_due_ns = now_ns + self._hello_ns
            hello = wire.Hello(wire.Role.STATION, self._name)
            for version in range(self.newest, wire.OLDEST - 1, -1):
                due.append(self.message(hello, version=version))
        if self.peer and now_ns >= self._beat_due_ns:
            self._beat_due_ns = now_ns + self._heartbeat_ns
            due.append(self.message(beat))
        return due

    def next_due_ns(self) -> int:
        """When :meth:`tick` has something to do next; far away while the line is down."""
        times = [self._heard_ns + self._timeout_ns] if self.up else []
        if self._line:
            times += [self._beat_due_ns] if self.peer else []
            times += [] if self.up else [self._hello_due_ns]
        return min(times, default=1 << 62)
