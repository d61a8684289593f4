"""Linux GPIO (``/dev/gpiochip*``) by libgpiod 2, and a camera's lines: the only file that touches a pin.

**GPIO was not run by us**: no machine at hand has GPIO, nor a kernel with its simulator (CONFIG_GPIO_SIM).
docs/plain-io.md has the commands that show it on yours. What the lines mean is in ``signals.py``, which is
tested.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from drivers.cameras.interface import Camera, CameraError
from drivers.sorters.interface import SorterError
from drivers.sorters.plain_io.settings import CameraLinesSettings, GpioSettings, Wire
from drivers.sorters.plain_io.signals import Edge

EDGES = 1024
"""Edges that the kernel keeps for us; an encoder of 1 kHz fills that in a second."""


class EdgesLostError(OSError):
    """The kernel had more edges than it could keep."""


class Lines(ABC):
    """Inputs with their edges, and outputs."""

    may_wait = False
    """Whether :meth:`set` may take long: then no call of the application waits for it."""

    @abstractmethod
    def fileno(self) -> int:
        """Readable when edges wait."""

    @abstractmethod
    def read(self) -> list[Edge]:
        """The edges that wait, in their order. Raises OSError, :class:`EdgesLostError`."""

    @abstractmethod
    def set(self, levels: Mapping[str, bool]) -> None:
        """Set outputs, all at once. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Give the lines back. Never raises."""


class GpioLines(Lines):
    """The lines of one chip. Raises :class:`SorterError` for a line that is not there, OSError else."""

    def __init__(self, settings: GpioSettings) -> None:
        import gpiod
        from gpiod.line import Direction, Value
        from gpiod.line import Edge as Detect

        self._value = (Value.INACTIVE, Value.ACTIVE)
        self._rising = gpiod.EdgeEvent.Type.RISING_EDGE
        with gpiod.Chip(settings.chip) as chip:
            inputs = {_offset(chip, key, line): key for key, line in settings.inputs.items()}
            outputs = {key: _offset(chip, key, line) for key, line in settings.outputs.items()}
        config: dict[Any, Any] = {}
        for offset, key in inputs.items():
            config[offset] = gpiod.LineSettings(
                direction=Direction.INPUT,
                edge_detection=Detect.RISING,
                active_low=key in settings.inverted,
                # An encoder's ticks are shorter than a contact's bounce.
                debounce_period=timedelta(microseconds=0 if key == "encoder" else settings.debounce_us),
            )
        for key, offset in outputs.items():
            config[offset] = gpiod.LineSettings(
                direction=Direction.OUTPUT, output_value=Value.INACTIVE, active_low=key in settings.inverted
            )
        self._keys, self._offsets = inputs, outputs
        self._seen = 0
        self._request = gpiod.request_lines(
            settings.chip, consumer="station", config=config, event_buffer_size=EDGES
        )

    def fileno(self) -> int:
        """Readable when edges wait."""
        return int(self._request.fd)

    def read(self) -> list[Edge]:
        """The edges that wait; the kernel numbers them, so that a lost one shows."""
        events = self._request.read_edge_events(EDGES)
        numbers = [event.global_seqno for event in events]
        before, self._seen = self._seen, numbers[-1] if numbers else self._seen
        if numbers != list(range(before + 1, before + 1 + len(numbers))):
            lost = self._seen - before - len(numbers)
            raise EdgesLostError(f"{lost} edges were lost by the kernel")
        found = []
        for event in events:
            rising = event.event_type is self._rising
            found.append(Edge(self._keys[event.line_offset], rising, event.timestamp_ns))
        return found

    def set(self, levels: Mapping[str, bool]) -> None:
        """Set outputs in one call."""
        self._request.set_values({self._offsets[key]: self._value[on] for key, on in levels.items()})

    def close(self) -> None:
        """Give the lines back."""
        self._request.release()


class CameraLines(Lines):
    """A camera's own output lines; a camera has no inputs for us. Raises OSError while it is lost."""

    may_wait = True
    """A camera that has just gone answers nothing until a time-out is over."""

    def __init__(self, camera: Camera, settings: CameraLinesSettings) -> None:
        self._camera = camera
        self._lines = {key: str(line) for key, line in settings.outputs.items()}
        self._never, self._writer = os.pipe2(os.O_CLOEXEC)

    def fileno(self) -> int:
        """Never readable."""
        return self._never

    def read(self) -> list[Edge]:
        """Nothing."""
        return []

    def set(self, levels: Mapping[str, bool]) -> None:
        """Set outputs one after the other, `valid` last where it goes on."""
        for key in sorted(levels, key=lambda key: key == "valid" and levels[key]):
            try:
                self._camera.set_output(self._lines[key], levels[key])
            except CameraError as error:
                raise OSError(f"sorter.{key}: {error}") from None

    def close(self) -> None:
        """Give the lines back."""
        os.close(self._never)
        os.close(self._writer)


def _offset(chip: Any, key: str, line: Wire) -> int:
    try:
        return int(chip.line_offset_from_id(line))
    except (OSError, ValueError) as error:
        raise SorterError(
            f"sorter.{key}: {chip.path} has no line {line!r} ({error}); `gpioinfo` lists its lines"
        ) from None
