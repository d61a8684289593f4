"""A GigE Vision camera in software, over real UDP: the one that Aravis brings, with pictures of our own.

As a program it is the camera, which shows what lies in the plant; :func:`serve` is one with any pictures.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.aravis.library import import_aravis
from simulation.genicam.view import View
from simulation.switchboard import Switchboard

START = 0x124
"""The register to which 1 is written at a start of acquisition, and 0 at its end."""
_SEEN = 3
"""What this program writes there, so that it sees the next start; it is a start all the same."""
_LOOK_MS = 5
_SENT_S = 0.1
"""A frame that was made before this is on its way no more."""


class Wire:
    """The camera as its pictures see it."""

    def __init__(self, camera: Any, device: Any) -> None:
        self._camera, self._device = camera, device
        self._frame_id = -1

    def next_frame(self) -> int:
        """The number of the frame that is being made, counted from 0 since acquisition was started."""
        if self._device.read_register(START)[1] == 1:
            self._device.write_register(START, _SEEN)
            self._frame_id = -1
        self._frame_id += 1
        return self._frame_id

    def lose(self, share: float) -> None:
        """From now on this share of all packets is lost."""
        self._camera.set_property("gvsp-lost-ratio", share)


Picture = Callable[[Wire], NDArray[np.uint8]]


def serve(
    address: str,
    serial: str,
    size: tuple[int, int],
    picture: Picture,
    *,
    rate_hz: float = 1000.0,
    lost: float = 0.0,
    look: Callable[[Wire], None] = lambda wire: None,
) -> None:
    """Be a camera until SIGTERM, or until the parent is gone; says ``ready`` when it is there.

    ``size``: height and width, px; ``lost``: the share of packets that are lost; ``look``: is called every
    few milliseconds.
    """
    aravis, glib = import_aravis()
    library = ctypes.CDLL("libaravis-0.8.so.0")
    library.arv_buffer_get_data.restype = ctypes.c_void_p
    library.arv_buffer_get_data.argtypes = [ctypes.c_void_p, ctypes.c_void_p]

    camera = aravis.GvFakeCamera(interface_name=address, serial_number=serial, gvsp_lost_ratio=lost)
    assert camera.is_running(), f"no camera at {address}"
    device = camera.get_fake_camera()
    wire = Wire(camera, device)
    height, width = size
    for register, value in ((0x11C, width), (0x118, height), (0x100, width), (0x104, height)):
        device.write_register(register, value)
    device.write_register(0x138, round(1e6 / rate_hz))

    def fill(buffer: int, data: int, exposure: int, gain: int, pixel_format: int) -> None:
        pixels = np.ascontiguousarray(picture(wire))
        count = min(device.get_payload(), pixels.size)
        ctypes.memmove(library.arv_buffer_get_data(buffer, None), pixels.ctypes.data, count)

    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_uint32] * 3)
    kept = callback(fill)  # the library's own way through Python frees it, and ends in a segmentation fault
    library.arv_fake_camera_set_fill_pattern.argtypes = [ctypes.c_void_p, callback, ctypes.c_void_p]
    library.arv_fake_camera_set_fill_pattern(hash(device), kept, None)
    print("ready", flush=True)
    loop = glib.MainLoop()
    glib.unix_signal_add(glib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
    parent = os.getppid()
    glib.timeout_add(500, lambda: os.getppid() == parent or loop.quit())  # a killed plant leaves no camera

    def again() -> bool:
        look(wire)
        return True

    glib.timeout_add(_LOOK_MS, again)
    loop.run()


SURELY = 0.1
"""From this share on, a frame of hundreds of packets never comes whole."""


def main() -> None:
    """Be the plant's camera."""
    options = argparse.ArgumentParser()
    for name in ("address", "serial", "pool", "place", "log", "switches"):
        options.add_argument(name)
    given = options.parse_args()
    view = View(Path(given.pool), Path(given.place), Path(given.log))
    switches = Switchboard(Path(given.switches))
    lost = 0.0

    def picture(wire: Wire) -> NDArray[np.uint8]:
        return view.expose(wire.next_frame(), "packets-lost" if lost >= SURELY else "")

    def look(wire: Wire) -> None:
        nonlocal lost
        wanted = switches.on().get("packets-lost", 0.0)
        if wanted > lost:
            wire.lose(wanted)
            lost = wanted
        elif wanted < lost:
            lost = wanted
            time.sleep(_SENT_S)
            wire.lose(wanted)

    serve(given.address, given.serial, view.size, picture, look=look)


if __name__ == "__main__":
    main()
