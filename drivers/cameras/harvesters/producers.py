"""GenTL producers, the libraries of camera makers, and the one camera that the settings name."""

from __future__ import annotations

import ctypes
import logging
import os
import warnings
from pathlib import Path
from typing import Any, Protocol

from drivers.cameras.interface import CameraConfigError, CameraLostError

VARIABLE = "GENICAM_GENTL64_PATH"
"""The environment variable in which installers of producers name their folders."""
_SEARCH_MS = 1000
"""How long a producer may search on one interface."""


class _Wanted(Protocol):
    """The settings that name a camera."""

    @property
    def producer(self) -> Path | None: ...
    @property
    def serial(self) -> str: ...
    @property
    def name(self) -> str: ...


def import_harvesters() -> tuple[Any, Any, Any]:
    """The modules ``harvesters.core``, ``genicam.genapi`` and ``genicam.gentl``.

    Raises :class:`CameraConfigError`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's types warn while they are made
            from genicam import genapi, gentl
            from harvesters import core
    except ImportError as error:
        raise CameraConfigError(
            f"GenICam cameras need harvesters ({error}); pip install 'inspection-station[genicam]'"
        ) from None
    return core, genapi, gentl


def producer_files(named: Path | None) -> tuple[Path, ...]:
    """The producer that the settings name, or all that :data:`VARIABLE` names.

    Raises :class:`CameraConfigError` without any, and for a file that is no producer.
    """
    if named is not None:
        _require_producer(named)
        return (named,)
    folders = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    found = tuple(file for folder in folders for file in sorted(folder.glob("*.cti")))
    if not found:
        where = f"{VARIABLE} names {', '.join(map(str, folders))}" if folders else f"{VARIABLE} is not set"
        raise CameraConfigError(
            f"no GenTL producer was found ({where}); install the SDK of the camera's maker, or write the "
            "path of its .cti file as `producer`"
        )
    return found


def _require_producer(file: Path) -> None:
    if not file.is_file():
        raise CameraConfigError(f"producer: {file} is not a file; write the path of the maker's .cti file")
    try:
        library = ctypes.CDLL(str(file))
    except OSError as error:
        raise CameraConfigError(
            f"producer: {file} cannot be loaded ({error}); write the path of a .cti file for this processor"
        ) from None
    if not hasattr(library, "GCInitLib"):
        raise CameraConfigError(
            f"producer: {file} is a library, but no GenTL producer; write the path of the maker's .cti file"
        )


class Said(logging.Handler):
    """What Harvesters says of errors that it does not raise: kept for messages, and not printed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        logger = logging.getLogger("harvesters")
        logger.handlers[:] = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first line of the newest ones."""
        self.lines = [*self.lines[-4:], record.getMessage().splitlines()[0] if record.getMessage() else ""]

    def take(self) -> str:
        """What was said since the last time, in brackets; empty where nothing was."""
        lines, self.lines = self.lines, []
        return f" ({'; '.join(dict.fromkeys(lines))})" if lines else ""


def find(harvester: Any, settings: _Wanted, said: Said) -> int:
    """The place of the one camera that the settings name in the list of all.

    Raises :class:`CameraLostError` when it is not there, and :class:`CameraConfigError` when several fit.
    """
    harvester.timeout_for_update = _SEARCH_MS
    said.take()
    harvester.update()
    present = list(harvester.device_info_list)
    fitting = [
        number
        for number, info in enumerate(present)
        if settings.serial in ("", _property(info, "serial_number"))
        and settings.name in ("", _property(info, "user_defined_name"))
    ]
    if not fitting:
        others = ", ".join(label_of(info) for info in present) or "none"
        raise CameraLostError(
            f"{label_wanted(settings)} was not found{said.take()}; check power, cable and network. "
            f"Cameras found: {others}"
        )
    if len(fitting) > 1:
        found = ", ".join(label_of(present[number]) for number in fitting)
        raise CameraConfigError(
            f"{len(fitting)} cameras match: {found}; set `serial` to choose one of them, and `producer` "
            "where two producers find the same camera"
        )
    return fitting[0]


def label_of(info: Any) -> str:
    """The name of a camera that is there, in messages."""
    words = (_property(info, name) for name in ("vendor", "model", "serial_number"))
    return " ".join(filter(None, words))


def label_wanted(settings: _Wanted) -> str:
    """The name of the camera that the settings name, in messages."""
    return " ".join(filter(None, ("GenICam camera", settings.serial, settings.name and f"{settings.name!r}")))


def _property(info: Any, name: str) -> str:
    """A producer need not know everything of a camera."""
    try:
        return str(getattr(info, name) or "")
    except Exception:  # the library raises what its C side returned, of many types
        return ""
