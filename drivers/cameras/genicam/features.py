"""Writes settings into a camera's features, and says which setting a camera did not take, and why.

Every setting is read back: a camera that takes another value than was asked for is refused like one that
takes none. Numbers with a fraction may be rounded by the camera, by :data:`ROUNDED` at the most.

The names of features differ by generation: SFNC 2.x first, then what older GigE cameras (racer, ace
classic) call the same thing.
"""

from __future__ import annotations

from contextlib import suppress

from drivers.cameras.genicam.nodes import FeatureRefusedError, NodeMap
from drivers.cameras.genicam.settings import PIXEL_FORMATS, GenicamSettings, TriggerKind
from drivers.cameras.interface import CameraConfigError

ROUNDED = 0.01
"""The part of an exposure, a time or a rate by which the camera may round it."""
GAIN_ROUNDED_DB = 0.1
LINE_RATE_ROUNDED = 0.001
"""The same of a line rate: 3.6 of 3584 lines; more stretches the picture."""
_UNSELECTED = (
    "PixelFormat", "Width", "Height", "OffsetX", "OffsetY", "ExposureTime", "ExposureTimeAbs", "Gain",
    "AcquisitionLineRate", "AcquisitionLineRateAbs", "AcquisitionFrameRate", "AcquisitionFrameRateAbs",
    "GevSCPSPacketSize",
)  # fmt: skip
"""Features that have one value, whatever selector was written since."""


class Nodes:
    """The features of one camera, by any of their names, with errors that name the setting."""

    def __init__(self, node_map: NodeMap, camera: str) -> None:
        self._map = node_map
        self._camera = camera
        self._asked: dict[str, tuple[str, object, float]] = {}
        """Feature -> setting, value and what rounding is allowed, as asked for last."""

    def find(self, *names: str) -> str | None:
        """The first of these features that the camera has and that is available now."""
        return next((name for name in names if self._map.has(name)), None)

    def read(self, *names: str) -> str | None:
        """The value of the first feature found, as text; None when the camera has none of them."""
        name = self.find(*names)
        return None if name is None else self._map.read(name)

    def set(self, setting: str, value: object, *names: str, rounded: float | None = None) -> None:
        """Set what the user asked for, and read it back; ``rounded``: by how much it may differ.

        The :class:`CameraConfigError` names setting, camera, feature, and what the camera takes.
        """
        name = self.find(*names)
        if name is None:
            raise CameraConfigError(
                f"{self._camera} does not have {setting} ({' or '.join(names)}); remove the setting, or "
                "check that this is the right camera"
            )
        if not self._map.is_writable(name):
            raise CameraConfigError(f"{self._camera} does not allow {setting} ({name}) to be changed now")
        try:
            self._map.write(name, _text(value))
        except FeatureRefusedError as error:
            raise CameraConfigError(
                f"{self._camera} does not accept {setting} = {_text(value)}; {self._accepted(name) or error}"
            ) from None
        if rounded is None:
            rounded = ROUNDED * abs(value) if isinstance(value, float) else 0.0
        self._asked[name] = setting, value, rounded
        self._confirm(name)

    def confirm(self) -> None:
        """Read back what was set before: a setting that came later may have changed it."""
        for name in _UNSELECTED:
            if name in self._asked:
                self._confirm(name)

    def _confirm(self, name: str) -> None:
        setting, value, rounded = self._asked[name]
        taken = self._map.read(name)
        if taken is None or _is_same(value, taken, rounded):  # None: nobody can read what it took
            return
        accepted = self._accepted(name)
        raise CameraConfigError(
            f"{self._camera} took {setting} = {taken} instead of {_text(value)} ({name}"
            f"{'; ' + accepted if accepted else ''}); write the value that it took, or correct the setting "
            "that changes it"
        )

    def set_if_there(self, value: object, *names: str) -> None:
        """Set a default of this driver; where the camera does not have the feature, do nothing."""
        name = self.find(*names)
        if name is not None and self._map.is_writable(name):
            with suppress(FeatureRefusedError):
                self._map.write(name, _text(value))

    def largest(self, name: str) -> int | None:
        """The largest value a number takes now."""
        limits = self._map.limits(name) if self._map.has(name) else None
        return None if limits is None else int(limits.highest)

    def choices(self, name: str) -> tuple[str, ...]:
        """The values an enumeration takes now."""
        return self._map.choices(name) if self._map.has(name) else ()

    def execute(self, setting: str, name: str) -> None:
        """Run a command feature; raises :class:`CameraConfigError` where there is none."""
        if not self._map.has(name):
            raise CameraConfigError(f"{self._camera} does not have {setting} ({name}); remove the setting")
        self._map.execute(name)

    def execute_if_there(self, name: str) -> None:
        """Run a command feature where the camera has it."""
        if self._map.has(name) and self._map.is_writable(name):
            self._map.execute(name)

    def integer_now(self, name: str) -> int | None:
        """The value of an integer feature, asked of the camera and not of the node map's memory."""
        return self._map.read_now(name) if self._map.has(name) else None

    def _accepted(self, name: str) -> str:
        """The values that the camera accepts, as text; empty where it does not say."""
        limits = self._map.limits(name)
        if limits is not None:
            step = "" if limits.step is None else f" in steps of {limits.step:.10g}"
            return f"it takes {limits.lowest:.10g} to {limits.highest:.10g}{step}"
        choices = self._map.choices(name)
        return f"it takes {', '.join(choices)}" if choices else ""


