"""A GigE Vision camera in software, over real UDP: the one that Aravis brings, with pictures of our own.

As a program it is the camera; imported, it starts one. Frame after frame shows ``picture(0)``, ``picture(1)``
... of :data:`PICTURES`, again from 0 after the last one.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PICTURES = 5
ADDRESS = "127.0.0.1"
"""Where the camera is: every camera has the same port, so that an address has one."""
LOCK = Path(tempfile.gettempdir()) / "gige-camera.lock"


def picture(number: int, height: int, width: int) -> np.ndarray:
    """A picture that is like no other."""
    return np.random.default_rng(number % PICTURES).integers(0, 256, (height, width), dtype=np.uint8)


class GigeCamera:
    """The program, started; one at a time on this machine."""

    def __init__(
        self,
        width: int,
        height: int,
        *,
        rate_hz: float = 1000.0,
        lost_per_mille: float = 0.0,
        serial: str = "GV07",
        prefix: tuple[str, ...] = (),
        address: str = ADDRESS,
    ) -> None:
        """``prefix``: what the command begins with, such as ``ip netns exec NAME``."""
        options = {"size": f"{width}x{height}", "rate": rate_hz, "lost": lost_per_mille}
        words = [f"--{name}={value}" for name, value in options.items()]
        self._command = [*prefix, sys.executable, __file__, address, serial, *words]
        self.size = (height, width)
        self.process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        """Switch it on."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == "ready\n", f"the camera did not start: {said}"

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        self.process.communicate()

    def number_of(self, pixels: np.ndarray) -> int | None:
        """Which picture it is, bit by bit; None when it is none of them."""
        found = [number for number in range(PICTURES) if np.array_equal(pixels, picture(number, *self.size))]
        return found[0] if found else None


@contextlib.contextmanager
def gige_camera(width: int = 64, height: int = 48, **settings: float | str) -> Iterator[GigeCamera]:
    """A camera that nobody else on this machine uses meanwhile."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        camera = GigeCamera(width, height, **settings)  # type: ignore[arg-type]
        try:
            yield camera
        finally:
            camera.kill()


def libraries() -> tuple[Any, Any]:
    """Aravis and GLib; from Debian's folder, in which Python does not look here."""
    warnings.simplefilter("ignore")
    with contextlib.suppress(ImportError):
        import gi
    if "gi" not in sys.modules:
        folder = "/usr/lib/python3/dist-packages/gi"
        spec = importlib.util.spec_from_file_location(
            "gi", f"{folder}/__init__.py", submodule_search_locations=[folder]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules["gi"] = gi = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(gi)
    gi.require_version("Aravis", "0.8")
    from gi.repository import Aravis, GLib

    return Aravis, GLib


def main() -> None:
    """Be the camera until SIGTERM."""
    options = argparse.ArgumentParser()
    options.add_argument("address")
    options.add_argument("serial")
    options.add_argument("--size")
    options.add_argument("--rate", type=float)
    options.add_argument("--lost", type=float)
    given = options.parse_args()
    width, height = map(int, given.size.split("x"))

    aravis, glib = libraries()
    library = ctypes.CDLL("libaravis-0.8.so.0")
    library.arv_buffer_get_data.restype = ctypes.c_void_p
    library.arv_buffer_get_data.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    shown = [np.ascontiguousarray(picture(number, height, width)) for number in range(PICTURES)]
    count = 0

    def fill(buffer: int, data: int, exposure: int, gain: int, pixel_format: int) -> None:
        nonlocal count
        pixels = shown[count % PICTURES]
        size = min(camera.get_payload(), pixels.size)
        ctypes.memmove(library.arv_buffer_get_data(buffer, None), pixels.ctypes.data, size)
        count += 1

    wire = aravis.GvFakeCamera(
        interface_name=given.address, serial_number=given.serial, gvsp_lost_ratio=given.lost / 1000
    )
    assert wire.is_running(), f"no camera at {given.address}"
    camera = wire.get_fake_camera()
    registers = {"sensor": (0x11C, width), "": (0x118, height), "w": (0x100, width), "h": (0x104, height)}
    for register, value in (*registers.values(), (0x138, round(1e6 / given.rate))):
        camera.write_register(register, value)
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_uint32] * 3)
    kept = callback(fill)  # the library's own way through Python frees it, and ends in a segmentation fault
    library.arv_fake_camera_set_fill_pattern.argtypes = [ctypes.c_void_p, callback, ctypes.c_void_p]
    library.arv_fake_camera_set_fill_pattern(hash(camera), kept, None)
    print("ready", flush=True)
    loop = glib.MainLoop()
    glib.unix_signal_add(glib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
    parent = os.getppid()
    glib.timeout_add(500, lambda: os.getppid() == parent or loop.quit())  # a killed test leaves no camera
    loop.run()


if __name__ == "__main__":
    main()
