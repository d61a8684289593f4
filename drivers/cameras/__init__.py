"""Cameras: the interface (:mod:`drivers.cameras.interface`) and one file a camera family.

A family is a class behind :class:`~drivers.cameras.interface.Camera` with a frozen settings dataclass as
its only required argument. A new one is a file here and a line in :data:`FAMILIES`.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivers.cameras.interface import Camera

FAMILIES: dict[str, str] = {
    "folder": "drivers.cameras.folder:FolderCamera",
    "pylon": "drivers.cameras.pylon:PylonCamera",
}
"""Name of a family -> ``module:class``; nothing of it is imported before it is asked for."""

_NEEDS: dict[str, tuple[str, str]] = {"folder": ("cv2", ""), "pylon": ("pypylon", "pylon")}
"""Family -> the package it drives the camera with, and the extra that brings it."""


def family(name: str) -> type[Camera]:
    """The class of a family; raises :class:`CameraConfigError` for a name that is not in ``FAMILIES``."""
    from drivers.cameras.interface import CameraConfigError

    if name not in FAMILIES:
        raise CameraConfigError(f"no camera family {name!r}; known: {', '.join(sorted(FAMILIES))}")
    module, _, attribute = FAMILIES[name].partition(":")
    found: type[Camera] = getattr(importlib.import_module(module), attribute)
    return found


def present() -> list[tuple[str, bool, str]]:
    """Per family: name, whether its package is installed here, and the version or what to install."""
    return [(name, *_presence(name)) for name in FAMILIES]


def _presence(name: str) -> tuple[bool, str]:
    package, extra = _NEEDS[name]
    if importlib.util.find_spec(package) is None:
        wanted = f"inspection-station[{extra}]" if extra else "inspection-station"
        return False, f"{package} is not installed; pip install '{wanted}'"
    for distribution in metadata.packages_distributions().get(package, []):
        return True, f"{distribution} {metadata.version(distribution)}"
    return True, package
