"""Aravis and PyGObject as Debian installs them: outside of every virtual environment.

PyGObject is loaded from Debian's folder alone, so that nothing else of that folder comes into this process.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.cameras.interface import CameraConfigError

PACKAGES = "gir1.2-aravis-0.8 python3-gi"
GI = Path("/usr/lib/python3/dist-packages/gi")
HOW = f"sudo apt-get install {PACKAGES}"


@dataclass(frozen=True, slots=True)
class DebianPackages:
    """What the family needs, for the list of families; nothing is imported."""

    folder: Path = GI

    @property
    def missing(self) -> str:
        """What to install; empty when it is there."""
        if _spec(self.folder) is None:
            return f"PyGObject is not installed; {HOW}"
        if not any(Path("/usr/lib").glob("**/girepository-1.0/Aravis-0.8.typelib")):
            return f"Aravis 0.8 is not installed; {HOW}"
        return ""

    @property
    def version(self) -> str:
        """The library's name and version."""
        return "Aravis 0.8"


def import_aravis(folder: Path = GI) -> tuple[Any, Any]:
    """The modules ``Aravis`` and ``GLib``.

    Raises :class:`CameraConfigError`, which names Debian's packages.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyGObject's own importer is of an old kind
            _load_gi(folder)
            import gi

            gi.require_version("Aravis", "0.8")
            from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:
        raise CameraConfigError(
            f"GigE cameras through Aravis need the Debian packages {PACKAGES} ({error}); {HOW}"
        ) from None
    return Aravis, GLib


def _spec(folder: Path) -> Any:
    """Where PyGObject is: in this environment, or in Debian's folder for the same version of Python."""
    if "gi" in sys.modules or (found := importlib.util.find_spec("gi")) is None:
        version = f"{sys.version_info.major}{sys.version_info.minor}"
        if not any(folder.glob(f"_gi.cpython-{version}-*.so")):
            return None
        return importlib.util.spec_from_file_location(
            "gi", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
    return found


def _load_gi(folder: Path) -> None:
    if "gi" in sys.modules:
        return
    spec = _spec(folder)
    if spec is None or spec.loader is None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise ImportError(f"{folder} holds no PyGObject for Python {python}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gi"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["gi"]
        raise
