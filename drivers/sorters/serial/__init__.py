"""The serial line of docs/serial-protocol.md: port, session, link, frames, explainer of recorded bytes."""

from drivers.sorters.serial.port import SerialSettings, SerialSorter

__all__ = ["SerialSettings", "SerialSorter"]
