"""Basler cameras (GigE, USB3) and Basler's camera emulator, through pypylon.

One grab thread drives the camera; ``health`` alone may be called from others. Quirks, each met here or in
the field, stand beside the line that deals with them. Callbacks that announce a removal never come for some
cameras (pypylon#235), so a loss is noticed where it hurts: an exception, a result that is not valid, or no
answer to ``probe``.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from drivers.buffers import FRAMES
from drivers.cameras import FAMILIES
from drivers.cameras.genicam.block_ids import BlockIds
from drivers.cameras.genicam.camera import GenicamCamera, Picture, first_line
from drivers.cameras.genicam.features import Nodes
from drivers.cameras.genicam.nodes import NodeMap
from drivers.cameras.genicam.settings import GenicamSettings, TriggerKind
from drivers.cameras.picture_files import NO_PIXELS
from drivers.cameras.pylon.emulation import Emulation
from drivers.cameras.pylon.finding import find, import_pypylon, label_of, label_wanted, not_opened
from drivers.cameras.pylon.nodes import PylonNodeMap
from drivers.registry import Package
from drivers.settings import FilePath, mistake

log = logging.getLogger(__name__)


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
class PylonCamera(GenicamCamera):
    """A Basler camera; ``settings.emulation`` puts Basler's own emulator in its place.

    The emulator plays the pictures in the order of their names and starts at the first one at every ``arm``:
    the frame with id ``n`` is picture ``n`` modulo their number, and its ``source`` names the file.
    """

    def __init__(self, settings: PylonSettings) -> None:
        super().__init__(settings, label_wanted(settings))
        self._wanted = settings
        """The settings; with an emulator, those that fit its pictures."""
        self._sdk: Any = None
        self._genicam: Any = None
        self._device: Any = None
        self._emulation: Emulation | None = None

    @property
    def device(self) -> Any:
        """The SDK's ``InstantCamera`` while open, else None: for service tools and fault injection."""
        return self._device

    # ------------------------------------------------------------------ opening

    def _load(self) -> None:
        self._sdk, self._genicam = import_pypylon()
        if self._wanted.emulation is not None:
            self._emulation = Emulation(self._wanted.emulation)
            self._settings = self._emulation.fitted(self._wanted)

    def _take(self) -> NodeMap:
        info = find(self._sdk, self._wanted)
        self._label = label_of(info)
        try:
            self._device = self._sdk.InstantCamera(self._sdk.TlFactory.GetInstance().CreateDevice(info))
            self._device.Open()
        except self._errors() as error:
            raise not_opened(self._label, str(error)) from None
        return PylonNodeMap(self._device.GetNodeMap(), self._genicam)

    def _before_settings(self, nodes: Nodes) -> None:
        if self._emulation is not None:
            self._emulation.apply(nodes)

    def _after_settings(self, nodes: Nodes) -> dict[str, str]:
        self._device.MaxNumBuffer.Value = self._settings.buffer_count
        info = self._device.GetDeviceInfo()
        return {"model": info.GetModelName(), "serial": info.GetSerialNumber()}

    # ------------------------------------------------------------------ acquiring

    def _block_ids(self) -> BlockIds:
        return BlockIds(gige=self._device.GetDeviceInfo().GetDeviceClass() == "BaslerGigE")

    def _start(self) -> None:
        """Every frame in order (OneByOne); LatestImageOnly would drop parts (pypylon#332)."""
        self._device.StartGrabbing(self._sdk.GrabStrategy_OneByOne)

    def _is_ready(self, timeout_s: float) -> bool:
        """Wait for the end of the exposure before, and for its frame to be out of the way."""
        if self._device.IsCameraDeviceRemoved():
            raise self._lost("was removed")
        return not self._device.CanWaitForFrameTriggerReady() or bool(
            self._device.WaitForFrameTriggerReady(_milliseconds(timeout_s), self._sdk.TimeoutHandling_Return)
        )

    def _fire(self) -> None:
        self._device.ExecuteSoftwareTrigger()

    def _next(self, timeout_s: float) -> Picture | None:
        result = self._device.RetrieveResult(_milliseconds(timeout_s), self._sdk.TimeoutHandling_Return)
        if not result.IsValid():  # a time-out only while the camera is still grabbing, see _why_gone
            return None
        try:
            return self._picture(result)
        finally:
            result.Release()  # a result that is kept blocks a buffer, and memory grows

    def _queued(self) -> int:
        return int(self._device.NumReadyBuffers.Value)

    def _stop(self) -> None:
        self._device.StopGrabbing()

    def _picture(self, result: Any) -> Picture:
        problem = _problem(result, self._size)
        # A failed result still holds the pixels of an older frame in its buffer: they are not looked at.
        pixels = NO_PIXELS if not result.GrabSucceeded() else self._pixels(result)
        if not problem and pixels.shape[:2] != (self._size[1], self._size[0]):
            problem = f"pixels of shape {pixels.shape} and type {result.PixelType}"
        return Picture(int(result.BlockID), int(result.TimeStamp), pixels, problem, time.monotonic_ns())

    def _pixels(self, result: Any) -> NDArray[np.uint8]:
        """A copy that is ours: the SDK's buffer is filled again by a later frame."""
        with result.GetArrayZeroCopy() as view:
            if view.dtype != np.uint8 or view.ndim not in (2, 3):
                return NO_PIXELS
            if self._settings.pixel_format == "RGB8":
                return FRAMES.copy(view[:, :, ::-1])
            return FRAMES.copy(view)

    # ------------------------------------------------------------------ being there

    def _why_gone(self) -> str:
        if not self._device.IsOpen() or self._device.IsCameraDeviceRemoved():
            return "was removed"
        if self._armed and not self._device.IsGrabbing():
            return "stopped grabbing by itself"
        try:
            node_map = self._device.GetNodeMap()
            node_map.InvalidateNodes()  # read from the camera, and not from the node map's memory
            node_map.GetNode("Width").ToString()
        except self._errors() as error:
            return f"does not answer ({first_line(error)})"
        return ""

    def _source(self, frame_id: int) -> str:
        return self._label if self._emulation is None else self._emulation.source(frame_id)

    def _statistics(self, nodes: Nodes) -> dict[str, int]:
        stream = Nodes(PylonNodeMap(self._device.GetStreamGrabberNodeMap(), self._genicam), self._label)
        statistics = {
            name: stream.read(f"Statistic_{name}_Count")
            for name in ("Failed_Buffer", "Buffer_Underrun", "Resend_Packet")
        }
        return {name.lower(): int(value) for name, value in statistics.items() if value is not None}

    def _errors(self) -> tuple[type[Exception], ...]:
        return (self._genicam.GenericException, RuntimeError)

    def _let_go(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            for step in (device.StopGrabbing, device.Close, device.DestroyDevice):
                try:
                    step()
                except self._errors() as error:
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
