"""Which parts the line has in hand, whose results await a receipt, and which part lies before the camera.

One lock for all of it, held for an assignment or two: what one thread sees of a part, all see.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from station.part import PartInHand, SentResult

UNTIL_SETTLED = 1 << 62
"""A part lies before the camera until somebody says more."""


class PartsInHand:
    """The parts of one line. Thread-safe; nothing here waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: dict[int, PartInHand] = {}
        """By the number of their record."""
        self._sent: dict[int, SentResult] = {}
        """Part id -> what a receipt is awaited for."""
        self._entering = 0
        """Parts whose record is just being opened."""
        self._is_closed = False
        self._before_camera = (0, 0)
        """The record of the part that entered last, and until when it must lie before the camera."""
        self._lay_there_until_ns = 0
        """The same time of the part before it."""

    # ------------------------------------------------------------------ from trigger to receipt

    @contextmanager
    def entering(self, *, at_the_end: bool) -> Iterator[bool]:
        """Whether a part may still enter; until the block is left, the line counts as not empty.

        ``at_the_end``: also after :meth:`close`.
        """
        with self._lock:
            may_enter = at_the_end or not self._is_closed
            self._entering += may_enter
        try:
            yield may_enter
        finally:
            with self._lock:
                self._entering -= may_enter

    def enter(self, part: PartInHand) -> None:
        """The part's record is open; the part lies before the camera."""
        with self._lock:
            self._parts[part.record_id] = part
            self._lay_there_until_ns = self._before_camera[1]
            self._before_camera = (part.record_id, UNTIL_SETTLED)

    def close(self) -> None:
        """No part enters any more, also none of a camera that delivers all the same."""
        with self._lock:
            self._is_closed = True

    def known(self, part: PartInHand) -> PartInHand:
        """Keep what is known of a part for whoever must settle it meanwhile."""
        with self._lock:
            if part.record_id in self._parts:
                self._parts[part.record_id] = part
        return part

    def all(self) -> list[PartInHand]:
        """Those without a verdict."""
        with self._lock:
            return list(self._parts.values())

    def are_none(self) -> bool:
        """Whether every part has its verdict, and none is entering."""
        with self._lock:
            return not self._parts and not self._entering

    def settle(self, part: PartInHand, handed_ns: int) -> None:
        """The part's verdict is durable, and on its way to the cell since ``handed_ns``."""
        with self._lock:
            self._sent[part.trigger.part_id] = SentResult(part.record_id, part.trigger.received_ns, handed_ns)
            self._parts.pop(part.record_id, None)
            self._leave_camera(part)

    def sent(self, part_id: int) -> SentResult | None:
        """What was sent for a part and is not acknowledged yet."""
        with self._lock:
            return self._sent.get(part_id)

    def receive(self, part_id: int) -> None:
        """The receipt for a part is written."""
        with self._lock:
            self._sent.pop(part_id, None)

    def await_receipts(self) -> bool:
        """Whether the cell has not answered for every result."""
        with self._lock:
            return bool(self._sent)

    # ------------------------------------------------------------------ the place before the camera

    def lies_until(self, part: PartInHand, until_ns: int) -> None:
        """The cell knows that it may expose the part, which is surely in place until ``until_ns``."""
        with self._lock:
            self._before_camera = (part.record_id, until_ns)

    def may_leave(self, part: PartInHand) -> None:
        """From now on the cell may bring another part before the camera."""
        with self._lock:
            self._leave_camera(part)

    def came_early(self, received_ns: int) -> bool:
        """Whether the part that entered last was triggered while the one before had to lie there."""
        return received_ns < self._lay_there_until_ns

    def _leave_camera(self, part: PartInHand) -> None:
        record_id, until_ns = self._before_camera
        if record_id == part.record_id:
            self._before_camera = (record_id, min(until_ns, time.monotonic_ns()))
