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

    def opened(self, description: str, details: dict[str, str] | None = None) -> None:
        """The camera is open, with this description."""
        with self._lock:
            self._connected = True
            self._opened += 1
            self._description = description
            self._details = dict(details or {})

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

    def observed(self, temperature_c: float | None, details: dict[str, str]) -> None:
        """Add what the camera said about itself when it was asked."""
        with self._lock:
            self._temperature_c = temperature_c
            self._details = {**self._details, **details}

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
            )
