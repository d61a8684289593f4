"""Any GenICam camera through Harvesters and the GenTL producer of its maker.

One thread drives the camera. A producer is a foreign library that may hang or end its process, so the camera
has a process of its own unless ``isolated`` is false. Quirks of Harvesters 1.4, each beside the line that
deals with it:

- ``fetch`` measures its time-out by the wall clock, throws incomplete buffers away and asks again for ever
  (harvesters#375). So the buffers are taken from the producer's own event, as ``fetch`` does.
- The loss of a camera is not signalled (harvesters#431, #371): the camera's access status and a feature that
  is read past all memory decide, after a time-out and at every ``probe``.
- One acquirer is used for many starts and stops: creating and destroying leaks (harvesters#502).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from drivers.cameras import FAMILIES
from drivers.cameras.counters import Counters
from drivers.cameras.genicam.block_ids import BlockIds, BlockOrderError
from drivers.cameras.genicam.clock import CameraClock
from drivers.cameras.genicam.doubts import doubt_of, why_no_frame
from drivers.cameras.genicam.features import Nodes, apply, describe, temperature_c
from drivers.cameras.genicam.settings import GenicamSettings, TriggerKind
from drivers.cameras.harvesters.nodes import GenapiNodeMap
from drivers.cameras.harvesters.producers import (
    Said,
    find,
    import_harvesters,
    label_of,
    label_wanted,
    producer_files,
)
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraHealth,
    CameraLostError,
    CameraTimeoutError,
    Frame,
)
from drivers.cameras.isolated import IsolatedCamera
from drivers.cameras.picture_files import NO_PIXELS
from drivers.registry import Package
from drivers.settings import FilePath

T = TypeVar("T")
PFNC = {0x01080001: "Mono8", 0x02180014: "RGB8", 0x02180015: "BGR8"}
"""Codes of the Pixel Format Naming Convention -> the formats that become a frame."""


class HarvestersSettings(GenicamSettings):
    """Any GenICam camera, through the GenTL producer of its maker."""

    kind: Literal["harvesters"] = "harvesters"
    """the camera family"""
    producer: FilePath | None = None
    """the GenTL producer, a file `*.cti`; without it, all in the folders that `GENICAM_GENTL64_PATH` names"""
    isolated: bool = True
    """whether the producer runs in a process of its own, so that one that hangs or crashes costs a part and
    not the station; `false` saves two copies of each picture"""


class HarvestersCamera(Camera):
    """A camera behind a GenTL producer, in this process."""

    def __init__(self, settings: HarvestersSettings) -> None:
        self._settings = settings
        self._core: Any = None
        self._genapi: Any = None
        self._gentl: Any = None
        self._said: Said | None = None
        self._harvester: Any = None
        self._acquirer: Any = None
        self._event: Any = None
        """The producer's event of a new buffer."""
        self._nodes: Nodes | None = None
        self._clock: CameraClock | None = None
        self._label = label_wanted(settings)
        self._counters = Counters(self._label, simulated=False)
        self._ids = BlockIds(gige=False)
        self._size: tuple[int, int] = (0, 0)
        self._armed = False
        self._says_ready = False
        """Whether the camera says when it takes a software trigger."""
        self._fired_ns: int | None = None
        """When the last software trigger had surely begun its exposure; None without one since ``arm``."""

    @property
    def triggered_by_wire(self) -> bool:
        """With ``trigger: hardware``."""
        return self._settings.trigger is TriggerKind.HARDWARE

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Find the one camera that the settings name, take it and apply them.

        Raises :class:`CameraLostError` when it is not there or held by somebody else, which a later attempt
        may find mended, and :class:`CameraConfigError` for what only a person can mend.
        """
        self._release()
        self._core, self._genapi, self._gentl = import_harvesters()
        self._said = self._said or Said()
        try:
            self._take(producer_files(self._settings.producer))
            self._configure()
        except CameraError as error:
            # A feature that a camera lacks and one of a camera that has just gone look alike.
            gone = isinstance(error, CameraConfigError) and self._acquirer is not None and self._is_gone()
            self._release()
            if gone:
                raise self._lost("went away while it was set up") from None
            self._counters.gone(str(error))
            raise
        except self._errors() as error:
            self._release()
            raise self._lost(f"went away while it was set up ({_first_line(error)})") from None

    def _take(self, files: tuple[Any, ...]) -> None:
        assert self._said is not None
        self._harvester = self._core.Harvester()
        for file in files:
            self._harvester.add_file(str(file))
        number = find(self._harvester, self._settings, self._said)
        self._label = label_of(self._harvester.device_info_list[number])
        before = signal.getsignal(signal.SIGINT)
        try:
            self._acquirer = self._harvester.create(number)
        except self._errors() as error:
            raise CameraLostError(
                f"{self._label} cannot be opened ({_first_line(error)}); close the other program that uses "
                "it, or wait until the camera lets go of one that crashed"
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)  # Harvesters takes Ctrl-C for itself

    def _configure(self) -> None:
        settings = self._settings
        nodes = Nodes(GenapiNodeMap(self._acquirer.remote_device.node_map, self._genapi), self._label)
        self._nodes = nodes
        apply(settings, nodes)
        waits = settings.trigger_selector.removesuffix("Start") + "TriggerWait"
        self._says_ready = (
            settings.trigger is TriggerKind.SOFTWARE
            and waits in nodes.choices("AcquisitionStatusSelector")
            and nodes.find("AcquisitionStatus") is not None
        )
        if self._says_ready:
            nodes.set("trigger", waits, "AcquisitionStatusSelector")
        self._clock = CameraClock(nodes) if settings.trigger is not TriggerKind.OFF else None
        self._acquirer.num_buffers = max(settings.buffer_count, int(self._acquirer.min_num_buffers))
        self._size = int(nodes.read("Width") or 0), int(nodes.read("Height") or 0)
        info = self._acquirer.device
        details = {"model": str(info.model), "serial": str(info.serial_number), "transport": self._transport}
        details |= describe(settings, nodes)
        if self._clock is not None:
            details["frames_dated"] = "yes" if self._clock.there else "no"
        self._counters.opened(self._label, details)
        self._observe(nodes)

    @property
    def _transport(self) -> str:
        return str(self._acquirer.device.tl_type)

    # ------------------------------------------------------------------ acquiring

    def arm(self) -> None:
        """Start acquisition with empty buffers, every frame in order."""
        self._require_open()
        if self._armed:
            self.disarm()
        gige = self._transport == "GEV"
        self._ids = BlockIds(gige=gige, one_or_zero=not gige and self._transport != "U3V")
        self._fired_ns = None
        if self._clock is not None:
            self._ask("being asked for its time", self._clock.note)
        self._ask("starting", self._acquirer.start)
        # Harvesters has one event a stream, and no public way to it.
        (self._event,) = self._acquirer._new_buffer_event_monitor_dict.values()
        self._armed = True

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the camera says that it takes a trigger, where it can say so."""
        self._require_armed()
        nodes = self._nodes
        if not self._says_ready or nodes is None:
            return
        until = time.monotonic() + timeout_s
        while not self._ask("being asked", lambda: nodes.integer_now("AcquisitionStatus")):
            if time.monotonic() > until:
                if self._is_gone():
                    raise self._lost("does not answer")
                raise CameraTimeoutError(
                    f"{self._label} was not ready for a trigger within {timeout_s:g} s; the last exposure is "
                    "still under way, or its frames were not grabbed"
                )
            time.sleep(0.001)

    def trigger(self, timeout_s: float) -> None:
        """Expose one frame when the camera is ready for it."""
        self.wait_ready(timeout_s)
        nodes = self._nodes
        if self._settings.trigger is not TriggerKind.SOFTWARE or nodes is None:
            return
        self._ask("being triggered", lambda: nodes.execute("trigger", "TriggerSoftware"))
        # The camera has taken the command; whatever held this process up since counts against the part.
        self._fired_ns = time.monotonic_ns() + round((self._settings.trigger_delay_us or 0.0) * 1000)

    def grab(self, timeout_s: float) -> Frame:
        """The next frame; a short or foreign one is delivered as incomplete."""
        self._require_armed()
        try:
            self._event.update_event_data(max(1, round(timeout_s * 1000)))
        except self._gentl.TimeoutException:
            if self._is_gone():
                raise self._lost("does not answer") from None
            raise CameraTimeoutError(
                f"{self._label}: no frame within {timeout_s:g} s; {why_no_frame(self._settings)}"
            ) from None
        except self._errors() as error:
            raise self._lost(f"failed while grabbing ({_first_line(error)})") from None
        buffer = self._event.buffer
        try:
            return self._counters.frame(self._ask("delivering", lambda: self._frame(buffer)))
        finally:
            self._ask("taking a buffer back", lambda: buffer.parent.queue_buffer(buffer))

    def waiting(self) -> int:
        """Frames in the producer's output queue."""
        self._require_open()
        return int(self._ask("being asked", lambda: self._event.num_in_queue)) if self._armed else 0

    def probe(self) -> None:
        """Ask producer and camera; raises :class:`CameraLostError` when one of them does not answer."""
        self._require_open()
        if self._is_gone():
            raise self._lost("does not answer")
        nodes = self._nodes
        if nodes is not None:
            self._ask("answering", lambda: self._observe(nodes))

    def disarm(self) -> None:
        """Stop acquisition; frames in the buffers and the exposure under way are discarded."""
        if self._acquirer is None or not self._armed:
            return
        self._counters.discarded(self.waiting())
        self._armed = False
        nodes = self._nodes
        if self._clock is not None and nodes is not None:
            # AcquisitionStop lets an exposure under way finish on some models; not every model can abort.
            self._ask("aborting", lambda: nodes.execute_if_there("AcquisitionAbort"))
        self._ask("stopping", self._acquirer.stop)

    def health(self) -> CameraHealth:
        """Counters, settings as the camera rounded them, and its temperature at the last ``probe``."""
        return self._counters.health()

    def close(self) -> None:
        """Release the camera; never raises."""
        self._release()
        self._counters.gone()

    # ------------------------------------------------------------------ helpers, in the order of use

    def _frame(self, buffer: Any) -> Frame:
        arrived_ns = time.monotonic_ns()
        block_id = int(buffer.frame_id)
        complete = bool(buffer.is_complete())
        # The pixels of an incomplete buffer are partly an older frame's: they are not looked at.
        problem, pixels = self._pixels(buffer) if complete else ("lines or packets are missing", NO_PIXELS)
        try:
            frame_id, lost_before = self._ids.place(block_id)
        except BlockOrderError as error:
            raise self._lost(f"was restarted: {error}") from None
        problem = problem or doubt_of(
            self._settings, self._clock, self._ids, block_id, self._timestamp(buffer)
        )
        return Frame(
            pixels=pixels,
            frame_id=frame_id,
            lost_before=lost_before,
            complete=not problem,
            arrived_ns=arrived_ns,
            problem=problem,
            source=self._label,
            exposed_by_ns=self._fired_ns,
        )

    def _pixels(self, buffer: Any) -> tuple[str, NDArray[np.uint8]]:
        """What is wrong with a complete buffer, and a copy of its pixels: the buffer is filled again."""
        width, height = int(buffer.width), int(buffer.height)
        if (width, height) != self._size:
            asked = f"{self._size[0]} x {self._size[1]} px"
            return f"{width} x {height} px instead of {asked}: lines are missing or foreign", NO_PIXELS
        found = PFNC.get(int(buffer.pixel_format), f"format 0x{int(buffer.pixel_format):08X}")
        if found != self._settings.pixel_format:
            return f"pixels of {found} instead of {self._settings.pixel_format}", NO_PIXELS
        shape = (height, width) if found == "Mono8" else (height, width, 3)
        size, start = int(np.prod(shape)), int(buffer.image_offset)
        if int(buffer.padding_x):
            return f"{int(buffer.padding_x)} bytes of padding per line; choose a width without", NO_PIXELS
        if int(buffer.size_filled) < start + size:
            return f"{int(buffer.size_filled)} of {start + size} bytes came", NO_PIXELS
        pixels = np.frombuffer(buffer.raw_buffer, np.uint8, size, start).reshape(shape)
        return "", np.ascontiguousarray(pixels[..., ::-1]) if found == "RGB8" else pixels.copy()

    def _timestamp(self, buffer: Any) -> int:
        """When the exposure began, in ticks of the camera; 0 where the producer does not know."""
        try:
            return int(buffer.timestamp)
        except self._gentl.GenericException:
            return 0

    def _is_gone(self) -> bool:
        """Whether the producer says that the camera cannot be reached, or the camera does not answer."""
        status = self._gentl.DEVICE_ACCESS_STATUS_LIST
        try:
            if int(self._acquirer.device.access_status) == status.DEVICE_ACCESS_STATUS_NOACCESS:
                return True
            self._acquirer.remote_device.node_map.get_node("Width").get_value(False, True)
        except self._gentl.NotImplementedException:  # a producer without the status
            return False
        except self._errors():
            return True
        return False

    def _observe(self, nodes: Nodes) -> None:
        """Temperature and the producer's counters."""
        details = {}
        for stream in self._acquirer.data_streams:
            for name in ("num_delivered", "num_underrun"):
                try:
                    details[name] = str(getattr(stream, name))
                except self._gentl.GenericException:
                    continue
        self._counters.observed(temperature_c(nodes), details)

    def _errors(self) -> tuple[type[Exception], ...]:
        """What the library raises when the camera cannot be used any more."""
        return (self._gentl.GenericException, self._genapi.GenericException, RuntimeError, AttributeError)

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Call the library; what it raises means that the camera cannot be used any more."""
        try:
            return call()
        except self._errors() as error:
            raise self._lost(f"failed while {what} ({_first_line(error)})") from None

    def _lost(self, what: str) -> CameraLostError:
        message = f"{self._label} {what}; check power, cable and network, then it reconnects by itself"
        self._armed = False
        self._counters.gone(message)
        return CameraLostError(message)

    def _require_open(self) -> None:
        if self._acquirer is None or not self._counters.connected:
            raise CameraLostError(
                f"{self._label} is not open: {self._counters.health().last_error or 'open() it'}"
            )

    def _require_armed(self) -> None:
        self._require_open()
        if not self._armed:
            raise CameraError(f"{self._label} is not armed: arm() it first")

    def _release(self) -> None:
        """Everything back, in any state."""
        acquirer, self._acquirer = self._acquirer, None
        harvester, self._harvester = self._harvester, None
        self._event, self._nodes, self._clock, self._armed = None, None, None, False
        for step in (
            *((acquirer.stop, acquirer.destroy) if acquirer is not None else ()),
            *((harvester.reset,) if harvester is not None else ()),
        ):
            try:
                step()
            except Exception:  # on the way out, of a library that knows no limit to what it raises
                continue


@FAMILIES.register(HarvestersSettings, needs=Package("harvesters", extra="genicam"))
def harvesters_camera(settings: HarvestersSettings) -> Camera:
    """The camera of these settings, in a process of its own unless they say otherwise."""
    if not settings.isolated:
        return HarvestersCamera(settings)
    return IsolatedCamera(
        HarvestersCamera,
        settings,
        description=label_wanted(settings),
        triggered_by_wire=settings.trigger is TriggerKind.HARDWARE,
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].split(" : ")[0]
