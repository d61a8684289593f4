"""What carries a part to its bin: the interface and one file a protocol."""

from typing import Final

PROTOCOLS: Final[dict[str, str]] = {
    "serial": "drivers.sorters.serial.port:SerialSorter",
}
"""Name in the config -> "module:class" of the :class:`~drivers.sorters.interface.Sorter` that speaks it."""
