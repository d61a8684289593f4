"""Lamps, a camera that sees them, and a recipe of three exposures, for tests of parts of several frames."""

from __future__ import annotations

import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from drivers.cameras.interface import Camera, CameraHealth, CameraTimeoutError, Frame
from drivers.lights.interface import LightController, LightLostError, LightRefusedError, Output
from drivers.lights.settings import LightSettings
from station.recipe import Recipe, load_recipe
from tests.station.conftest import RECIPE

LAMPS = 3
STEREO = """
stereo:
  solver: lambert
  curvature_white: 0.1
  slope_white: 1.0
  texture_white: 250
  settle_ms: 0
  lamps:
    - {slant_deg: 30, azimuth_deg: 0, output: 2}
    - {slant_deg: 30, azimuth_deg: 120, output: 1, percent: 80}
    - {slant_deg: 30, azimuth_deg: 240, output: 4}
"""
OUTPUTS = (2, 1, 4)
"""The outputs of the three lamps, in the order of the exposures."""


def lit_recipe(folder: Path) -> Recipe:
    """The scripted line's recipe, lit by three lamps."""
    file = folder / "lit.yaml"
    text = RECIPE.replace("name: strip", "name: lit").replace("width: 16}", "width: 16, channels: 3}")
    file.write_text(text + STEREO)
    return load_recipe(file)


class MemoryLights(LightController):
    """A controller without a wire: its lamps, and what is wrong with it at the next question."""

    percent_step = 0.5
    can_strobe = False

    def __init__(self) -> None:
        super().__init__(LightSettings(address="nowhere", channels=4))
        self.percent = dict.fromkeys(self.outputs, 0.0)
        self.fault = ""
        self.is_open = False

    @property
    def lit(self) -> tuple[int, ...]:
        return tuple(output for output, percent in self.percent.items() if percent)

    def close(self) -> None:
        self.is_open = False

    def _identity(self) -> str:
        self.is_open = True
        return "memory"

    def _write(self, channel: int, wanted: Output) -> None:
        if self.fault == "refuses" and wanted.percent:
            raise LightRefusedError("the controller refuses")
        if not (self.fault == "is stuck" and wanted.percent):
            self.percent[channel] = wanted.percent

    def _read(self, channel: int) -> Output:
        if self.fault == "is silent":
            raise LightLostError("the controller is silent")
        return Output(self.percent[channel])


class SeeingCamera(Camera):
    """Shows the part that lies there under the lamps that are lit, and does wrong what a test says.

    The source of each frame says what it really shows: ``part/outputs``.
    """

    def __init__(self, lights: MemoryLights) -> None:
        self.lights = lights
        self.part = 0
        self.wrong: deque[str] = deque()
        """What happens at the coming exposures, one word each; nothing once it is empty."""
        self._buffer: deque[Frame] = deque()
        self._late: deque[Frame] = deque()
        self._next_id = self._lost = self._seed = 0

    def open(self) -> None:
        pass

    def arm(self) -> None:
        self._buffer.clear()
        self._late.clear()
        self._next_id = self._lost = 0

    def stray(self) -> None:
        """An exposure that nobody asked for."""
        self._expose()

    def trigger(self, timeout_s: float) -> None:
        self._buffer.extend(self._late)
        self._late.clear()
        wrong = self.wrong.popleft() if self.wrong else ""
        if wrong == "no exposure":
            return
        if wrong == "lost":
            self._next_id, self._lost = self._next_id + 1, self._lost + 1
            return
        if wrong == "one lost before":
            self._next_id, self._lost = self._next_id + 1, self._lost + 1
        if wrong == "stray before":
            self.stray()
        self._expose(complete=wrong != "incomplete")
        if wrong == "twice":
            self._buffer.append(self._buffer[-1])
        if wrong == "stray after":
            self.stray()
        if wrong == "late":
            self._late.append(self._buffer.pop())

    def grab(self, timeout_s: float) -> Frame:
        if not self._buffer:
            raise CameraTimeoutError("nothing came")
        return self._buffer.popleft()

    def waiting(self) -> int:
        return len(self._buffer)

    def disarm(self) -> None:
        pass

    def health(self) -> CameraHealth:
        return CameraHealth(True, "seeing", 0, 0, 0, 0)

    def close(self) -> None:
        pass

    def _expose(self, *, complete: bool = True) -> None:
        self._seed += 1
        pixels = np.random.default_rng(self._seed).integers(90, 110, (32, 16), np.uint8)
        now = time.monotonic_ns()
        outputs = ",".join(map(str, self.lights.lit))
        frame = Frame(
            pixels=pixels,
            frame_id=self._next_id,
            lost_before=self._lost,
            complete=complete,
            arrived_ns=now,
            problem="" if complete else "half of it is missing",
            source=f"{self.part}/{outputs}",
            exposed_by_ns=now,
        )
        self._next_id, self._lost = self._next_id + 1, 0
        self._buffer.append(frame)


def calling(what: str) -> AbstractContextManager[None]:
    """As the line's own, without its watch."""
    return nullcontext()
