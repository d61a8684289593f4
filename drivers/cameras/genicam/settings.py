"""What a Basler camera can be told; nothing of the SDK is needed to write it down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from drivers.cameras.interface import CameraConfigError


class TriggerKind(StrEnum):
    """What starts an exposure."""

    SOFTWARE = "software"
    """``Camera.trigger``."""
    HARDWARE = "hardware"
    """An edge on an input line: a light barrier, the PLC, the index pulse of the jig's encoder."""
    FREE_RUNNING = "free-running"
    """The camera's own clock."""


PIXEL_FORMATS: dict[str, tuple[str, ...]] = {
    "Mono8": ("Mono8",),
    "BGR8": ("BGR8", "BGR8Packed"),
    "RGB8": ("RGB8", "RGB8Packed"),
}
"""Pixel formats that become a uint8 frame without loss -> what cameras call them."""


@dataclass(frozen=True, slots=True)
class PylonSettings:
    """One Basler camera. What is None is left as the camera has it and never an error."""

    serial: str = ""
    """Serial number; with neither this nor ``name`` the only camera connected is taken."""
    name: str = ""
    """User-defined name (DeviceUserID), as set in pylon Viewer."""
    device_class: str = ""
    """``BaslerGigE`` or ``BaslerUsb``: look on this transport only, which is faster."""
    emulation_folder: Path | None = None
    """A folder of pictures: Basler's camera emulator plays them instead of a camera."""

    user_set: str = ""
    """Configuration stored in the camera that is loaded first, such as ``Default`` or ``UserSet1``."""
    pixel_format: str = "Mono8"
    width: int | None = None
    """px; None takes the whole width of the sensor (emulator: of the first picture)."""
    height: int | None = None
    """px, on a line-scan camera the lines of a frame; None as for ``width``."""
    offset_x: int = 0
    offset_y: int = 0
    exposure_us: float | None = None
    gain_db: float | None = None
    line_rate_hz: float | None = None
    """Line-scan cameras only."""
    frame_rate_hz: float | None = None
    """Upper limit of a free-running camera."""

    trigger: TriggerKind = TriggerKind.SOFTWARE
    trigger_selector: str = "FrameStart"
    """What the trigger starts; every other trigger of the camera is switched off."""
    trigger_source: str = "Line1"
    """Input of the hardware trigger."""
    trigger_activation: str = "RisingEdge"
    trigger_delay_us: float | None = None
    debounce_us: float | None = None
    """Shortest pulse that counts as a hardware trigger."""
    line_trigger_source: str = ""
    """Line-scan: what starts each line (``ShaftEncoderModuleOut``, ``Line2`` …); empty: the line rate."""
    line_trigger_activation: str = "RisingEdge"

    packet_size: int | None = None
    """GigE: bytes of a packet; 8192 or more needs jumbo frames on the whole way."""
    inter_packet_delay: int | None = None
    """GigE: ticks of the camera's clock between packets."""
    heartbeat_ms: int | None = None
    """GigE: how long the camera stays reserved after this program crashed."""
    limit_throughput: bool = False
    """Leave the camera's own DeviceLinkThroughputLimit on."""
    buffer_count: int = 5
    """Frames that wait in the driver before exposures are lost; each takes width x height bytes."""
    nodes: tuple[tuple[str, str], ...] = ()
    """Any other feature of the camera, name and value as pylon Viewer shows them, set last in this order."""

    def __post_init__(self) -> None:
        if self.pixel_format not in PIXEL_FORMATS:
            raise CameraConfigError(
                f"pixel_format {self.pixel_format!r}: frames are 8 bits a pixel; use one of "
                f"{', '.join(PIXEL_FORMATS)}"
            )
        if not isinstance(self.trigger, TriggerKind):
            raise CameraConfigError(
                f"trigger {self.trigger!r}: must be one of {', '.join(kind.value for kind in TriggerKind)}"
            )
        if self.buffer_count < 2:
            raise CameraConfigError(f"buffer_count {self.buffer_count}: at least 2, or frames are lost")
        for field in ("width", "height", "exposure_us", "line_rate_hz", "frame_rate_hz", "packet_size"):
            value = getattr(self, field)
            if value is not None and value <= 0:
                raise CameraConfigError(f"{field} {value:g}: must be more than 0")
        for field in ("offset_x", "offset_y"):
            if getattr(self, field) < 0:
                raise CameraConfigError(f"{field} {getattr(self, field)}: must be 0 or more")