def apply(settings: GenicamSettings, nodes: Nodes) -> None:
    """Bring an open camera into the state that ``settings`` describe, in the order cameras need."""
    if settings.user_set:
        nodes.set("user_set", settings.user_set, "UserSetSelector")
        nodes.execute("user_set", "UserSetLoad")
    nodes.set_if_there("Continuous", "AcquisitionMode")
    _apply_format(settings, nodes)
    _apply_area(settings, nodes)
    if settings.exposure_us is not None:
        nodes.set_if_there("Off", "ExposureAuto")
        nodes.set_if_there("Timed", "ExposureMode")
        nodes.set("exposure_us", settings.exposure_us, "ExposureTime", "ExposureTimeAbs")
    if settings.gain_db is not None:
        nodes.set_if_there("Off", "GainAuto")
        nodes.set("gain_db", settings.gain_db, "Gain", rounded=GAIN_ROUNDED_DB)
    if settings.line_rate_hz is not None:
        nodes.set_if_there("1", "AcquisitionLineRateEnable")
        line_rate, rounded = settings.line_rate_hz, LINE_RATE_ROUNDED * settings.line_rate_hz
        names = ("AcquisitionLineRate", "AcquisitionLineRateAbs")
        nodes.set("line_rate_hz", line_rate, *names, rounded=rounded)
    if settings.frame_rate_hz is not None:
        nodes.set_if_there("1", "AcquisitionFrameRateEnable")
        rate = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
        nodes.set("frame_rate_hz", settings.frame_rate_hz, *rate)
    _apply_trigger(settings, nodes)
    if settings.packet_size is not None:
        nodes.set("packet_size", settings.packet_size, "GevSCPSPacketSize")
    if settings.inter_packet_delay is not None:
        nodes.set("inter_packet_delay", settings.inter_packet_delay, "GevSCPD")
    if settings.heartbeat_ms is not None:
        nodes.set("heartbeat_ms", settings.heartbeat_ms, "GevHeartbeatTimeout")
    if not settings.limit_throughput:
        nodes.set_if_there("Off", "DeviceLinkThroughputLimitMode")
    for features in settings.nodes:
        for name, value in features.items():
            nodes.set(f"node {name}", value, name)
    nodes.confirm()


def _apply_format(settings: GenicamSettings, nodes: Nodes) -> None:
    offered = nodes.choices("PixelFormat")
    names = PIXEL_FORMATS[settings.pixel_format]
    spelled = next((name for name in names if name in offered), settings.pixel_format)
    nodes.set("pixel_format", spelled, "PixelFormat")


