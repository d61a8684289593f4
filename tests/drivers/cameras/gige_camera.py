"""The GigE Vision camera of ``simulation/genicam/gige.py`` with pictures that a test knows.

As a program it is the camera; imported, it starts one. Frame after frame shows ``picture(0)``, ``picture(1)``
... of :data:`PICTURES`, again from 0 after the last one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import sys
from collections.abc import Iterator

import numpy as np

from simulation.campaign.cameras import LOCK
from simulation.genicam.gige import serve
from simulation.genicam.process import CameraProcess

PICTURES = 5
ADDRESS = "127.0.0.1"
"""Where the camera is: every camera has the same port, so that an address has one."""


def picture(number: int, height: int, width: int) -> np.ndarray:
    """A picture that is like no other."""
    return np.random.default_rng(number % PICTURES).integers(0, 256, (height, width), dtype=np.uint8)


class GigeCamera(CameraProcess):
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
        super().__init__([*prefix, sys.executable, "-m", __name__, address, serial, *words])
        self.size = (height, width)
        self.start()

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
    shown = itertools.cycle([picture(number, height, width) for number in range(PICTURES)])
    serve(
        given.address, given.serial, (height, width), lambda wire: next(shown),
        rate_hz=given.rate, lost=given.lost / 1000,
    )  # fmt: skip


if __name__ == "__main__":
    main()
