"""How fast a camera delivers, and whether it loses anything: ``python -m drivers.cameras.measure``.

    python -m drivers.cameras.measure pylon --emulate FOLDER --frames 200
    python -m drivers.cameras.measure pylon --serial 40012345
    python -m drivers.cameras.measure folder FOLDER

Triggers and grabs one frame after the other and prints frames a second, the time from trigger to frame,
the growth of resident memory, and how long it takes to empty the camera, which a hardware trigger costs
every part.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import psutil

from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.cameras.genicam.settings import PylonSettings
from drivers.cameras.interface import Camera, CameraError
from drivers.cameras.pylon.camera import PylonCamera

EMPTYINGS = 100


def measure(camera: Camera, frames: int, warm_up: int = 10) -> str:
    """Take frames as fast as they come and describe how that went, in lines."""
    camera.open()
    try:
        camera.arm()
        for _ in range(warm_up):
            camera.trigger(5.0)
            camera.grab(5.0)
        resident = psutil.Process().memory_info().rss
        took: list[float] = []
        shapes: set[tuple[int, ...]] = set()
        start = time.perf_counter()
        for _ in range(frames):
            before = time.perf_counter()
            camera.trigger(5.0)
            shapes.add(camera.grab(5.0).pixels.shape)
            took.append((time.perf_counter() - before) * 1000)
        elapsed = time.perf_counter() - start
        grown_mb = (psutil.Process().memory_info().rss - resident) / 1e6
        health = camera.health()
        emptied, after = zip(*(empty(camera) for _ in range(EMPTYINGS)), strict=True)
    finally:
        camera.close()
    p50, p99 = np.percentile(took, [50, 99])
    empty50, empty99 = np.percentile(emptied, [50, 99])
    return "\n".join(
        (
            f"{health.description}: {frames} frames of {', '.join(map(str, sorted(shapes)))}",
            f"{frames / elapsed:.1f} frames/s; trigger to frame {p50:.1f} ms median, {p99:.1f} ms p99",
            f"lost {health.lost}, incomplete {health.incomplete}; resident memory {grown_mb:+.1f} MB",
            f"emptied, an exposure under way: {empty50:.1f} ms median, {empty99:.1f} ms p99; trigger to the "
            f"frame after it {np.median(after):.1f} ms median",
        )
    )


def empty(camera: Camera) -> tuple[float, float]:
    """Milliseconds to throw an exposure away and arm anew, and from the next trigger to its frame."""
    camera.trigger(5.0)
    start = time.perf_counter()
    camera.disarm()
    camera.arm()
    armed = time.perf_counter()
    camera.trigger(5.0)
    camera.grab(5.0)
    return (armed - start) * 1000, (time.perf_counter() - armed) * 1000


def main() -> int:
    """Read the command line, measure, print; 1 when the camera fails."""
    parser = argparse.ArgumentParser(prog="python -m drivers.cameras.measure", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("family", choices=("pylon", "folder"))
    parser.add_argument("folder", type=Path, nargs="?", help="pictures, for the folder camera")
    parser.add_argument("--serial", default="", help="serial number of a Basler camera")
    parser.add_argument("--emulate", type=Path, help="pictures for Basler's emulator")
    parser.add_argument("--exposure-us", type=float)
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.family == "folder" and arguments.folder is None:
        parser.error("the folder camera needs a folder")
    try:
        camera: Camera
        if arguments.family == "folder":
            camera = FolderCamera(FolderSettings(arguments.folder, repeat=True))
        else:
            settings = PylonSettings(
                serial=arguments.serial, emulation_folder=arguments.emulate, exposure_us=arguments.exposure_us
            )
            camera = PylonCamera(settings)
        print(measure(camera, arguments.frames))
    except CameraError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
