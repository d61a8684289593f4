"""Bounded, named queues: each has a capacity, a policy for when it is full, and a count of what it dropped.

A dropped item (``shed`` in the status document) did not enter the queue, or was removed from it to make room
for a more important one; the part's record does not depend on it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A snapshot of one queue."""

    name: str
    capacity: int
    length: int
    highest: int
    """The longest it has ever been."""
    shed: int
    """Items dropped: there was no room for them, or they made room for a more important one."""


class BoundedQueue(Generic[T]):
    """First in, first out, at most ``capacity`` items.

    The decision path uses :meth:`put` (wait for room: back-pressure up to the camera's own buffers);
    everything beside the path uses :meth:`offer` (never wait: drop and count). When the queue is full, an
    item for which ``gives_way`` holds is dropped before one for which it does not.
    """

    def __init__(
        self, name: str, capacity: int, *, gives_way: Callable[[T], bool] = lambda item: True
    ) -> None:
        if capacity < 1:
            raise ValueError(f"queue {name!r} needs a capacity of at least 1, got {capacity}")
        self.name = name
        self.capacity = capacity
        self._gives_way = gives_way
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._highest = 0
        self._shed = 0

    def put(self, item: T, timeout_s: float) -> bool:
        """Append ``item``, waiting for room; False (and not appended) when there was none in time."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while len(self._items) >= self.capacity:
                left = until - time.monotonic()
                if left <= 0:
                    self._shed += 1
                    return False
                self._changed.wait(left)
            self._append(item)
            return True

    def offer(self, item: T) -> bool:
        """Append ``item`` if there is room now, or room can be made; else drop and count it and return False.

        For an item that does not give way, room is made by dropping the oldest one that does.
        """
        with self._changed:
            if len(self._items) >= self.capacity:
                self._shed += 1
                if self._gives_way(item):
                    return False
                lesser = next((place for place, one in enumerate(self._items) if self._gives_way(one)), None)
                if lesser is None:
                    return False
                del self._items[lesser]
            self._append(item)
            return True

    def get(self, timeout_s: float) -> T | None:
        """The oldest item, or None when none came in time."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while not self._items:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def status(self) -> QueueStatus:
        """Length, high-water mark and dropped items."""
        with self._changed:
            return QueueStatus(self.name, self.capacity, len(self._items), self._highest, self._shed)

    def _append(self, item: T) -> None:
        self._items.append(item)
        self._highest = max(self._highest, len(self._items))
        self._changed.notify_all()
