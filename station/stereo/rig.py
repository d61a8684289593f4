"""What a stereo rig is: lamps, solver and the fixed scales of the picture that comes out; a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from calibration.lamps import direction
from drivers.settings import Section, mistake
from station.stereo.solving import IN_ONE_LINE, IN_ONE_PLANE, FloatArray, determined
from station.strict_yaml import DocumentError, load_document

Positive = Annotated[float, Field(gt=0.0, le=1e6)]


class RigError(DocumentError):
    """A rig's file cannot be used; the message has file, line and key."""


class Lamp(Section):
    """Where one lamp stands, as `station stereo calibrate` measures it."""

    slant_deg: Annotated[float, Field(ge=0.0, lt=90.0)]
    """the angle from the camera's axis, degrees"""
    azimuth_deg: Annotated[float, Field(ge=-360.0, le=360.0)]
    """0 along the columns, 90 down the rows, degrees"""


class Rig(Section):
    """A photometric stereo rig: lamps in the order of the pictures, solver, scales."""

    solver: Literal["lambert", "lobe"]
    """`lambert` for matt products, `lobe` for machined ones under lamps near the mirror direction"""
    lamps: Annotated[tuple[Lamp, ...], Field(min_length=3, max_length=16)]
    """the lamps, in the order of the pictures"""
    lobe_rad: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """the width of the specular lobe, rad; with `lobe` only"""
    diffuse: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    """diffuse over specular reflectance; with `lobe` only, 0 without it"""
    dark_level: Annotated[float, Field(ge=0.0, lt=255.0)] = 0.0
    """the grey level of no light"""
    curvature_white: Positive
    """the curvature that becomes 255, 1/px"""
    slope_white: Positive
    """the slope that becomes 255"""
    texture_white: Positive
    """the reflectance that becomes 255, grey levels"""

    @model_validator(mode="after")
    def _keys_belong_to_the_solver(self) -> Self:
        if self.solver == "lobe" and self.lobe_rad is None:
            raise mistake("lobe_rad", "is missing", "give the width of the specular lobe, rad")
        for key in ("lobe_rad", "diffuse"):
            if self.solver == "lambert" and getattr(self, key) is not None:
                raise mistake(key, "is not used by `lambert`", "remove the key, or write `solver: lobe`")
        if not determined(self.directions, self.lobe_rad):
            problem, _, remedy = (IN_ONE_PLANE if self.lobe_rad is None else IN_ONE_LINE).partition("; ")
            raise mistake("lamps", f"cannot be solved: {problem}", remedy)
        return self

    @property
    def directions(self) -> FloatArray:
        """(n, 3) unit vectors to the lamps."""
        return np.array([direction(one.slant_deg, one.azimuth_deg) for one in self.lamps], np.float32)


class LitLamp(Lamp):
    """A lamp, and what lights it."""

    output: Annotated[int, Field(ge=1, le=16)]
    """the output of the light controller (`lights` in the configuration) at which the lamp is"""
    percent: Annotated[float, Field(gt=0.0, le=1000.0)] = 100.0
    """the brightness, percent of the lamp's rating"""


class Stereo(Rig):
    """A part is lit by one lamp after another; its frames become curvature, range and texture."""

    lamps: Annotated[tuple[LitLamp, ...], Field(min_length=3, max_length=16)]
    """the lamps, in the order of the exposures"""
    settle_ms: Annotated[float, Field(ge=0.0, le=1000.0)] = 2.0
    """the time from the controller's answer that the lamp is lit to the exposure, ms"""

    @model_validator(mode="after")
    def _each_lamp_has_its_output(self) -> Self:
        outputs = [lamp.output for lamp in self.lamps]
        for number, output in enumerate(outputs):
            if output in outputs[:number]:
                problem = f"has lamps {outputs.index(output) + 1} and {number + 1} both at output {output}"
                raise mistake("lamps", problem, "give each lamp its own output")
        return self


def load_rig(path: Path) -> Rig:
    """Read a rig's file. Raises :class:`RigError`."""
    return load_document(path, Rig, RigError)
