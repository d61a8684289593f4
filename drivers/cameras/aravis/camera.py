"""GigE Vision cameras of any maker through Aravis.

One thread drives the camera, in a process of its own unless ``isolated`` is false. Quirks of Aravis 0.8.26,
each beside the line that deals with it:

- A call to a camera that is gone returns after 2.5 to 5 s, and giving the camera back after three times as
  long: so a datagram of our own asks first (:mod:`~drivers.cameras.aravis.discovery`), and the process of a
  lost camera is ended.
- The loss of control is signalled on a foreign thread; a device that lost it does not work again. Nobody
  listens to that signal: each ``grab`` that got nothing and each ``probe`` asks.
- The library itself reads a register of the camera once per second, on a thread of its own, so that an idle
  camera stays ours (its heartbeat).
- The numbers of frames go on where the last start ended, if the camera does not begin anew.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Any, Literal

import numpy as np

from drivers.cameras import FAMILIES
from drivers.cameras.aravis.discovery import Present, who_answers
from drivers.cameras.aravis.library import DebianPackages, import_aravis
from drivers.cameras.aravis.nodes import AravisNodeMap
from drivers.cameras.genicam.block_ids import INVALID_ID, BlockIds
from drivers.cameras.genicam.camera import GenicamCamera, Picture
from drivers.cameras.genicam.features import Nodes
from drivers.cameras.genicam.nodes import NodeMap
from drivers.cameras.genicam.pixels import MISSING, picture_of
from drivers.cameras.genicam.settings import GenicamSettings, TriggerKind
from drivers.cameras.interface import Camera, CameraConfigError, CameraHeldError, CameraLostError
from drivers.cameras.isolated import IsolatedCamera
from drivers.cameras.picture_files import NO_PIXELS
from drivers.settings import Word

log = logging.getLogger(__name__)

STATISTICS = (
    "completed_buffers", "failures", "underruns", "timeouts", "aborted", "missing_frames",
    "size_mismatch_errors", "received_packets", "missing_packets", "error_packets", "ignored_packets",
    "resend_requests", "resent_packets", "duplicated_packets",
)  # fmt: skip
"""Counters of a stream that are exported, by their names in the library without ``n_``."""


STREAMS = 20
"""How often a stream is made anew that heard others first."""


class AravisSettings(GenicamSettings):
    """Any GigE Vision camera, through Aravis (Debian packages)."""

    kind: Literal["aravis"] = "aravis"
    """the camera family"""
    address: Word = ""
    """the camera's IP address; without it, cameras are searched for by broadcasts, which takes 1 s"""
    isolated: bool = True
    """whether the camera is driven by a process of its own, which is ended and started anew after a loss;
    `false` saves two copies of each picture, and a loss then costs up to 8 s more"""


class _SilentError(Exception):
    """The camera does not answer a datagram."""


