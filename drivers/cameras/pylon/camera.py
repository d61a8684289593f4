"""Basler cameras (GigE, USB3) and Basler's camera emulator, through pypylon.

One grab thread drives the camera; ``health`` alone may be called from others. Quirks, each met here or in
the field, stand beside the line that deals with them. Callbacks that announce a removal never come for some
cameras (pypylon#235), so a loss is noticed where it hurts: an exception, a result that is not valid, or no
answer to ``probe``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from drivers.cameras import FAMILIES
from drivers.cameras.counters import Counters
from drivers.cameras.genicam.block_ids import BlockIds, BlockOrderError
from drivers.cameras.genicam.clock import CameraClock
from drivers.cameras.genicam.doubts import doubt_of, why_no_frame
from drivers.cameras.genicam.features import Nodes, apply, describe, temperature_c
from drivers.cameras.genicam.settings import GenicamSettings, TriggerKind
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraHealth,
    CameraLostError,
    CameraTimeoutError,
    Frame,
)
from drivers.cameras.picture_files import NO_PIXELS
from drivers.cameras.pylon.emulation import Emulation
from drivers.cameras.pylon.finding import explain_open, find, import_pypylon, label_of, label_wanted
from drivers.cameras.pylon.nodes import PylonNodeMap
from drivers.registry import Package
from drivers.settings import FilePath, mistake

log = logging.getLogger(__name__)
T = TypeVar("T")


class PylonSettings(GenicamSettings):
    """A Basler camera (GigE, USB3), or pylon's emulator."""

    kind: Literal["pylon"] = "pylon"
    """the camera family"""
    device_class: Literal["", "BaslerGigE", "BaslerUsb"] = ""
    """`BaslerGigE` or `BaslerUsb`: search this transport only, which is faster; empty searches all"""
    emulation: FilePath | None = None
    """a folder of pictures that pylon's emulator shows instead of a camera"""

    @property
    def is_simulated(self) -> bool:
        """With ``emulation``."""
        return self.emulation is not None

    @model_validator(mode="after")
    def _emulator_has_no_wire(self) -> Self:
        if self.emulation is not None and self.trigger is TriggerKind.HARDWARE:
            raise mistake(
                "trigger",
                "is `hardware`, but the emulator has no wire, so no frame would ever come",
                "write `software`, or `off` with `mode: free-running`",
            )
        return self


