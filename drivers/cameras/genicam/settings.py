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

BURST_STARTS = ("FrameBurstStart", "AcquisitionStart")
"""Triggers that start several blocks: of the SFNC, and of older cameras."""

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
    """the camera's serial number in quotes; without it and `name`, the only connected camera is used"""
    name: Word = ""
    """the camera's user-defined name (DeviceUserID), instead of its serial number"""
    user_set: Word = ""
    """a configuration stored in the camera that is loaded first, such as `Default` or `UserSet1`"""
    pixel_format: Literal["Mono8", "BGR8", "RGB8"] = "Mono8"
    """`Mono8` (grey), `BGR8` or `RGB8` (colour)"""
    width: Pixels | None = None
    """the width of the picture, px; without it, the sensor's width is used"""
    height: Pixels | None = None
    """the height of the picture (line-scan: lines per frame), px; without it, the sensor's height is used"""
    blocks: Annotated[int, Field(ge=1, le=256)] = 1
    """the blocks of lines in which a line-scan camera sends one frame: the camera takes `height` / `blocks`
    lines per block, and a trigger starts all blocks of a frame"""
    offset_x: Offset = 0
    """the first column of the picture on the sensor, px"""
    offset_y: Offset = 0
    """the first row of the picture on the sensor, px"""
    exposure_us: Annotated[float, Field(gt=0.0)] | None = None
    """the exposure time of one line or frame, microseconds; without it, the camera's own value stays"""
    gain_db: float | None = None
    """the gain, dB; without it, the camera's own value stays"""
    line_rate_hz: Hertz | None = None
    """lines per second of a line-scan camera; without it, the camera's own value stays"""
    frame_rate_hz: Hertz | None = None
    """the most frames per second of a camera that runs by itself; without it, the camera's own value stays"""
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
    """the time from the edge to the exposure, microseconds; without it, the camera's own value stays"""
    debounce_us: Microseconds | None = None
    """the shortest pulse that counts as a hardware trigger, microseconds; without it, the camera's own
    value stays"""
    line_trigger: Word = ""
    """the signal that starts each line of a line-scan camera, such as `ShaftEncoderModuleOut`; empty means
    `line_rate_hz`"""
    line_trigger_activation: Edge = "RisingEdge"
    """the edge of `line_trigger`: `RisingEdge`, `FallingEdge` or `AnyEdge`"""
    packet_size: Annotated[int, Field(gt=0)] | None = None
    """the packet size of a GigE camera, bytes (8192 with jumbo frames); without it, the camera's own value
    stays"""
    inter_packet_delay: Annotated[int, Field(ge=0)] | None = None
    """the pause between packets of a GigE camera, ticks of its clock; without it, the camera's own value
    stays"""
    heartbeat_ms: Annotated[int, Field(gt=0)] | None = None
    """the time that a GigE camera stays reserved after this program crashed, ms; without it, the camera's own
    value stays"""
    limit_throughput: bool = False
    """whether the camera's own throughput limit (DeviceLinkThroughputLimit) stays on"""
    buffer_count: Annotated[int, Field(ge=2, le=256)] = 8
    """frames that can wait in the driver before exposures are lost; each takes width x height bytes"""
    nodes: Annotated[tuple[dict[str, JsonValue], ...], Field(max_length=100)] = ()
    """other features: a list of `Name: value`, named as in the camera's documents; set last, in order"""

    @model_validator(mode="after")
    def _nodes_are_features(self) -> Self:
        for name, value in (item for features in self.nodes for item in features.items()):
            if not FEATURE_NAME.fullmatch(name):
                remedy = "write the name as in the camera's documents: letters, digits and _, without spaces"
                raise mistake("nodes", f"'{name}' is not the name of a feature", remedy)
            if not isinstance(value, str | bool | int | float):
                remedy = "write one word, number, true or false"
                raise mistake("nodes", f"{name} does not have one value", remedy)
        return self

    @property
    def exposed_by_wire(self) -> bool:
        """With a hardware trigger."""
        return self.trigger is TriggerKind.HARDWARE

    @model_validator(mode="after")
    def _blocks_make_a_frame(self) -> Self:
        if self.blocks == 1:
            return self
        if self.height is None or self.height % self.blocks:
            raise mistake(
                "blocks", "do not divide `height` evenly", "write `height` as a multiple of `blocks`"
            )
        if self.trigger is not TriggerKind.OFF and self.trigger_selector not in BURST_STARTS:
            problem = f"needs a trigger of all blocks, not of each one ({self.trigger_selector})"
            raise mistake("blocks", problem, f"write `trigger_selector`: {' or '.join(BURST_STARTS)}")
        if self.mode is Mode.FREE_RUNNING and self.trigger is TriggerKind.HARDWARE:
            problem = "can be counted wrong from a lost first block on, where nothing empties the camera"
            raise mistake("blocks", problem, "write `mode: cell`, or one block")
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
