"""What every GenICam camera shares, against a dictionary: no SDK, and features that no emulator has."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from drivers.cameras.genicam.camera import GenicamCamera
from drivers.cameras.genicam.clock import CameraClock
from drivers.cameras.genicam.features import Nodes, apply, describe, temperature_c
from drivers.cameras.genicam.nodes import FeatureRefusedError, Limits
from drivers.cameras.genicam.settings import GenicamSettings, TriggerKind
from drivers.cameras.interface import CameraConfigError
from drivers.cameras.settings import Mode

RANGES = {
    "Width": Limits(16, 4096, 16),
    "Height": Limits(1, 65535, 1),
    "OffsetX": Limits(0, 4080, 16),
    "OffsetY": Limits(0, 65534, 1),
    "AcquisitionLineRateAbs": Limits(10, 51000),
    "GevSCPSPacketSize": Limits(220, 16404, 4),
}
CHOICES = {
    "PixelFormat": ("Mono8", "BGR8Packed"),
    "TriggerSelector": ("FrameStart", "LineStart", "FrameBurstStart"),
    "TriggerSource": ("Software", "Line1", "Line2", "ShaftEncoderModuleOut"),
    "LineSelector": ("Line1", "Line2"),
}


@dataclass
class LineScanCamera:
    """The features of an older GigE line-scan camera, as a family would wrap them."""

    values: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(
            (
                *RANGES,
                *CHOICES,
                "AcquisitionMode",
                "ExposureTimeAbs",
                "GevHeartbeatTimeout",
                "GevSCPD",
                "LineDebouncerTimeAbs",
                "LineMode",
                "TemperatureAbs",
                "TriggerActivation",
                "TriggerDelayAbs",
                "TriggerMode",
                "UserSetSelector",
            ),
            "0",
        )
    )
    written: list[tuple[str, str]] = field(default_factory=list)
    commands: tuple[str, ...] = ("UserSetLoad", "GevTimestampControlLatch")
    executed: list[str] = field(default_factory=list)
    read_only: tuple[str, ...] = ("TemperatureAbs",)

    def has(self, name: str) -> bool:
        return name in self.values or name in self.commands or name == "GevTimestampValue"

    def is_writable(self, name: str) -> bool:
        return name not in self.read_only

    def read(self, name: str) -> str | None:
        return self.values[name]

    def read_now(self, name: str) -> int:
        return 5000

    def write(self, name: str, value: str) -> None:
        limits = RANGES.get(name)
        if limits is not None and not limits.lowest <= float(value) <= limits.highest:
            raise FeatureRefusedError("out of range")
        if value not in CHOICES.get(name, (value,)):
            raise FeatureRefusedError("not among the choices")
        self.values[name] = value
        self.written.append((name, value))

    def execute(self, name: str) -> None:
        self.executed.append(name)

    def limits(self, name: str) -> Limits | None:
        return RANGES.get(name)

    def choices(self, name: str) -> tuple[str, ...]:
        return CHOICES.get(name, ())


def told(camera: LineScanCamera, **settings: object) -> Nodes:
    nodes = Nodes(camera, "raL2048 40012345")
    apply(GenicamSettings(**settings), nodes)  # type: ignore[arg-type]
    return nodes


def test_a_wire_a_delay_and_debouncing_reach_the_input_of_an_older_camera() -> None:
    camera = LineScanCamera()
    told(
        camera,
        trigger=TriggerKind.HARDWARE,
        trigger_line="Line2",
        trigger_activation="FallingEdge",
        trigger_delay_us=30.0,
        debounce_us=10.0,
        heartbeat_ms=3000,
    )
    for pair in (
        ("LineSelector", "Line2"),
        ("LineMode", "Input"),
        ("LineDebouncerTimeAbs", "10"),
        ("TriggerSource", "Line2"),
        ("TriggerActivation", "FallingEdge"),
        ("TriggerDelayAbs", "30"),
        ("GevHeartbeatTimeout", "3000"),
    ):
        assert pair in camera.written
    assert camera.written.index(("LineSelector", "Line2")) < camera.written.index(
        ("LineDebouncerTimeAbs", "10")
    )


def test_an_encoder_starts_the_lines_and_the_software_the_frame() -> None:
    camera = LineScanCamera()
    told(camera, line_trigger="ShaftEncoderModuleOut", line_trigger_activation="AnyEdge", height=3648)
    triggers = [pair for pair in camera.written if pair[0].startswith("Trigger")]
    assert triggers[6:] == [
        ("TriggerSelector", "LineStart"),
        ("TriggerSource", "ShaftEncoderModuleOut"),
        ("TriggerActivation", "AnyEdge"),
        ("TriggerMode", "On"),
        ("TriggerSelector", "FrameStart"),
        ("TriggerSource", "Software"),
        ("TriggerMode", "On"),
    ]
    assert triggers[:6] == [
        ("TriggerSelector", "FrameStart"),
        ("TriggerMode", "Off"),
        ("TriggerSelector", "LineStart"),
        ("TriggerMode", "Off"),
        ("TriggerSelector", "FrameBurstStart"),
        ("TriggerMode", "Off"),
    ]


def test_other_features_are_set_last_and_in_the_order_of_the_file() -> None:
    camera = LineScanCamera()
    camera.values |= {"LineInverter": "0", "Gamma": "1"}
    told(camera, nodes=({"LineSelector": "Line2", "LineInverter": True}, {"Gamma": 0.9}))
    assert camera.written[-3:] == [("LineSelector", "Line2"), ("LineInverter", "1"), ("Gamma", "0.9")]


def test_the_user_set_is_loaded_before_anything_is_set() -> None:
    camera = LineScanCamera()
    told(camera, user_set="UserSet1")
    assert camera.written[0] == ("UserSetSelector", "UserSet1")
    assert camera.executed == ["UserSetLoad"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"line_rate_hz": 90000.0}, "line_rate_hz = 90000; it takes 10 to 51000"),
        ({"packet_size": 20000}, "packet_size = 20000; it takes 220 to 16404 in steps of 4"),
        ({"pixel_format": "RGB8"}, "pixel_format = RGB8; it takes Mono8, BGR8Packed"),
        ({"gain_db": 3.0}, r"raL2048 40012345 does not have gain_db \(Gain\); remove the setting"),
        ({"nodes": ({"TemperatureAbs": 20},)}, "does not allow node TemperatureAbs .* to be changed now"),
    ],
)
def test_what_a_camera_does_not_take_is_named_by_the_key_of_the_file(settings: dict, says: str) -> None:
    with pytest.raises(CameraConfigError, match=says):
        told(LineScanCamera(), **settings)


@dataclass
class RoundingCamera(LineScanCamera):
    """A camera that takes what it is told, and does something else."""

    takes: dict[str, str] = field(default_factory=dict)
    """Feature -> the value that it takes instead of any other."""
    after: tuple[str, dict[str, str]] = ("", {})
    """Once this feature is written, others change."""

    def write(self, name: str, value: str) -> None:
        super().write(name, value)
        self.values[name] = self.takes.get(name, value)
        if name == self.after[0]:
            self.values |= self.after[1]


FREE = {"mode": Mode.FREE_RUNNING, "trigger": TriggerKind.OFF}


@pytest.mark.parametrize(
    ("settings", "takes", "says"),
    [
        (
            {"exposure_us": 100.0},
            "ExposureTimeAbs 80",
            r"took exposure_us = 80 instead of 100 \(ExposureTimeAbs",
        ),
        ({"gain_db": 6.0}, "Gain 5.5", r"took gain_db = 5.5 instead of 6 \(Gain"),
        ({"width": 512}, "Width 496", r"instead of 512 \(Width; it takes 16 to 4096 in steps of 16\)"),
        ({"height": 900}, "Height 899", r"took height = 899 instead of 900 \(Height; it takes 1 to 65535"),
        (
            {"width": 512, "offset_x": 32},
            "OffsetX 16",
            r"took offset_x = 16 instead of 32 \(OffsetX; it takes 0",
        ),
        ({"height": 900, "offset_y": 7}, "OffsetY 8", r"took offset_y = 8 instead of 7 \(OffsetY"),
        (
            {"pixel_format": "BGR8"},
            "PixelFormat Mono8",
            r"took pixel_format = Mono8 .*it takes Mono8, BGR8Packed",
        ),
        ({"line_rate_hz": 21000.0, **FREE}, "AcquisitionLineRateAbs 20900", r"took line_rate_hz = 20900"),
        (
            {"trigger": "hardware"},
            "TriggerSource Line2",
            r"took trigger_line = Line2 instead of Line1 .*Software",
        ),
        ({}, "TriggerSource Line1", r"took trigger = Line1 instead of Software"),
        ({}, "TriggerMode Off", r"took trigger = Off instead of On"),
        ({"packet_size": 8192}, "GevSCPSPacketSize 1500", r"took packet_size = 1500 .*220 to 16404 in steps"),
        ({"nodes": ({"Gamma": 0.5},)}, "Gamma 1", r"took node Gamma = 1 instead of 0.5"),
    ],
)
def test_another_value_than_was_asked_for_is_refused(settings: dict, takes: str, says: str) -> None:
    camera = RoundingCamera(takes=dict([takes.split()]))
    camera.values |= {"Gain": "0", "Gamma": "1"}
    with pytest.raises(CameraConfigError, match=says):
        told(camera, **settings)


def test_what_a_later_setting_changes_is_refused_too() -> None:
    camera = RoundingCamera(after=("AcquisitionLineRateAbs", {"ExposureTimeAbs": "47"}))
    with pytest.raises(
        CameraConfigError, match=r"took exposure_us = 47 instead of 100 .*correct the setting"
    ):
        told(camera, exposure_us=100.0, line_rate_hz=21000.0, **FREE)


def test_a_camera_may_round_what_has_a_fraction_and_spell_as_it_likes() -> None:
    takes = {
        "ExposureTimeAbs": "99.5", "Gain": "5.9531", "AcquisitionLineRateAbs": "20990.3",
        "GevSCPSPacketSize": "0x2000", "Gamma": "true", "Key": "256",
    }  # fmt: skip
    camera = RoundingCamera(takes=takes)
    camera.values |= {"Gain": "0", "Gamma": "false", "Key": "0"}
    asked = {"exposure_us": 100.0, "gain_db": 6.0, "line_rate_hz": 21000.0, "packet_size": 8192}
    told(camera, **asked, nodes=({"Gamma": True, "Key": "0x100"},), **FREE)


def test_colour_is_asked_for_by_the_name_that_the_camera_has() -> None:
    camera = LineScanCamera()
    told(camera, pixel_format="BGR8")
    assert ("PixelFormat", "BGR8Packed") in camera.written


def test_the_camera_says_what_it_made_of_the_settings() -> None:
    camera = LineScanCamera()
    free = {"mode": Mode.FREE_RUNNING, "trigger": TriggerKind.OFF}
    nodes = told(camera, width=2048, height=1000, line_rate_hz=21000.0, **free)
    camera.values["AcquisitionLineRateAbs"] = "20990.3"
    camera.values["TemperatureAbs"] = "41.5"
    settings = GenicamSettings(width=2048, height=1000, **free)  # type: ignore[arg-type]
    said = describe(settings, nodes)
    assert said["area"] == "2048 x 1000 px at 0, 0"
    assert (said["line_rate_hz"], said["trigger"]) == ("20990.3", "off")
    assert temperature_c(nodes) == 41.5
    clock = CameraClock(nodes)
    clock.note()
    assert camera.executed == ["GevTimestampControlLatch"]
    assert clock.began_before(4999)


class Told(GenicamCamera):
    """A camera without a library."""

    def __init__(self, camera: LineScanCamera, **settings: object) -> None:
        super().__init__(GenicamSettings(**settings), "raL2048")  # type: ignore[arg-type]
        self._nodes = Nodes(camera, "raL2048")
        self._counters.opened("raL2048")

    def _errors(self) -> tuple[type[Exception], ...]:
        return (OSError,)


Told.__abstractmethods__ = frozenset()


def test_a_line_rate_is_read_back_and_another_one_is_refused() -> None:
    camera = LineScanCamera()
    assert Told(camera).set_line_rate(21_000.0) == 21_000.0
    with pytest.raises(CameraConfigError, match="it takes 10 to 51000"):
        Told(camera).set_line_rate(60_000.0)
    camera.read = lambda name: "20900"  # type: ignore[method-assign]
    with pytest.raises(CameraConfigError, match="takes 20900 lines/s instead of 21000"):
        Told(camera).set_line_rate(21_000.0)
    with pytest.raises(CameraConfigError, match="come from `line_trigger: ShaftEncoderModuleOut`"):
        Told(camera, line_trigger="ShaftEncoderModuleOut").set_line_rate(21_000.0)
