"""Measure how fast a camera delivers frames and whether it loses any: ``python -m drivers.cameras.measure``.

    python -m drivers.cameras.measure pylon --emulation FOLDER --frames 200
    python -m drivers.cameras.measure pylon --serial 40012345
    python -m drivers.cameras.measure folder --path FOLDER --repeat true

It triggers and grabs one frame after the other. It prints frames per second, the time from trigger to frame,
the growth of resident memory, and the time to empty the camera, which every part needs with a hardware
trigger. Every key of the family's section is an option; write a list as JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import psutil
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from drivers.cameras import FAMILIES
from drivers.cameras.interface import Camera, CameraError
from drivers.cameras.settings import CameraSettings
from drivers.registry import Entry, RegistryError

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
    """Milliseconds to discard an exposure and arm again, and from the next trigger to its frame."""
    camera.trigger(5.0)
    start = time.perf_counter()
    camera.disarm()
    camera.arm()
    armed = time.perf_counter()
    camera.trigger(5.0)
    camera.grab(5.0)
    return (armed - start) * 1000, (time.perf_counter() - armed) * 1000


def main() -> int:
    """Read the command line, measure, print; 1 when the camera fails, 2 for a setting that is wrong."""
    parser = argparse.ArgumentParser(prog="python -m drivers.cameras.measure", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    try:
        families = FAMILIES.entries()
    except RegistryError as error:
        parser.error(str(error))
    commands = parser.add_subparsers(dest="family", required=True, metavar="FAMILY")
    for kind, entry in families.items():
        command = commands.add_parser(kind, help=entry.purpose, description=entry.purpose)
        command.add_argument("--frames", type=int, default=100, help="number of frames (default: 100)")
        for name, field in _keys(entry).items():
            text = " ".join((field.description or "").split()).replace("%", "%%")
            option = f"--{name.replace('_', '-')}"
            command.add_argument(option, dest=f"key_{name}", metavar="VALUE", help=text)
    arguments = vars(parser.parse_args())
    entry = families[arguments["family"]]
    if entry.missing:
        parser.error(f"{entry.kind}: {entry.missing}")
    given = {name: arguments[f"key_{name}"] for name in _keys(entry)}
    try:
        settings = entry.settings.model_validate(
            {name: _value(text) for name, text in given.items() if text is not None}
        )
    except ValidationError as wrong:
        places = ((".".join(map(str, detail["loc"])), detail["msg"]) for detail in wrong.errors())
        parser.error("; ".join(f"{place.replace('_', '-')}: {problem}" for place, problem in places))
    try:
        print(measure(entry.driver(settings), arguments["frames"]))
    except CameraError as error:
        print(error)
        return 1
    return 0


def _keys(entry: Entry[CameraSettings, Camera]) -> dict[str, FieldInfo]:
    return {name: field for name, field in entry.settings.model_fields.items() if name != "kind"}


def _value(text: str) -> object:
    try:
        return json.loads(text) if text.startswith(("[", "{")) else text
    except ValueError:
        return text  # which the key then refuses


if __name__ == "__main__":
    raise SystemExit(main())
