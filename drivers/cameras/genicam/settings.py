"""The settings of every GenICam camera, whatever library drives it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from drivers.cameras.settings import CameraSettings, Mode
from drivers.settings import Text, Word, mistake


class TriggerKind(StrEnum):
    """What starts an exposure."""

    SOFTWARE = "software"
    """``Camera.trigger``."""
    HARDWARE = "hardware"
    """An edge on an input line: a light barrier, the PLC, the index pulse of the jig's encoder."""
    OFF = "off"
    """The camera's own clock."""


PIXEL_FORMATS: dict[str, tuple[str, ...]] = {
    "Mono8": ("Mono8",),
    "BGR8": ("BGR8", "BGR8Packed"),
    "RGB8": ("RGB8", "RGB8Packed"),
}
"""Pixel formats that become a uint8 frame without loss -> what cameras call them."""

# Upper limits are the camera's: it refuses what is too much, and says its range.
Pixels = Annotated[int, Field(gt=0)]
Offset = Annotated[int, Field(ge=0)]
Microseconds = Annotated[float, Field(ge=0.0)]
Hertz = Annotated[float, Field(gt=0.0)]
Edge = Literal["RisingEdge", "FallingEdge", "AnyEdge"]
FEATURE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")


class GenicamSettings(CameraSettings):
    """A GenICam camera (GigE Vision, USB3 Vision)."""

    serial: Annotated[str, StringConstraints(max_length=32)] = ""
    """the camera's serial number in quotes; without it and `name` the only camera connected is taken"""
    name: Word = ""
    """the camera's user-defined name (DeviceUserID), instead of its serial number"""
    user_set: Word = ""
    """a configuration stored in the camera that is loaded first, such as `Default` or `UserSet1`"""
    pixel_format: Literal["Mono8", "BGR8", "RGB8"] = "Mono8"
    """`Mono8` (grey), `BGR8` or `RGB8` (colour)"""
    width: Pixels | None = None
    """the width of the picture, px; left out takes the sensor's"""
    height: Pixels | None = None
    """the height of the picture (line-scan: the lines of a frame), px; left out takes the sensor's"""
    offset_x: Offset = 0
    """the first column of the picture on the sensor, px"""
    offset_y: Offset = 0
    """the first row of the picture on the sensor, px"""
    exposure_us: Annotated[float, Field(gt=0.0)] | None = None
    """the exposure time of a line or frame, microseconds; left out keeps the camera's"""
    gain_db: float | None = None
    """the gain, dB; left out keeps the camera's"""
    line_rate_hz: Hertz | None = None
    """lines per second of a line-scan camera; left out keeps the camera's"""
    frame_rate_hz: Hertz | None = None
    """the most frames per second of a camera that runs by itself; left out keeps the camera's"""
    trigger: TriggerKind = TriggerKind.SOFTWARE
    """`software`, `hardware` (by wire, at `trigger_line`; in cell mode the cell pulses it after TRIGGER-ACK,
    docs/cameras.md) or `off` (the camera runs by itself)"""
    trigger_selector: Text = "FrameStart"
    """what the trigger starts; every other trigger of the camera is switched off"""
    trigger_line: Text = "Line1"
    """the input of a hardware trigger"""
    trigger_activation: Edge = "RisingEdge"
    """the edge of a hardware trigger: `RisingEdge`, `FallingEdge` or `AnyEdge`"""
    trigger_delay_us: Microseconds | None = None
    """the time from the edge to the exposure, microseconds; left out keeps the camera's"""
    debounce_us: Microseconds | None = None
    """the shortest pulse that counts as a hardware trigger, microseconds; left out keeps the camera's"""
    line_trigger: Word = ""
    """what starts each line of a line-scan camera, such as `ShaftEncoderModuleOut`; empty is the line rate"""
    line_trigger_activation: Edge = "RisingEdge"
    """the edge of `line_trigger`: `RisingEdge`, `FallingEdge` or `AnyEdge`"""
    packet_size: Annotated[int, Field(gt=0)] | None = None
    """the packet size of a GigE camera, bytes (8192 with jumbo frames); left out keeps the camera's"""
    inter_packet_delay: Annotated[int, Field(ge=0)] | None = None
    """the pause between packets of a GigE camera, ticks of its clock; left out keeps the camera's"""
    heartbeat_ms: Annotated[int, Field(gt=0)] | None = None
    """how long a GigE camera stays reserved after this program crashed, ms; left out keeps the camera's"""
    limit_throughput: bool = False
    """whether the camera's own limit of its throughput (DeviceLinkThroughputLimit) stays on"""
    buffer_count: Annotated[int, Field(ge=2, le=256)] = 8
    """frames that wait in the driver before exposures are lost; each takes width x height bytes"""
    nodes: Annotated[tuple[dict[str, JsonValue], ...], Field(max_length=100)] = ()
    """other features: a list of `Name: value`, as the camera's documents name them; set last, in order"""

    @model_validator(mode="after")
    def _nodes_are_features(self) -> Self:
        for name, value in (item for features in self.nodes for item in features.items()):
            if not FEATURE_NAME.fullmatch(name):
                remedy = "write it as the camera's documents do: letters, digits and _, without spaces"
                raise mistake("nodes", f"'{name}' is no name of a feature", remedy)
            if not isinstance(value, str | bool | int | float):
                remedy = "write one word, number, true or false"
                raise mistake("nodes", f"{name} has no single value", remedy)
        return self

    @model_validator(mode="after")
    def _trigger_fits_mode(self) -> Self:
        if self.mode is Mode.CELL and self.trigger is TriggerKind.OFF:
            raise mistake(
                "trigger",
                "is off, but in cell mode each frame must answer a trigger",
                "write `software` or `hardware`, or `mode: free-running`",
            )
        if self.mode is Mode.FREE_RUNNING and self.trigger is TriggerKind.SOFTWARE:
            raise mistake(
                "trigger",
                "is `software`, but a free-running station does not trigger",
                "write `off` or `hardware`",
            )
        return self
