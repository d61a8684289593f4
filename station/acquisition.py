"""The camera as the line uses it: one frame per trigger, or one after another; when lost, it is opened again.

One thread uses an :class:`Acquisition`; only :meth:`Acquisition.health` may be called from others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drivers import heartbeat
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraHealth,
    CameraHeldError,
    CameraLostError,
    CameraTimeoutError,
    EndOfFramesError,
    Frame,
)
from station.faults import Code
from station.journal import CameraUsed
from station.supervision import Readiness, start_takes

log = logging.getLogger(__name__)

PROBE_EVERY_S = 1.0
HELD_TRIES, HELD_PAUSE_S = 10, 0.5
"""So often a camera that somebody holds is tried with this pause: after a crash of this program the camera
itself lets go of it within seconds."""
COMPARED_EVERY = 32
"""Of two pictures that follow each other, every so many lines are compared."""
FROZEN = (
    "the picture is equal to the one before, bit by bit, and a sensor never sees the same twice: the camera "
    "or its driver is frozen; switch the camera off and on"
)


class NoFrameError(Exception):
    """There is no frame that surely shows this part; the message says why, after its code."""

    def __init__(
        self, code: Code, detail: str, lost_before: int | None = None, *, frame: Frame | None = None
    ) -> None:
        """``frame``: the one that came all the same, and may not be classified."""
        super().__init__(code.of(detail))
        self.code, self.detail = code, detail
        self.lost_before = lost_before
        self.frame = frame


@contextmanager
def _asking() -> Iterator[None]:
    """Calls into the camera: after an error that its driver does not know it is lost, and opened again."""
    try:
        yield
    except CameraError:
        raise
    except Exception as error:
        log.exception("camera: an error that its driver does not know")
        raise CameraLostError(
            f"an error that its driver does not know ({error!r}); report it; it recovers by itself"
        ) from error


class Acquisition:
    """A camera that is reopened when it is lost, and emptied when a frame may be another part's."""

    def __init__(
        self, camera: Camera, readiness: Readiness, grab_timeout_s: float, reopen_after_s: tuple[float, ...]
    ) -> None:
        """``reopen_after_s``: waiting times between attempts to reopen; the last one repeats."""
        self._camera = camera
        self._readiness = readiness
        self._grab_timeout_s = grab_timeout_s
        self._reopen_after_s = reopen_after_s
        self._probed_at = time.monotonic()
        self.by_wire = camera.triggered_by_wire
        """Whether another device starts the exposures."""
        self.used = CameraUsed()
        """The camera that is open, as the journal names it."""
        self.ended = False
        """Whether a finite source has delivered its last frame."""
        self._next_frame_id = 0
        """The number that the next exposure's frame must have; they count since the camera was armed."""
        self._line_rate_hz: float | None = None
        self._told_rate_hz: float | None = None
        """The rate that the open camera was told."""
        self._lines_before: NDArray[np.uint8] | None = None
        """Some lines of the picture before."""

    def run_at(self, line_rate_hz: float | None) -> None:
        """The lines per second of the next picture; None leaves the camera's own.

        The camera is told before its next exposure, or when it is opened.
        """
        self._line_rate_hz = line_rate_hz

    def open(self) -> None:
        """Open and arm. Raises :class:`CameraError`."""
        with _asking():
            self._camera.open()
            self._told_rate_hz = None
            self._arm()
        health = self._camera.health()
        exposure_us = health.details.get("exposure_us")
        self.used = CameraUsed(
            model=health.details.get("model", health.description),
            serial=health.details.get("serial", ""),
            exposure_us=float(exposure_us) if exposure_us is not None else None,
        )

    def begin(self) -> None:
        """Open the camera of a station that starts; one that a crash left held is waited for.

        Raises :class:`CameraError`.
        """
        for _ in range(HELD_TRIES):
            try:
                self.open()
            except CameraHeldError as error:
                start_takes(f"starting: {error}", 60)
                log.warning("camera not free yet: %s", error)
                time.sleep(HELD_PAUSE_S)
            else:
                return
        self.open()

    def is_there(self, stopping: threading.Event) -> bool:
        """Whether the camera may be used; a lost one is reopened first, until it works or the line stops.

        Raises :class:`CameraConfigError` at once for a camera that is there and refuses its settings: waiting
        does not mend that.
        """
        if self._camera.health().connected:
            return True
        self._readiness.block(Readiness.CAMERA, f"camera: {self._camera.health().last_error or 'lost'}")
        attempt = held = 0
        while not stopping.wait(self._pause_s(attempt)):
            try:
                self.open()
            except CameraConfigError as error:
                self._readiness.block(Readiness.CAMERA, f"camera: {error}")
                self._camera.close()
                raise
            except CameraError as error:
                held += isinstance(error, CameraHeldError)
                # Free within seconds, if it is held since a crash: the pauses do not grow meanwhile.
                attempt = 1 if 0 < held <= HELD_TRIES else attempt + 1
                log.warning("camera still lost: %s", error)
                self._readiness.block(Readiness.CAMERA, f"camera: {error}")
            else:
                self._readiness.clear(Readiness.CAMERA)
                return True
        return False

    def _pause_s(self, attempt: int) -> float:
        pause_s = self._reopen_after_s[min(attempt, len(self._reopen_after_s) - 1)]
        heartbeat.beat(pause_s)
        return pause_s

    def prepare(self) -> None:
        """Make the camera ready to be exposed at once, the part being in place. Raises :class:`NoFrameError`.

        One that is triggered by wire is emptied: whatever is exposed from now on shows this part; whatever
        was exposed before, by a stray edge or by a cell that did not wait, is gone.
        """
        try:
            # A frame that waits before the part's own trigger is nobody's.
            if self.by_wire or self._line_rate_hz != self._told_rate_hz or self._waits():
                self._empty()
            if not self.by_wire:
                with _asking():
                    self._camera.wait_ready(self._grab_timeout_s)
        except CameraTimeoutError as error:
            self.discard()
            raise NoFrameError(Code.NO_FRAME, f"no frame: {error}") from error
        except CameraError as error:
            self._lose(error)
            raise NoFrameError(Code.CAMERA_LOST, f"camera lost: {error}") from error

    def expose(self) -> Frame:
        """Trigger, and the frame of that exposure, complete or not. Raises :class:`NoFrameError`.

        After a lost exposure the frame at hand may be an earlier part's: it is discarded with all others.
        The same holds for a frame of another number than this exposure has, such as one that is delivered
        twice. By wire it must be the first one since :meth:`prepare`. A picture that is equal to the one
        before is no picture of this part.
        """
        try:
            with _asking():
                self._camera.trigger(self._grab_timeout_s)
                frame = self._camera.grab(self._grab_timeout_s)
        except (CameraTimeoutError, EndOfFramesError) as error:
            self.discard()
            raise NoFrameError(Code.NO_FRAME, f"no frame: {error}") from error
        except CameraError as error:
            self._lose(error)
            raise NoFrameError(Code.CAMERA_LOST, f"camera lost: {error}") from error
        if frame.lost_before:
            self.discard()
            lost = f"{frame.lost_before} exposure(s) lost: the frame may show another part"
            raise NoFrameError(Code.EXPOSURES_LOST, lost, frame.lost_before)
        if frame.frame_id != self._next_frame_id:
            self.discard()
            wanted = "the first one since" if self.by_wire else "the one of"
            another = f"frame {frame.frame_id} is not {wanted} the part's trigger"
            raise NoFrameError(Code.FRAME_OF_ANOTHER, another)
        self._next_frame_id += 1
        if self._is_frozen(frame):
            raise NoFrameError(Code.FROZEN, FROZEN)
        if not self.by_wire and self._is_followed():
            self.discard()
            two = "two frames for one trigger: which one shows the part is not known"
            raise NoFrameError(Code.FRAME_OF_ANOTHER, two)
        return frame

    def require_none(self) -> None:
        """Between two exposures of one part: a frame that waits was asked for by nobody.

        Raises :class:`NoFrameError`.
        """
        if self._is_followed():
            self.discard()
            unasked = "a frame came between two exposures of the part, and nobody asked for it"
            raise NoFrameError(Code.FRAME_OF_ANOTHER, unasked)

    def following(self) -> Frame | None:
        """Free running: the next frame, complete or not; None when there is none now."""
        try:
            if self._line_rate_hz != self._told_rate_hz:
                self._empty()
            with _asking():
                frame = self._camera.grab(self._grab_timeout_s)
        except CameraTimeoutError:
            return None
        except EndOfFramesError:
            self.ended = True
            return None
        except CameraError as error:
            self._lose(error)
            return None
        if frame.frame_id < self._next_frame_id:
            log.warning("camera: frame %d was delivered twice; it is one part", frame.frame_id)
            return None
        self._next_frame_id = frame.frame_id + 1
        return replace(frame, complete=False, problem=FROZEN) if self._is_frozen(frame) else frame

    def probe(self) -> None:
        """Ask an idle camera, once per second, whether it is connected: a loss at night is noticed at night.

        One that is triggered by wire is emptied: what it holds while no part is asked for is nobody's.
        """
        now = time.monotonic()
        if now < self._probed_at + PROBE_EVERY_S:
            return
        self._probed_at = now
        try:
            with _asking():
                self._camera.probe()
                if self.by_wire and self._camera.waiting():
                    self._empty()
        except CameraError as error:
            self._lose(error)

    def discard(self) -> None:
        """Empty the camera, so that no earlier frame is taken for the next part."""
        try:
            self._empty()
        except CameraError as error:
            self._lose(error)

    def health(self) -> CameraHealth:
        """The camera's counters."""
        return self._camera.health()

    def close(self) -> None:
        """Give the camera back."""
        self._camera.close()

    def _empty(self) -> None:
        """Discard every frame and the exposure under way. Raises :class:`CameraError`."""
        before = self._camera.health().discarded
        with _asking():
            self._camera.disarm()
            self._arm()
        discarded = self._camera.health().discarded - before
        if discarded:
            why = (
                "no trigger asked for: stray edges on the trigger wire, or a cell that pulses it twice or "
                "before TRIGGER-ACK"
                if self.by_wire
                else "came too late"
            )
            log.warning("camera: discarded %d frame(s) that %s", discarded, why)

    def _is_frozen(self, frame: Frame) -> bool:
        """Whether the sensor's noise is the same as in the picture before; pictures of files may be equal."""
        if not frame.complete:  # it may have no pixels at all
            return False
        lines, before = frame.pixels[::COMPARED_EVERY].copy(), self._lines_before
        self._lines_before = lines
        return before is not None and np.array_equal(lines, before) and not self._camera.health().simulated

    def _waits(self) -> bool:
        """Whether a frame waits to be grabbed. Raises :class:`CameraError`."""
        with _asking():
            return self._camera.waiting() > 0

    def _is_followed(self) -> bool:
        """Whether one more frame came than was asked for; a camera that cannot say so is lost."""
        try:
            return self._waits()
        except CameraError as error:
            self._lose(error)
            raise NoFrameError(Code.CAMERA_LOST, f"camera lost: {error}") from error

    def _arm(self) -> None:
        if self._line_rate_hz is not None and self._line_rate_hz != self._told_rate_hz:
            took = self._camera.set_line_rate(self._line_rate_hz)
            log.info("camera: %g lines/s, as the recipe's surface speed and pixel size ask for", took)
        self._told_rate_hz = self._line_rate_hz
        self._camera.arm()
        self._next_frame_id = 0

    def _lose(self, error: CameraError) -> None:
        log.error("camera lost: %s", error)
        self._readiness.block(Readiness.CAMERA, f"camera: {error}")
        self._camera.close()
