"""Cells without a protocol: single wires for trigger, busy, OK, NG and valid, and a gate behind a belt."""

from drivers.sorters.plain_io.settings import CameraLinesSettings, GpioSettings
from drivers.sorters.plain_io.sorter import CameraLinesSorter, GpioSorter

__all__ = ["CameraLinesSettings", "CameraLinesSorter", "GpioSettings", "GpioSorter"]