class AravisCamera(GenicamCamera):
    """A GigE Vision camera, in this process."""

    def __init__(self, settings: AravisSettings) -> None:
        super().__init__(settings, label_wanted(settings))
        self._wanted = settings
        self._aravis: Any = None
        self._glib: Any = None
        self._camera: Any = None
        self._device: Any = None
        self._stream: Any = None
        self._is_unused = True
        """Whether the stream was never started."""
        self._has_heard = False
        """Whether a frame came since the last start, and how many packets the library had ignored then."""
        self._ignored = 0
        self._there: Present | None = None

    # ------------------------------------------------------------------ opening

    def _load(self) -> None:
        self._aravis, self._glib = import_aravis()
        for other in ("USB3Vision", "Fake"):
            with suppress(self._glib.Error):
                self._aravis.disable_interface(other)

    def _take(self) -> NodeMap:
        self._there = self._find()
        self._label = str(self._there)
        try:
            self._camera = self._aravis.Camera.new(self._there.address)
        except self._glib.Error as error:
            raise self._why_not_opened(error) from None
        self._device = self._camera.get_device()
        if not self._device.is_controller():
            raise CameraHeldError(f"{self._label} {HELD}")
        self._device.set_packet_size_adjustment(self._aravis.GvPacketSizeAdjustment.NEVER)
        return AravisNodeMap(self._device, self._aravis, self._glib)

    def _find(self) -> Present:
        """The one camera that the settings name.

        Raises :class:`CameraLostError` and :class:`CameraConfigError`.
        """
        wanted = self._wanted
        if wanted.address:
            addresses = [wanted.address]
        else:
            self._aravis.update_device_list()
            devices = range(self._aravis.get_n_devices())
            addresses = [str(self._aravis.get_device_address(number)) for number in devices]
        present = [found for address in addresses if (found := who_answers(address)) is not None]
        fitting = [
            one for one in present if wanted.serial in ("", one.serial) and wanted.name in ("", one.name)
        ]
        if not fitting:
            others = ", ".join(f"{one} at {one.address}" for one in present) or "none"
            raise CameraLostError(
                f"{label_wanted(wanted)} was not found; check power, cable and network, and that its address "
                f"is in the network of this port. Cameras found: {others}"
            )
        if len(fitting) > 1:
            several = ", ".join(f"{one} at {one.address}" for one in fitting)
            raise CameraConfigError(
                f"{len(fitting)} cameras match: {several}; set `serial` to choose one of them"
            )
        return fitting[0]

    def _why_not_opened(self, error: Any) -> CameraLostError:
        if error.matches(self._aravis.device_error_quark(), self._aravis.DeviceError.NOT_CONTROLLER):
            return CameraHeldError(f"{self._label} {HELD}")
        return CameraLostError(
            f"{self._label} cannot be opened ({error.message}); check power, cable and network"
        )

    def _before_settings(self, nodes: Nodes) -> None:
        # After a crash or a cut cable the camera still runs, and sends to the program of before.
        self._camera.stop_acquisition()

    def _after_settings(self, nodes: Nodes) -> dict[str, str]:
        assert self._there is not None
        if not self._device.is_controller():
            raise CameraHeldError(f"{self._label} {HELD}")
        self._make_stream()
        return {"model": self._there.model, "serial": self._there.serial, "address": self._there.address}

    def _make_stream(self) -> None:
        self._stream = self._quiet_stream()
        self._is_unused = True
        # As much as the kernel allows (net.core.rmem_max), up to a frame.
        self._stream.set_property("socket-buffer", self._aravis.GvStreamSocketBuffer.AUTO)
        payload = self._camera.get_payload()
        for _ in range(self._settings.buffer_count):
            self._stream.push_buffer(self._aravis.Buffer.new_allocate(payload))

    def _quiet_stream(self) -> Any:
        """A stream that has heard nothing yet.

        With the right to use a packet socket (CAP_NET_RAW) the library uses one, which first hears all that
        others send, until its filter is set. It takes that for frames, and then ignores the camera's own
        because their numbers are lower. Where others never pause, an ordinary socket is used, which hears
        nobody else and has less room.
        """
        for _ in range(STREAMS):
            stream = self._camera.create_stream(None, None)
            time.sleep(0.01)
            if not _count(stream, "received_packets"):
                return stream
            del stream  # a camera has one
        log.warning("%s: others send without a pause to this port; give it its own network", self._label)
        self._device.set_stream_options(self._aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
        return self._camera.create_stream(None, None)

    # ------------------------------------------------------------------ acquiring

    def _block_ids(self) -> BlockIds:
        return BlockIds(gige=True, goes_on=True)

    def _start(self) -> None:
        self._require_answer()
        if self._is_unused and _count(self._stream, "received_packets"):  # its thread looked late
            self._stream = None  # a camera has one
            self._make_stream()
        self._is_unused = self._has_heard = False
        self._ignored = _count(self._stream, "ignored_packets")
        self._camera.start_acquisition()

    def _fire(self) -> None:
        self._require_answer()
        assert self._nodes is not None
        self._nodes.execute("trigger", "TriggerSoftware")

    def _next(self, timeout_s: float) -> Picture | None:
        buffer = self._stream.timeout_pop_buffer(max(1, round(timeout_s * 1e6)))
        if buffer is None:
            return None
        self._has_heard = True
        try:
            return self._picture(buffer)
        finally:
            self._stream.push_buffer(buffer)

    def _picture(self, buffer: Any) -> Picture:
        arrived_ns = time.monotonic_ns()
        status = buffer.get_status()
        if status == self._aravis.BufferStatus.SUCCESS:
            size = buffer.get_image_width(), buffer.get_image_height()
            padding = buffer.get_image_padding()[0]
            if padding:
                problem, pixels = f"{padding} bytes of padding per line; choose a width without", NO_PIXELS
            else:
                data = np.frombuffer(buffer.get_image_data(), np.uint8)
                code = buffer.get_image_pixel_format()
                problem, pixels = picture_of(data, code, size, self._settings, self._size)
        else:
            # What did not come is an older frame's: pixels, and with the first packet number and time, too.
            return Picture(INVALID_ID, 0, NO_PIXELS, f"{MISSING} ({status.value_nick})", arrived_ns)
        return Picture(int(buffer.get_frame_id()), int(buffer.get_timestamp()), pixels, problem, arrived_ns)

    def _queued(self) -> int:
        return int(self._stream.get_n_buffers().n_output_buffers)

    def _stop(self) -> None:
        self._require_answer()
        self._camera.stop_acquisition()
        while (buffer := self._stream.try_pop_buffer()) is not None:
            self._stream.push_buffer(buffer)

    # ------------------------------------------------------------------ being there

    def _why_gone(self) -> str:
        if not self._device.is_controller():
            return "is not controlled by this program any more, because it heard nothing of it for too long"
        if self._armed and not self._has_heard and _count(self._stream, "ignored_packets") > self._ignored:
            return "is not heard, because others send to this port: give it its own network"
        return "" if self._answers() else "does not answer"

    def _answers(self) -> bool:
        assert self._there is not None
        found = who_answers(self._there.address)
        return found is not None and found.serial == self._there.serial

    def _require_answer(self) -> None:
        if not self._answers():
            raise _SilentError("it does not answer")

    def _statistics(self, nodes: Nodes) -> dict[str, int]:
        return {name: _count(self._stream, name) for name in STATISTICS}

    def _errors(self) -> tuple[type[Exception], ...]:
        return (self._glib.Error, _SilentError)

    def _let_go(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None and self._device.is_controller() and self._answers():
            with suppress(self._glib.Error):
                camera.stop_acquisition()
        # The library closes stream and device with the last reference to them.
        self._stream, self._device, camera = None, None, None


def _count(stream: Any, name: str) -> int:
    return int(stream.get_info_uint64_by_name(f"n_{name}"))


HELD = (
    "is controlled by another program: close it; after a crash of this one, the camera lets go by itself "
    "when its heartbeat time is over, usually 3 s"
)


@FAMILIES.register(AravisSettings, needs=DebianPackages())
def aravis_camera(settings: AravisSettings) -> Camera:
    """The camera of these settings, in a process of its own unless they say otherwise."""
    if not settings.isolated:
        return AravisCamera(settings)
    return IsolatedCamera(
        AravisCamera,
        settings,
        description=label_wanted(settings),
        triggered_by_wire=settings.trigger is TriggerKind.HARDWARE,
    )


def label_wanted(settings: AravisSettings) -> str:
    """The name of the camera that the settings name, in messages."""
    named = settings.name and f"named {settings.name!r}"
    place = settings.address and f"at {settings.address}"
    return " ".join(filter(None, ("GigE camera", settings.serial, named, place)))