@FAMILIES.register(PylonSettings, needs=Package("pypylon", extra="pylon"))
class PylonCamera(Camera):
    """A Basler camera; ``settings.emulation`` puts Basler's own emulator in its place.

    The emulator plays the pictures in the order of their names and starts at the first one at every ``arm``:
    the frame with id ``n`` is picture ``n`` modulo their number, and its ``source`` names the file.
    """

    def __init__(self, settings: PylonSettings) -> None:
        self._settings = settings
        self._sdk: Any = None
        self._genicam: Any = None
        self._device: Any = None
        self._nodes: Nodes | None = None
        self._label = label_wanted(settings)
        self._counters = Counters(self._label, simulated=settings.emulation is not None)
        self._emulation: Emulation | None = None
        self._clock: CameraClock | None = None
        self._size: tuple[int, int] = (0, 0)
        self._colour = ""
        self._ids = BlockIds(gige=False)
        self._armed = False
        self._fired_ns: int | None = None
        """When the last software trigger had surely begun its exposure; None without one since ``arm``."""

    @property
    def triggered_by_wire(self) -> bool:
        """With ``trigger: hardware``."""
        return self._settings.trigger is TriggerKind.HARDWARE

    @property
    def device(self) -> Any:
        """The SDK's ``InstantCamera`` while open, else None: for service tools and fault injection."""
        return self._device

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Find the one camera that the settings name, take it and apply them.

        Raises :class:`CameraLostError` when it is not there or held by somebody else, which a later attempt
        may find mended, and :class:`CameraConfigError` for what only a person can mend.
        """
        self._release()
        self._sdk, self._genicam = import_pypylon()
        settings = self._settings
        if settings.emulation is not None:
            self._emulation = Emulation(settings.emulation)
            settings = self._emulation.fitted(settings)
        try:
            info = find(self._sdk, settings)
            self._label = label_of(info)
            self._take(info)
            self._configure(settings)
        except CameraError as error:
            # A feature that a camera lacks and one of a camera that has just gone look alike.
            gone = isinstance(error, CameraConfigError) and self._went_away()
            self._release()
            if gone:
                raise self._lost("went away while it was set up") from None
            self._counters.gone(str(error))
            raise
        except (self._genicam.GenericException, RuntimeError) as error:
            self._release()
            raise self._lost(f"went away while it was set up ({_first_line(error)})") from None

    def _take(self, info: Any) -> None:
        try:
            self._device = self._sdk.InstantCamera(self._sdk.TlFactory.GetInstance().CreateDevice(info))
            self._device.Open()
        except (self._genicam.GenericException, RuntimeError) as error:
            raise CameraLostError(f"{self._label} {explain_open(str(error))}") from None

    def _configure(self, settings: PylonSettings) -> None:
        nodes = Nodes(PylonNodeMap(self._device.GetNodeMap(), self._genicam), self._label)
        self._nodes = nodes
        if self._emulation is not None:
            self._emulation.apply(nodes)
        apply(settings, nodes)
        self._clock = CameraClock(nodes) if settings.trigger is not TriggerKind.OFF else None
        self._device.MaxNumBuffer.Value = settings.buffer_count
        self._size = int(nodes.read("Width") or 0), int(nodes.read("Height") or 0)
        self._colour = settings.pixel_format
        info = self._device.GetDeviceInfo()
        details = {"model": info.GetModelName(), "serial": info.GetSerialNumber()}
        details |= describe(settings, nodes)
        if self._clock is not None:
            details["frames_dated"] = "yes" if self._clock.there else "no"
        self._counters.opened(self._label, details)
        self._observe(nodes)

    def _went_away(self) -> bool:
        """Whether an open device does not answer any more."""
        if self._device is None or not self._device.IsOpen():
            return False
        try:
            node_map = self._device.GetNodeMap()
            node_map.InvalidateNodes()
            node_map.GetNode("Width").ToString()
        except (self._genicam.GenericException, RuntimeError):
            return True
        return bool(self._device.IsCameraDeviceRemoved())

    # ------------------------------------------------------------------ acquiring

    def arm(self) -> None:
        """Start grabbing, every frame in order (OneByOne); LatestImageOnly would drop parts (pypylon#332)."""
        self._require_open()
        if self._armed:
            self.disarm()
        gige = self._device.GetDeviceInfo().GetDeviceClass() == "BaslerGigE"
        self._ids = BlockIds(gige=gige)
        self._fired_ns = None
        if self._clock is not None:
            self._ask("being asked for its time", self._clock.note)
        self._ask("starting", lambda: self._device.StartGrabbing(self._sdk.GrabStrategy_OneByOne))
        self._armed = True

    def trigger(self, timeout_s: float) -> None:
        """Expose one frame when the camera is ready for it: a trigger that comes too early is ignored."""
        self.wait_ready(timeout_s)
        if self._settings.trigger is not TriggerKind.SOFTWARE:
            return
        self._ask("being triggered", self._device.ExecuteSoftwareTrigger)
        # The camera has taken the command; whatever held this process up since counts against the part.
        self._fired_ns = time.monotonic_ns() + round((self._settings.trigger_delay_us or 0.0) * 1000)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for the end of the exposure before, and for its frame to be out of the way."""
        self._require_armed()
        if self._settings.trigger is not TriggerKind.SOFTWARE:
            return
        if self._device.IsCameraDeviceRemoved():
            raise self._lost("was removed")

        def ready() -> bool:
            return not self._device.CanWaitForFrameTriggerReady() or bool(
                self._device.WaitForFrameTriggerReady(
                    _milliseconds(timeout_s), self._sdk.TimeoutHandling_Return
                )
            )

        if not self._ask("being asked whether it is ready", ready):
            self.probe()
            raise CameraTimeoutError(
                f"{self._label} was not ready for a trigger within {timeout_s:g} s; the last exposure is "
                "still under way, or its frames were not grabbed"
            )

    def grab(self, timeout_s: float) -> Frame:
        """The next frame; a failed, short or foreign one is delivered as incomplete."""
        self._require_armed()
        result = self._ask(
            "grabbing",
            lambda: self._device.RetrieveResult(_milliseconds(timeout_s), self._sdk.TimeoutHandling_Return),
        )
        if not result.IsValid():
            self.probe()  # an invalid result is a time-out only while the camera is still grabbing
            raise CameraTimeoutError(
                f"{self._label}: no frame within {timeout_s:g} s; {why_no_frame(self._settings)}"
            )
        try:
            return self._counters.frame(self._ask("delivering", lambda: self._frame(result)))
        finally:
            result.Release()  # a result that is kept blocks a buffer, and memory grows

    def waiting(self) -> int:
        """Frames in the SDK's output queue."""
        self._require_open()
        return int(self._ask("being asked for its frames", lambda: self._device.NumReadyBuffers.Value))

    def probe(self) -> None:
        """Read a feature from the camera itself; raises :class:`CameraLostError` when it does not answer."""
        self._require_open()
        if self._device.IsCameraDeviceRemoved():
            raise self._lost("was removed")
        if self._armed and not self._device.IsGrabbing():
            raise self._lost("stopped grabbing by itself")
        nodes = self._nodes
        if nodes is not None:
            self._ask("answering", lambda: self._observe(nodes))

    def disarm(self) -> None:
        """Stop grabbing; frames in the buffers are discarded."""
        if self._device is None:
            return
        if self._armed:
            self._counters.discarded(self.waiting())
        self._armed = False
        nodes = self._nodes
        if self._clock is not None and nodes is not None:
            # AcquisitionStop lets an exposure under way finish on some models; not every model can abort.
            self._ask("aborting", lambda: nodes.execute_if_there("AcquisitionAbort"))
        self._ask("stopping", self._device.StopGrabbing)

    def health(self) -> CameraHealth:
        """Counters, settings as the camera rounded them, and its temperature at the last ``probe``."""
        return self._counters.health()

    def close(self) -> None:
        """Release the camera; never raises."""
        self._release()
        self._counters.gone()

    # ------------------------------------------------------------------ helpers, in the order of use

    def _frame(self, result: Any) -> Frame:
        problem = _problem(result, self._size)
        block_id = int(result.BlockID)
        try:
            frame_id, lost_before = self._ids.place(block_id)
        except BlockOrderError as error:
            raise self._lost(f"was restarted: {error}") from None
        problem = problem or doubt_of(self._settings, self._clock, self._ids, block_id, int(result.TimeStamp))
        # A failed result still holds the pixels of an older frame in its buffer: they are not looked at.
        pixels = NO_PIXELS if not result.GrabSucceeded() else self._pixels(result)
        if not problem and pixels.shape[:2] != (self._size[1], self._size[0]):
            problem = f"pixels of shape {pixels.shape} and type {result.PixelType}"
        return Frame(
            pixels=pixels,
            frame_id=frame_id,
            lost_before=lost_before,
            complete=not problem,
            arrived_ns=time.monotonic_ns(),
            problem=problem,
            source=self._label if self._emulation is None else self._emulation.source(frame_id),
            exposed_by_ns=self._fired_ns,
        )

    def _pixels(self, result: Any) -> NDArray[np.uint8]:
        """A copy that is ours: the SDK's buffer is filled again by a later frame."""
        with result.GetArrayZeroCopy() as view:
            if view.dtype != np.uint8 or view.ndim not in (2, 3):
                return NO_PIXELS
            if self._colour == "RGB8":
                return np.ascontiguousarray(view[:, :, ::-1])
            return np.array(view)

    def _observe(self, nodes: Nodes) -> None:
        """Temperature and network counters, read from the camera and not from the node map's memory."""
        self._device.GetNodeMap().InvalidateNodes()
        nodes.read("Width")
        stream = Nodes(PylonNodeMap(self._device.GetStreamGrabberNodeMap(), self._genicam), self._label)
        statistics = {
            name: stream.read(f"Statistic_{name}_Count")
            for name in ("Failed_Buffer", "Buffer_Underrun", "Resend_Packet")
        }
        self._counters.observed(
            temperature_c(nodes),
            {name.lower(): value for name, value in statistics.items() if value is not None},
        )

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Call the SDK; what it raises means that the camera cannot be used any more."""
        try:
            return call()
        except (self._genicam.GenericException, RuntimeError) as error:
            raise self._lost(f"failed while {what} ({_first_line(error)})") from None

    def _lost(self, what: str) -> CameraLostError:
        message = f"{self._label} {what}; check power, cable and network, then it reconnects by itself"
        self._armed = False
        self._counters.gone(message)
        return CameraLostError(message)

    def _require_open(self) -> None:
        if self._device is None or not self._counters.connected:
            raise CameraLostError(
                f"{self._label} is not open: {self._counters.health().last_error or 'open() it'}"
            )

    def _require_armed(self) -> None:
        self._require_open()
        if not self._armed:
            raise CameraError(f"{self._label} is not armed: arm() it first")

    def _release(self) -> None:
        """Everything back, in any state. The device object too: after an unplug it does not work again."""
        device, self._device, self._nodes, self._armed = self._device, None, None, False
        self._clock = None
        if device is not None:
            for step in (device.StopGrabbing, device.Close, device.DestroyDevice):
                try:
                    step()
                except (self._genicam.GenericException, RuntimeError) as error:
                    log.debug("%s: %s failed on the way out: %s", self._label, step.__name__, error)
        if self._emulation is not None:
            self._emulation.close()
            self._emulation = None


def _problem(result: Any, size: tuple[int, int]) -> str:
    """Why a result is not the picture that was asked for; empty when it is."""
    if not result.GrabSucceeded():
        # The error code may be 0 all the same: it says nothing about success.
        said = str(result.ErrorDescription) or "the SDK gives no reason"
        return f"failed grab, error 0x{int(result.ErrorCode):X}: {said}"
    width, height = int(result.Width), int(result.Height)
    if (width, height) != size:
        return f"{width} x {height} px instead of {size[0]} x {size[1]}: lines are missing or foreign"
    return ""


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].split(" : ")[0]
