"""What carries a part to its bin: the interface (:mod:`drivers.sorters.interface`) and one file per protocol.

A new protocol is a file or folder here with its settings, its driver, and the line that registers it in
:data:`PROTOCOLS`; ``serial/port.py`` is the one to copy. The rules that every protocol keeps with a cell are
in :mod:`drivers.sorters.handshake`; a protocol only translates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.registry import Registry
from drivers.sorters.settings import SorterSettings

if TYPE_CHECKING:
    from drivers.sorters.interface import Sorter

PROTOCOLS: Registry[SorterSettings, Sorter] = Registry("sorter protocol", "drivers.sorters")
"""``driver(settings, station)`` makes a :class:`~drivers.sorters.interface.Sorter`, not opened."""
