"""What every camera family offers: open, arm, trigger, grab, health, close.

A camera is driven by one thread. A frame is handed over once and owned by whoever grabbed it: its
pixels are never written again by the driver. Frames arrive in the order of the exposures; a gap is
never hidden: it is counted in the next frame's ``lost_before``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.errors import InspectionError


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure as the camera delivered it.

    ``pixels``: uint8, ``(H, W)`` grey or ``(H, W, 3)`` BGR. ``complete`` is False when a block, a
    line or the whole picture is missing or stale; ``problem`` then says what. An incomplete frame is
    still delivered, so that the part it belongs to can be faulted, and must never be classified.
    """

    pixels: NDArray[np.uint8]
    frame_id: int
    """The camera's own running number of exposures since ``arm``."""
    lost_before: int
    """Exposures the camera made between the frame delivered before and this one."""
    complete: bool
    arrived_ns: int
    """``time.monotonic_ns()`` when the frame was in this process."""
    problem: str = ""
    source: str = ""
    """File name, or the camera's model and serial number."""
    exposed_by_ns: int | None = None
    """``time.monotonic_ns()`` by which the exposure had surely begun; None where the driver cannot say."""

    @property
    def begun_by_ns(self) -> int:
        """The same, or the arrival where the driver cannot say: a frame that is here was exposed before."""
        return self.arrived_ns if self.exposed_by_ns is None else self.exposed_by_ns


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """A snapshot of a camera's counters; they count since the first ``open`` and survive a loss."""

    connected: bool
    description: str
    """Family, model and serial number."""
    delivered: int
    lost: int
    incomplete: int
    reopened: int
    discarded: int = 0
    """Frames that ``disarm`` discarded: late ones, or those of stray edges."""
    last_error: str = ""
    temperature_c: float | None = None
    """At the last ``probe``; None for a camera that does not measure it."""
    simulated: bool = False
    details: dict[str, str] = field(default_factory=dict)
    """Settings as the camera rounded them."""
    transport: dict[str, int] = field(default_factory=dict)
    """Counters of its transport at the last ``probe``: packets, resent ones, buffers that were missing."""

    @property
    def counted(self) -> str:
        """The counters for people."""
        frames = "1 frame" if self.delivered == 1 else f"{self.delivered} frames"
        words = [frames, f"{self.lost} lost", f"{self.incomplete} incomplete"]
        words += [f"{self.discarded} discarded (late or not triggered)"] if self.discarded else []
        words += [f"reopened: {self.reopened}"] if self.reopened else []
        words += [f"{self.temperature_c:.1f} °C"] if self.temperature_c is not None else []
        return ", ".join(words)


class CameraError(InspectionError):
    """A camera did not do what it was asked; the message says what to do about it."""


class CameraConfigError(CameraError):
    """A setting the camera does not have or does not accept."""


class CameraLostError(CameraError):
    """The camera is gone: unplugged, without power, or held by another application."""


class CameraHeldError(CameraLostError):
    """Another program holds the camera: maybe this one before a crash, and then for some seconds."""


class CameraTimeoutError(CameraError):
    """No frame came within the time allowed."""


class EndOfFramesError(CameraError):
    """A finite source (a folder of files) has delivered its last frame."""


class Camera(ABC):
    """One camera. Every method but ``close`` raises :class:`CameraError` or a child of it."""

    @property
    def triggered_by_wire(self) -> bool:
        """Whether another device starts the exposures, by edges on the camera's input.

        Such a camera may hold frames that nobody asked for: ``disarm`` and ``arm`` it when the part whose
        frame is wanted is in place, and before it is exposed.
        """
        return False

    @abstractmethod
    def open(self) -> None:
        """Find the camera, take control of it and apply its settings. Safe to call after a loss."""

    @abstractmethod
    def arm(self) -> None:
        """Start acquisition with empty buffers; frame ids count from here."""

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until a software trigger would expose at once; raises :class:`CameraTimeoutError`.

        Nothing to do where :meth:`trigger` never has to wait.
        """
        return

    @abstractmethod
    def trigger(self, timeout_s: float) -> None:
        """Expose one frame (software trigger).

        A no-op where the trigger comes by wire or the camera runs free.
        """

    @abstractmethod
    def grab(self, timeout_s: float) -> Frame:
        """The next frame in order; raises :class:`CameraTimeoutError`, :class:`CameraLostError`."""

    def set_output(self, line: str, on: bool) -> None:
        """Set an output line of the camera; it may be called by another thread while frames are grabbed.

        Raises :class:`CameraConfigError` where the camera has no such line.
        """
        raise CameraConfigError(f"this camera has no output line {line!r}; use another kind of sorter")

    def set_line_rate(self, lines_per_s: float) -> float:
        """Set the line rate of a line-scan camera that is not armed; returns the rate that the camera took.

        Raises :class:`CameraConfigError` for a camera that has none, refuses it, or takes another one.
        """
        raise CameraConfigError(
            "this camera has no line rate to be set; remove `product.surface_speed_mm_s` from the recipe"
        )

    def waiting(self) -> int:
        """How many frames are there to be grabbed, without waiting; 0 where a family makes none unasked."""
        return 0

    def probe(self) -> None:
        """Ask the camera whether it is still there, between two exposures; raises :class:`CameraLostError`.

        For idle hours: a camera that is only triggered has no other way to show that it is gone. Families
        that cannot be lost do nothing.
        """
        return

    @abstractmethod
    def disarm(self) -> None:
        """Stop acquisition and discard exposures under way: no late frame is taken for the next part."""

    @abstractmethod
    def health(self) -> CameraHealth:
        """Counters, from any thread, without waiting for the camera."""

    @abstractmethod
    def close(self) -> None:
        """Release the camera. Never raises, may be called twice."""
