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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drivers.cameras import FAMILIES
from drivers.cameras.genicam.block_ids import BlockIds
from drivers.cameras.genicam.camera import GenicamCamera, Picture, first_line
from drivers.cameras.genicam.features import Nodes
from drivers.cameras.genicam.nodes import NodeMap
from drivers.cameras.genicam.pixels import MISSING, picture_of
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
from drivers.cameras.interface import Camera, CameraHeldError
from drivers.cameras.isolated import IsolatedCamera
from drivers.cameras.picture_files import NO_PIXELS
from drivers.registry import Package
from drivers.settings import FilePath


class HarvestersSettings(GenicamSettings):
    """Any GenICam camera, through the GenTL producer of its maker."""

    kind: Literal["harvesters"] = "harvesters"
    """the camera family"""
    producer: FilePath | None = None
    """the GenTL producer, a file `*.cti`; without it, all in the folders that `GENICAM_GENTL64_PATH` names"""
    isolated: bool = True
    """whether the producer runs in a process of its own, so that one that hangs or crashes costs a part and
    not the station; `false` saves two copies of each picture"""


class HarvestersCamera(GenicamCamera):
    """A camera behind a GenTL producer, in this process."""

    def __init__(self, settings: HarvestersSettings) -> None:
        super().__init__(settings, label_wanted(settings))
        self._wanted = settings
        self._core: Any = None
        self._genapi: Any = None
        self._gentl: Any = None
        self._said: Said | None = None
        self._harvester: Any = None
        self._acquirer: Any = None
        self._event: Any = None
        """The producer's event of a new buffer."""

    # ------------------------------------------------------------------ opening

    def _load(self) -> None:
        self._core, self._genapi, self._gentl = import_harvesters()
        self._said = self._said or Said()

    def _take(self) -> NodeMap:
        assert self._said is not None
        files = producer_files(self._wanted.producer)
        self._harvester = self._core.Harvester()
        for file in files:
            self._harvester.add_file(str(file))
        number = find(self._harvester, self._wanted, self._said)
        self._label = label_of(self._harvester.device_info_list[number])
        before = signal.getsignal(signal.SIGINT)
        try:
            self._acquirer = self._harvester.create(number)
        except self._errors() as error:
            raise CameraHeldError(
                f"{self._label} cannot be opened ({first_line(error)}); close the other program that uses "
                "it, or wait until the camera lets go of one that crashed"
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)  # Harvesters takes Ctrl-C for itself
        return GenapiNodeMap(self._acquirer.remote_device.node_map, self._genapi)

    def _after_settings(self, nodes: Nodes) -> dict[str, str]:
        self._acquirer.num_buffers = max(self._settings.buffer_count, int(self._acquirer.min_num_buffers))
        info = self._acquirer.device
        return {"model": str(info.model), "serial": str(info.serial_number), "transport": self._transport}

    @property
    def _transport(self) -> str:
        return str(self._acquirer.device.tl_type)

    # ------------------------------------------------------------------ acquiring

    def _block_ids(self) -> BlockIds:
        gige = self._transport == "GEV"
        return BlockIds(gige=gige, one_or_zero=not gige and self._transport != "U3V")

    def _start(self) -> None:
        self._acquirer.start()
        # Harvesters has one event a stream, and no public way to it.
        (self._event,) = self._acquirer._new_buffer_event_monitor_dict.values()

    def _fire(self) -> None:
        assert self._nodes is not None
        self._nodes.execute("trigger", "TriggerSoftware")

    def _next(self, timeout_s: float) -> Picture | None:
        try:
            self._event.update_event_data(max(1, round(timeout_s * 1000)))
        except self._gentl.TimeoutException:
            return None
        buffer = self._event.buffer
        try:
            arrived_ns = time.monotonic_ns()
            complete = bool(buffer.is_complete())
            # The pixels of an incomplete buffer are partly an older frame's: they are not looked at.
            problem, pixels = self._pixels(buffer) if complete else (MISSING, NO_PIXELS)
            return Picture(int(buffer.frame_id), self._timestamp(buffer), pixels, problem, arrived_ns)
        finally:
            buffer.parent.queue_buffer(buffer)

    def _queued(self) -> int:
        return int(self._event.num_in_queue)

    def _stop(self) -> None:
        self._acquirer.stop()

    def _pixels(self, buffer: Any) -> tuple[str, NDArray[np.uint8]]:
        """What is wrong with a complete buffer, and a copy of its pixels: the buffer is filled again."""
        size = int(buffer.width), int(buffer.height)
        if int(buffer.padding_x):
            return f"{int(buffer.padding_x)} bytes of padding per line; choose a width without", NO_PIXELS
        data = np.frombuffer(buffer.raw_buffer, np.uint8)[int(buffer.image_offset) : int(buffer.size_filled)]
        return picture_of(data, int(buffer.pixel_format), size, self._settings, self._size)

    def _timestamp(self, buffer: Any) -> int:
        """When the exposure began, in ticks of the camera; 0 where the producer does not know."""
        try:
            return int(buffer.timestamp)
        except self._gentl.GenericException:
            return 0

    # ------------------------------------------------------------------ being there

    def _why_gone(self) -> str:
        """Whether the producer says that the camera cannot be reached, or the camera does not answer."""
        status = self._gentl.DEVICE_ACCESS_STATUS_LIST
        try:
            if int(self._acquirer.device.access_status) == status.DEVICE_ACCESS_STATUS_NOACCESS:
                return "does not answer"
            self._acquirer.remote_device.node_map.get_node("Width").get_value(False, True)
        except self._gentl.NotImplementedException:  # a producer without the status
            return ""
        except self._errors():
            return "does not answer"
        return ""

    def _statistics(self, nodes: Nodes) -> dict[str, int]:
        counted = {}
        for stream in self._acquirer.data_streams:
            for name in ("num_delivered", "num_underrun"):
                try:
                    counted[name] = int(getattr(stream, name))
                except self._gentl.GenericException:
                    continue
        return counted

    def _errors(self) -> tuple[type[Exception], ...]:
        return (self._gentl.GenericException, self._genapi.GenericException, RuntimeError, AttributeError)

    def _let_go(self) -> None:
        acquirer, self._acquirer = self._acquirer, None
        harvester, self._harvester = self._harvester, None
        self._event = None
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
