"""What is sent next on one stream of numbered messages, and what counts as delivered.

No I/O; time is passed in. Numbers grow. The messages of a connection go out in their order from
:attr:`Outbox.next` on; ranges that a consumer misses go first. A number that may have been sent before is a
repeat. At most ``window`` messages wait for the broker's confirmation, so that a slow broker slows this down
and nothing else.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from drivers.mqtt import NOBODY, REFUSED

PROBE_S = 1.0
"""While nobody is subscribed, or the broker refuses: one message is tried so often."""
CONFIRMED_S = 10.0
"""A broker that confirms nothing for this long is connected to anew."""
RANGES = 16
"""Ranges that may wait; a consumer asks again for what it still misses."""
_CHECKPOINT_S = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    """What to send next: the messages from ``first`` on, at most ``limit``, and none after ``last``."""

    first: int
    limit: int
    last: int | None
    """The end of a range that a consumer misses; None for what comes in order."""


@dataclass(slots=True)
class _Sent:
    number: int
    mid: int
    at: float
    in_order: bool
    is_confirmed: bool = False


class Outbox:
    """One stream on its way."""

    def __init__(
        self,
        held: dict[str, int],
        *,
        sent: int,
        replay_from: int,
        receipts: bool,
        replay_s: float,
        resend_s: float,
        window: int,
    ) -> None:
        """``held``: each holder's highest number without a gap. ``sent``: up to it, all may have been sent.

        ``replay_from``: the first number that goes out after the start.
        """
        self.held = dict(held)
        self.next = min([replay_from, *(number + 1 for number in held.values())])
        """The next number that goes out in order."""
        self.sent = max([sent, *held.values()])
        """The highest number that may have been sent."""
        self.repeats = 0
        """Messages that were sent again."""
        self.trouble = ""
        """Why nothing is delivered now; empty while it is."""
        self._receipts, self._replay_s, self._resend_s, self._window = receipts, replay_s, resend_s, window
        self._waiting: deque[_Sent] = deque()
        self._ranges: deque[list[int]] = deque()
        self._checkpoints: deque[tuple[float, int]] = deque()
        """When the broker had confirmed everything up to which number."""
        self._confirmed = self._before_the_start = self.next - 1
        self._try_at = 0.0
        self._one_at_a_time = False
        self._progress_at: float | None = None
        """When a receipt moved on last, or the first message went out that waits for one."""

    @property
    def lowest_held(self) -> int:
        """What every holder has."""
        return min(self.held.values())

    @property
    def in_flight(self) -> int:
        """Messages that wait for the broker's confirmation."""
        return len(self._waiting)

    def connected(self, lost_at: float | None) -> None:
        """A new connection; ``lost_at``: when the one before was found lost, None before the first."""
        self._waiting.clear()
        self._ranges.clear()
        self._one_at_a_time, self._try_at = False, 0.0
        if lost_at is not None:
            again = self._confirmed_before(lost_at - self._replay_s) + 1
            self.next = min(self.next, self._confirmed + 1, self.lowest_held + 1, again)

    def wants(self, now: float) -> Batch | None:
        """What to send now; None while the window is full or nothing may be tried."""
        room = (1 if self._one_at_a_time else self._window) - len(self._waiting)
        if room <= 0 or now < self._try_at:
            return None
        self._resend_what_waits(now)
        if self._ranges:
            first, last = self._ranges[0]
            return Batch(first, room, last)
        return Batch(self.next, room, None)

    def is_repeat(self, number: int) -> bool:
        """Whether this number may have been sent before."""
        return number <= self.sent

    def went(self, batch: Batch, number: int, mid: int, now: float) -> None:
        """A message of a batch was handed to the connection."""
        if self.is_repeat(number):
            self.repeats += 1
        self.sent = max(self.sent, number)
        if batch.last is None:
            self.next = number + 1
        elif self._ranges:
            self._ranges[0][0] = number + 1
            if number >= batch.last:
                self._ranges.popleft()
        self._waiting.append(_Sent(number, mid, now, batch.last is None))
        if self._progress_at is None:
            self._progress_at = now

    def skip(self, batch: Batch, first: int) -> None:
        """The messages of a batch below ``first`` are not there."""
        if batch.last is None:
            self.next = max(self.next, first)
        elif self._ranges:
            self._ranges[0][0] = first
            if first > batch.last:
                self._ranges.popleft()

    def range_ends(self) -> None:
        """There is nothing more to send of the range that goes first."""
        if self._ranges:
            self._ranges.popleft()

    def confirmed(self, mid: int, reason: int, now: float) -> None:
        """The broker confirmed a message of this connection."""
        found = next((one for one in self._waiting if one.mid == mid), None)
        if found is None:
            return
        if reason == NOBODY or reason >= REFUSED:
            self._not_delivered(found, reason, now)
            return
        self.trouble, self._one_at_a_time = "", False
        found.is_confirmed = True
        while self._waiting and self._waiting[0].is_confirmed:
            one = self._waiting.popleft()
            if one.in_order:
                self._confirmed = one.number
                self._note_checkpoint(now)
                if not self._receipts:
                    self.held = {name: max(held, one.number) for name, held in self.held.items()}

    def receipt(
        self, consumer: str, held: int, missing: tuple[int, int | None] | None, newest: int, now: float
    ) -> str:
        """A consumer says what it holds without a gap, and what it misses; why this cannot be, or nothing."""
        if consumer not in self.held or not self._receipts:
            return f"{consumer} is none of the consumers whose receipts are required"
        if held > newest:
            return f"{consumer} says that it holds {held}, and the newest is {newest}"
        if held > self.held[consumer]:
            self.held[consumer] = held
            self._progress_at = now
        if missing is not None:
            first, last = missing[0], self.sent if missing[1] is None else min(missing[1], self.sent)
            self._send_again(first, last)
        return ""

    def is_stuck(self, now: float) -> bool:
        """Whether the broker has confirmed nothing for so long that it is better connected to anew."""
        return bool(self._waiting) and now > self._waiting[0].at + CONFIRMED_S

    def _send_again(self, first: int, last: int) -> None:
        if first > last or any(low <= first and last <= high for low, high in self._ranges):
            return
        if len(self._ranges) < RANGES:
            self._ranges.append([first, last])

    def _resend_what_waits(self, now: float) -> None:
        """Where receipts are required and none comes, send the first of what waits for one again."""
        waits = self._receipts and self.lowest_held < self.next - 1
        if not waits:
            self._progress_at = None
        elif self._progress_at is None:
            self._progress_at = now
        elif now > self._progress_at + self._resend_s and not self._ranges:
            self._progress_at = now
            self._send_again(self.lowest_held + 1, min(self.lowest_held + self._window, self.next - 1))

    def _not_delivered(self, one: _Sent, reason: int, now: float) -> None:
        """Nobody has it: from this message on, everything is sent again, one at a time at first."""
        self.trouble = (
            "nobody is subscribed; connect a consumer to the broker"
            if reason == NOBODY
            else f"the broker refuses our messages (reason 0x{reason:02X}); check the rights of the user"
        )
        self.next = min([self.next, *(other.number for other in self._waiting if other.in_order)])
        if not one.in_order:
            self._ranges.clear()  # the consumer asks again for what it still misses
        self._waiting.clear()
        self._one_at_a_time, self._try_at = True, now + PROBE_S

    def _note_checkpoint(self, now: float) -> None:
        if not self._checkpoints or now > self._checkpoints[-1][0] + _CHECKPOINT_S:
            self._checkpoints.append((now, self._confirmed))
        while len(self._checkpoints) > 1 and self._checkpoints[1][0] < now - self._replay_s - _CHECKPOINT_S:
            self._checkpoints.popleft()

    def _confirmed_before(self, moment: float) -> int:
        """The highest number that surely was confirmed before a moment; what came later is replayed."""
        before = [number for at, number in self._checkpoints if at <= moment]
        return max([self._before_the_start, *before])
