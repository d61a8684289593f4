"""Light controllers: the interface (:mod:`drivers.lights.interface`) and one file per protocol.

A new protocol is a file in this folder with its settings, its driver, and the line that registers it in
:data:`CONTROLLERS`; ``gardasoft.py`` is the one to copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.lights.settings import LightSettings
from drivers.registry import Registry

if TYPE_CHECKING:
    from drivers.lights.interface import LightController

CONTROLLERS: Registry[LightSettings, LightController] = Registry("light controller", "drivers.lights")
"""``driver(settings)`` makes a :class:`~drivers.lights.interface.LightController`, not opened."""
