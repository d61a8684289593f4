"""One registry per kind of device: what a plant may write as ``kind``, and what is made from it.

A family is one file (or one folder) that holds its settings, its driver, and the line that registers them::

    @FAMILIES.register(WebcamSettings, needs=Package("v4l2", extra="webcam"))
    class Webcam(Camera): ...

The registry finds the file by itself: it imports every module that lies in its folders. A file that cannot be
imported takes nothing else down: it is listed in :attr:`Registry.broken` and named whenever a kind is not
known. The SDK of a family is not imported before its device is opened.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import logging
import pkgutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, Protocol, TypeVar, get_args

from drivers.errors import InspectionError
from drivers.settings import Section

log = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=Section)
DeviceT = TypeVar("DeviceT")
Driver = TypeVar("Driver", bound=Callable[..., Any])


class RegistryError(InspectionError):
    """A kind that is registered twice or not at all; the message names the files."""


class TwiceError(RegistryError):
    """Nobody can say which of the two is meant, so the station does not start."""


class Needs(Protocol):
    """What a family cannot do without."""

    @property
    def missing(self) -> str:
        """What to install; empty when it is there."""

    @property
    def version(self) -> str:
        """Name and version of what is installed."""


@dataclass(frozen=True, slots=True)
class Package:
    """The package that a family cannot do without, and how to get it."""

    module: str
    """What is imported."""
    extra: str
    """The extra of inspection-station that installs it."""
    distribution: str = ""
    """Its name on the package index, where that is another one."""

    @property
    def _name(self) -> str:
        return self.distribution or self.module

    @property
    def missing(self) -> str:
        """What to install; empty when it is there."""
        if importlib.util.find_spec(self.module) is not None:
            return ""
        return f"{self._name} is not installed; pip install 'inspection-station[{self.extra}]'"

    @property
    def version(self) -> str:
        """Name and version of what is installed."""
        try:
            return f"{self._name} {metadata.version(self._name)}"
        except metadata.PackageNotFoundError:  # the module comes from a distribution of another name
            return self.module


@dataclass(frozen=True, slots=True)
class Entry(Generic[SettingsT, DeviceT]):
    """One kind."""

    kind: str
    settings: type[SettingsT]
    driver: Callable[..., DeviceT]
    needs: Needs | None

    @property
    def missing(self) -> str:
        """What to install before the kind can be used; empty when nothing is missing."""
        return self.needs.missing if self.needs is not None else ""

    def __str__(self) -> str:
        """Its name, and the version of what it needs or how to get it."""
        if self.needs is None:
            return self.kind
        return f"{self.kind} ({self.missing or self.needs.version})"

    @property
    def purpose(self) -> str:
        """The first sentence of the settings."""
        return (self.settings.__doc__ or "").strip().splitlines()[0].rstrip(".")


class Registry(Generic[SettingsT, DeviceT]):
    """The kinds of one sort of device, by name; the device is made as ``driver(settings, ...)``."""

    def __init__(self, what: str, *folders: str) -> None:
        """``what``: "camera family", in messages. ``folders``: packages whose modules are looked through."""
        self.what = what
        self.broken: dict[str, str] = {}
        """Modules that could not be imported, and why, with file and line."""
        self._folders = list(folders)
        self._entries: dict[str, Entry[SettingsT, DeviceT]] = {}

    def look_in(self, folder: str) -> None:
        """Look through another package too."""
        if folder not in self._folders:
            self._folders.append(folder)

    def register(
        self, settings: type[SettingsT], *, needs: Needs | None = None
    ) -> Callable[[Driver], Driver]:
        """Decorate a driver: ``settings.kind`` names it. Raises :class:`TwiceError` for a second one."""

        def add(driver: Driver) -> Driver:
            kind = kind_of(settings)
            before = self._entries.get(kind)
            if before is not None and _name(before.driver) != _name(driver):
                raise TwiceError(
                    f"{self.what} {kind!r} is registered twice, by {_name(before.driver)} and by "
                    f"{_name(driver)}; give one of them another `kind`"
                )
            self._entries[kind] = Entry(kind, settings, driver, needs)
            return driver

        return add

    def entries(self) -> dict[str, Entry[SettingsT, DeviceT]]:
        """Every kind there is, by its name in alphabetical order. Raises :class:`TwiceError`."""
        for folder in self._folders:
            package = importlib.import_module(folder)
            for found in pkgutil.iter_modules(package.__path__, f"{folder}."):
                if not found.name.rpartition(".")[2].startswith("_") and found.name not in self.broken:
                    self._import(found.name)
        return dict(sorted(self._entries.items()))

    def entry(self, kind: str) -> Entry[SettingsT, DeviceT]:
        """One kind. Raises :class:`RegistryError` with the nearest one, or with all."""
        found = self.entries().get(kind)
        if found is None:
            raise RegistryError(f"no {self.what} {kind!r}; {self.nearest(kind)}")
        return found

    def nearest(self, kind: str) -> str:
        """What may have been meant by a kind that is not known, and the files that could not be read."""
        known = list(self.entries())
        near = difflib.get_close_matches(kind, known, n=1, cutoff=0.6)
        hint = f"did you mean `{near[0]}`?" if near else f"known are: {', '.join(known)}"
        if self.broken:
            hint += "; not read were: " + "; ".join(self.broken.values())
        return hint

    def make(self, settings: SettingsT, *more: object) -> DeviceT:
        """The device of these settings, not opened; :class:`RegistryError` where a package is missing."""
        entry = self.entry(kind_of(type(settings)))
        if entry.missing:
            raise RegistryError(f"{self.what} {entry.kind!r}: {entry.missing}")
        return entry.driver(settings, *more)

    def _import(self, module: str) -> None:
        if module not in sys.modules:
            importlib.invalidate_caches()  # the file may be younger than the list of its folder
        try:
            importlib.import_module(module)
        except TwiceError:
            raise
        except Exception as error:
            spec = importlib.util.find_spec(module)
            file = spec.origin if spec is not None and spec.origin else module
            places = [(place.filename, place.lineno) for place in traceback.extract_tb(error.__traceback__)]
            places += [(error.filename or "", error.lineno)] if isinstance(error, SyntaxError) else []
            line = next((f"line {number}: " for name, number in reversed(places) if name == file), "")
            self.broken[module] = f"{file} ({line}{type(error).__name__}: {error})"
            log.warning("%s not read: %s; correct or remove the file", self.what, self.broken[module])


def kind_of(settings: type[Section]) -> str:
    """The ``kind`` that a section's settings declare, as ``kind: Literal["..."] = "..."``."""
    field = settings.model_fields.get("kind")
    names = get_args(field.annotation) if field is not None else ()
    if len(names) != 1 or not isinstance(names[0], str):
        raise RegistryError(
            f'{settings.__module__}.{settings.__qualname__}: declare `kind: Literal["NAME"] = "NAME"`'
        )
    return names[0]


def _name(driver: Callable[..., Any]) -> str:
    return f"{driver.__module__}.{driver.__qualname__}"
