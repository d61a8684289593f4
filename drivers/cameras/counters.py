"""The counters behind every camera's :class:`~drivers.cameras.interface.CameraHealth`."""

from __future__ import annotations

import threading

from drivers.cameras.interface import CameraHealth, Frame


class Counters:
    """What a camera did since it was first opened; written by its thread, read by any."""

    def __init__(self, description: str, *, simulated: bool) -> None:
        self._lock = threading.Lock()
        self._description = description
        self._simulated = simulated
        self._connected = False
        self._opened = 0
        self._delivered = 0
        self._lost = 0
        self._incomplete = 0
        self._discarded = 0
        self._last_error = ""
        self._temperature_c: float | None = None
        self._details: dict[str, str] = {}
        self._transport: dict[str, int] = {}
        self._transport_before: dict[str, int] = {}
        """What was counted before it was opened the last time: a library begins at 0 then."""

    def opened(self, description: str, details: dict[str, str] | None = None) -> None:
        """The camera is open, with this description."""
        with self._lock:
            self._connected = True
            self._opened += 1
            self._description = description
            self._details = dict(details or {})
            self._transport_before, self._transport = self._all_transport(), {}

    def gone(self, error: str = "") -> None:
        """The camera is closed, or lost when ``error`` says why."""
        with self._lock:
            self._connected = False
            self._last_error = error or self._last_error

    def failed(self, error: str) -> None:
        """Note an error after which the camera still works."""
        with self._lock:
            self._last_error = error

    def frame(self, frame: Frame) -> Frame:
        """Count a delivered frame, and return it."""
        with self._lock:
            self._delivered += 1
            self._lost += frame.lost_before
            if not frame.complete:
                self._incomplete += 1
                self._last_error = frame.problem
        return frame

    def discarded(self, frames: int) -> None:
        """Count frames that were discarded without being grabbed."""
        with self._lock:
            self._discarded += frames

    def observed(self, temperature_c: float | None, transport: dict[str, int]) -> None:
        """Note what the camera and its library said when they were asked."""
        with self._lock:
            self._temperature_c = temperature_c
            self._transport = dict(transport)

    def _all_transport(self) -> dict[str, int]:
        return added(self._transport_before, self._transport)

    @property
    def connected(self) -> bool:
        """Whether the camera is open and not known to be lost."""
        with self._lock:
            return self._connected

    def health(self) -> CameraHealth:
        """A snapshot, from any thread."""
        with self._lock:
            return CameraHealth(
                connected=self._connected,
                description=self._description,
                delivered=self._delivered,
                lost=self._lost,
                incomplete=self._incomplete,
                reopened=max(0, self._opened - 1),
                discarded=self._discarded,
                last_error=self._last_error,
                temperature_c=self._temperature_c,
                simulated=self._simulated,
                details=dict(self._details),
                transport=self._all_transport(),
            )


def added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    """Counters that go on, by their names."""
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}