def _apply_area(settings: GenicamSettings, nodes: Nodes) -> None:
    """Offsets to 0 first, so that any width fits; then sizes, then offsets."""
    nodes.set_if_there("0", "CenterX")  # while centring is on, the offset cannot be written
    nodes.set_if_there("0", "CenterY")
    nodes.set_if_there(0, "OffsetX")
    nodes.set_if_there(0, "OffsetY")
    for axis, size, offset in (
        ("Width", settings.width, settings.offset_x),
        ("Height", settings.height and settings.height // settings.blocks, settings.offset_y),
    ):
        limit = nodes.largest(axis)
        if size is None:
            size = None if limit is None else limit - offset
        elif limit is not None and size + offset > limit:
            # The emulator's WidthMax is 4096 until somebody writes it; a real camera's cannot be written.
            nodes.set_if_there(size + offset, f"{axis}Max")
        if size is not None:
            nodes.set(axis.lower(), size, axis)
    if settings.offset_x:
        nodes.set("offset_x", settings.offset_x, "OffsetX")
    if settings.offset_y:
        nodes.set("offset_y", settings.offset_y, "OffsetY")


def _apply_trigger(settings: GenicamSettings, nodes: Nodes) -> None:
    """Switch every trigger off, then the configured ones on: the settings of the last user do not matter."""
    for selector in nodes.choices("TriggerSelector"):
        nodes.set("trigger_selector", selector, "TriggerSelector")
        nodes.set_if_there("Off", "TriggerMode")
    if settings.line_trigger:
        nodes.set("line_trigger", "LineStart", "TriggerSelector")
        nodes.set("line_trigger", settings.line_trigger, "TriggerSource")
        nodes.set("line_trigger_activation", settings.line_trigger_activation, "TriggerActivation")
        nodes.set("line_trigger", "On", "TriggerMode")
    if settings.trigger is TriggerKind.OFF:
        return
    nodes.set("trigger_selector", settings.trigger_selector, "TriggerSelector")
    if settings.blocks > 1:
        nodes.set("blocks", settings.blocks, "AcquisitionBurstFrameCount", "AcquisitionFrameCount")
    if settings.trigger is TriggerKind.SOFTWARE:
        nodes.set("trigger", "Software", "TriggerSource")
    else:
        if settings.trigger_line.startswith("Line"):
            nodes.set("trigger_line", settings.trigger_line, "LineSelector")
            nodes.set_if_there("Input", "LineMode")
            if settings.debounce_us is not None:
                nodes.set("debounce_us", settings.debounce_us, "LineDebouncerTime", "LineDebouncerTimeAbs")
        nodes.set("trigger_line", settings.trigger_line, "TriggerSource")
        nodes.set("trigger_activation", settings.trigger_activation, "TriggerActivation")
        if settings.trigger_delay_us is not None:
            nodes.set("trigger_delay_us", settings.trigger_delay_us, "TriggerDelay", "TriggerDelayAbs")
    nodes.set("trigger", "On", "TriggerMode")


def describe(settings: GenicamSettings, nodes: Nodes) -> dict[str, str]:
    """What the camera made of the settings, by their names; cameras round."""
    asked = {
        "pixel_format": ("PixelFormat",),
        "exposure_us": ("ExposureTime", "ExposureTimeAbs"),
        "gain_db": ("Gain",),
        "line_rate_hz": ("AcquisitionLineRate", "AcquisitionLineRateAbs"),
        "packet_size": ("GevSCPSPacketSize",),
    }
    read = {setting: nodes.read(*names) for setting, names in asked.items()}
    size = f"{nodes.read('Width')} x {nodes.read('Height')} px at {settings.offset_x}, {settings.offset_y}"
    return {
        "area": size,
        "trigger": settings.trigger.value,
        **{setting: value for setting, value in read.items() if value is not None},
    }


def temperature_c(nodes: Nodes) -> float | None:
    """The camera's own temperature, degrees Celsius; None for a camera that does not measure it."""
    value = nodes.read("DeviceTemperature", "TemperatureAbs")
    return None if value is None else float(value)


def _is_same(asked: object, taken: str, rounded: float) -> bool:
    """Whether the value read is the one written; libraries spell the same value differently."""
    wanted, taken = _text(asked).lower(), taken.lower()
    words = {"true": "1", "false": "0"}
    if words.get(taken, taken) == words.get(wanted, wanted):
        return True
    first, second = _number(wanted), _number(taken)
    return first is not None and second is not None and abs(first - second) <= rounded


def _number(text: str) -> float | None:
    """The number that the text spells, in tens or, as some cameras write integers, in sixteens."""
    with suppress(ValueError):
        return float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    return None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
