"""Frames of 5472 x 3648 px over real UDP of this machine: ``python -m tests.drivers.cameras.gige_figures``.

It prints frames per second, whether every complete frame is bit for bit one of those that the camera showed,
and what was lost; then the same with one lost packet in 10,000. Exit code 1 when the target was missed.
"""

from __future__ import annotations

import argparse
import time

from drivers.cameras.aravis import AravisSettings, aravis_camera
from drivers.cameras.genicam.settings import TriggerKind
from drivers.cameras.settings import Mode
from tests.drivers.cameras.gige_camera import ADDRESS, PICTURES, gige_camera, picture

WIDTH, HEIGHT = 5472, 3648


def run(seconds: float, lost_per_mille: float, rate_hz: float) -> bool:
    """Print one line; whether every frame was whole or a fault, and 10 or more came per second."""
    shown = [picture(number, HEIGHT, WIDTH).tobytes() for number in range(PICTURES)]
    settings = AravisSettings(
        address=ADDRESS, mode=Mode.FREE_RUNNING, trigger=TriggerKind.OFF, packet_size=8192, buffer_count=16
    )
    with gige_camera(WIDTH, HEIGHT, lost_per_mille=lost_per_mille, rate_hz=rate_hz):
        camera = aravis_camera(settings)
        camera.open()
        camera.arm()
        frames = exact = wrong = 0
        last: int | None = None
        last_id = 0
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            frame = camera.grab(5.0)
            frames += 1
            if frame.complete:
                # The next picture in order, unless frames were lost between.
                due = None if last is None else (last + frame.frame_id - last_id) % PICTURES
                number = shown.index(bytes_of) if (bytes_of := frame.pixels.tobytes()) in shown else None
                exact += number is not None and due in (None, number)
                wrong += number is None or due not in (None, number)
                last, last_id = number, frame.frame_id
        elapsed = time.monotonic() - began
        camera.probe()
        health = camera.health()
        camera.close()
    print(
        f"{lost_per_mille:g} per mille of packets lost: {frames / elapsed:.1f} frames/s for {elapsed:.0f} s; "
        f"{exact} bit-exact, {wrong} wrong, {health.incomplete} incomplete (faults), {health.lost} lost; "
        f"packets missing {health.transport['missing_packets']}, underruns {health.transport['underruns']}",
        flush=True,
    )
    whole = wrong == 0 and exact + health.incomplete == frames
    return whole and (lost_per_mille > 0 or (frames / elapsed >= 10 and not health.lost + health.incomplete))


def main() -> int:
    """Both runs."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0, help="length of each run (default: 300)")
    options.add_argument(
        "--rate", type=float, default=12.0, help="frames per second of the camera (default: 12)"
    )
    given = options.parse_args()
    good = [run(given.seconds, lost, given.rate) for lost in (0.0, 0.1)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
