"""The file of a light controller: ``lights:`` with the section of its protocol."""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any

from pydantic import create_model

from drivers.lights import CONTROLLERS
from drivers.lights.settings import LightSettings
from drivers.settings import Section
from station.config import ByKind
from station.strict_yaml import DocumentError, load_document


class LightsError(DocumentError):
    """A light controller's file cannot be used; the message has file, line and key."""


class _LightsFile(Section):
    """A light controller."""

    lights: LightSettings
    """the light controller, by its `kind`"""


def load_lights(path: Path) -> LightSettings:
    """Read a light controller's file. Raises :class:`LightsError`, ``RegistryError``."""
    sections: dict[str, Any] = {kind: entry.settings for kind, entry in CONTROLLERS.entries().items()}
    union: Any = reduce(or_, sections.values())
    model = create_model("LightsFile", __base__=_LightsFile, lights=(Annotated[union, ByKind(sections)], ...))
    return load_document(path, model, LightsError).lights
