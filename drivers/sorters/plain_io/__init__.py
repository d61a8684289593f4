"""Cells without a protocol: single wires for trigger, busy, OK, NG and valid, and a gate behind a belt."""

from drivers.sorters.plain_io.settings import GpioSettings
from drivers.sorters.plain_io.sorter import GpioSorter

__all__ = ["GpioSettings", "GpioSorter"]
