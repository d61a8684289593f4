"""The Basler camera that the settings name, and why it cannot be opened."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

from drivers.cameras.interface import CameraConfigError, CameraHeldError, CameraLostError
from drivers.cameras.pylon.emulation import EMULATOR_CLASS

HELD = ("controlled by another application", "0xE1018006", "exclusively opened")
"""What ``Open`` says of a camera that another program has."""


class _Wanted(Protocol):
    """The settings that name a camera."""

    @property
    def serial(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def device_class(self) -> str: ...
    @property
    def emulation(self) -> object | None: ...


def import_pypylon() -> tuple[Any, Any]:
    """The modules ``pylon`` and ``genicam`` of pypylon. Raises :class:`CameraConfigError`."""
    try:
        with warnings.catch_warnings():
            # SWIG's types warn while they are made: a segmentation fault where warnings are errors.
            warnings.simplefilter("ignore", DeprecationWarning)
            from pypylon import genicam, pylon
    except ImportError as error:
        raise CameraConfigError(
            f"Basler cameras need pypylon ({error}); pip install 'inspection-station[pylon]'"
        ) from None
    return pylon, genicam


def find(sdk: Any, settings: _Wanted) -> Any:
    """The device info of the one camera that the settings name.

    A real camera is never replaced by the emulator, nor the other way round. Raises :class:`CameraLostError`
    when it is not there, and :class:`CameraConfigError` when several fit.
    """
    emulated = settings.emulation is not None
    wanted = sdk.DeviceInfo()
    if emulated or settings.device_class:  # 1 ms instead of 250 ms for every transport layer
        wanted.SetDeviceClass(EMULATOR_CLASS if emulated else settings.device_class)
    present = [
        info
        for info in sdk.TlFactory.GetInstance().EnumerateDevices([wanted])
        if (info.GetDeviceClass() == EMULATOR_CLASS) is emulated
    ]
    fitting = [
        info
        for info in present
        if settings.serial in ("", info.GetSerialNumber()) and settings.name in ("", _user_name(info))
    ]
    if not fitting:
        others = ", ".join(label_of(info) for info in present) or "none"
        raise CameraLostError(
            f"{label_wanted(settings)} was not found; check power, cable and network. Cameras found: {others}"
        )
    if len(fitting) > 1 and not emulated:
        found = ", ".join(label_of(info) for info in fitting)
        raise CameraConfigError(f"{len(fitting)} cameras match: {found}; set `serial` to choose one of them")
    return fitting[0]


def not_opened(camera: str, error: str) -> CameraLostError:
    """The error to raise for an error text of ``Open``."""
    kind = CameraHeldError if any(text in error for text in HELD) else CameraLostError
    return kind(f"{camera} {explain_open(error)}")


def explain_open(error: str) -> str:
    """What an error text of ``Open`` means, and what to do; follows the camera's name in a sentence."""
    if any(text in error for text in HELD):
        return (
            "is controlled by another application: close pylon Viewer or the other program; after a crash "
            "the camera lets go by itself when its heartbeat time is over"
        )
    if "subnet" in error.lower():
        return "is on another subnet: give it an address in the network of this port (pylon IP Configurator)"
    return f"could not be opened ({error.splitlines()[0]}); check power, cable and network"


def label_of(info: Any) -> str:
    """The name of a camera that is there, in messages."""
    return f"Basler {info.GetModelName()} {info.GetSerialNumber()}"


def _user_name(info: Any) -> str:
    return str(info.GetUserDefinedName()) if info.IsUserDefinedNameAvailable() else ""


def label_wanted(settings: _Wanted) -> str:
    """The name of the camera that the settings name, in messages."""
    kind = "Basler emulator" if settings.emulation is not None else "Basler camera"
    return " ".join(filter(None, (kind, settings.serial, settings.name and f"named {settings.name!r}")))
