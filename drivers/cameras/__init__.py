"""Cameras: the interface (:mod:`drivers.cameras.interface`) and one file per camera family.

A new family is a file in this folder with its settings, its driver, and the line that registers it in
:data:`FAMILIES`; ``folder.py`` is the one to copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.cameras.settings import CameraSettings
from drivers.registry import Registry

if TYPE_CHECKING:
    from drivers.cameras.interface import Camera

FAMILIES: Registry[CameraSettings, Camera] = Registry("camera family", "drivers.cameras")
"""``driver(settings)`` makes a :class:`~drivers.cameras.interface.Camera`, not opened."""
