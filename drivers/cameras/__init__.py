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

_NEEDS: dict[str, tuple[str, str, str]] = {
    "folder": ("cv2", "opencv-python-headless", "inspection-station"),
    "pylon": ("pypylon", "pypylon", "inspection-station[pylon]"),
}
"""Family -> the package it needs, the distribution that has it, and what to install to get it."""


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
    package, distribution, extra = _NEEDS[name]
    if importlib.util.find_spec(package) is None:
        return False, f"{package} is not installed; pip install '{extra}'"
    try:
        return True, f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:  # the same package from another distribution
        return True, package
