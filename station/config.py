"""station.yaml: this machine - its camera, sorter, engine, paths and limits.

Every key is described in docs/configuration.md. Relative paths are relative to the file's own folder.
What the drivers take is made from these values in one place; drivers know nothing of this file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from station.strict_yaml import DocumentError, load_document


class ConfigError(DocumentError):
    """A configuration cannot be used; the message names file, line, key and remedy."""


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("directory")
    expanded = path.expanduser()
    # Symbolic links are left as they are: a simulated cell's port is one, made later.
    return Path(os.path.normpath(Path(directory, expanded))) if directory is not None else expanded


def _port_beside_the_file(port: str, info: ValidationInfo) -> str:
    if "/" not in port or "://" in port:
        return port
    return str(_beside_the_file(Path(port), info))


FilePath = Annotated[Path, AfterValidator(_beside_the_file)]
Port = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_port_beside_the_file)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
StationName = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,32}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]
Milliseconds = Annotated[float, Field(gt=0.0, le=600_000.0)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
AtLeastOne = Annotated[int, Field(ge=1, le=1_000_000)]
Mode = Literal["cell", "free-running"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Station(_Section):
    """Who this station is."""

    name: StationName
    """the station's name, at most 32 ASCII characters; it is said to the cell and stands in the journal"""


class Paths(_Section):
    """Where things are; relative to the config file."""

    recipes: FilePath
    """the folder of recipes"""
    engines: FilePath
    """the folder of engines, one folder each"""
    journal: FilePath
    """the journal's database file, on a disk that keeps what it was told to keep"""
    images: FilePath
    """the folder for pictures of parts"""
    cache: FilePath
    """the folder for what is built or measured on this machine"""


class _Camera(_Section):
    mode: Mode = "cell"
    """`cell` (a trigger of the cell makes a part) or `free-running` (every frame is a part)"""


class PylonCamera(_Camera):
    """A Basler camera, or pylon's emulator."""

    kind: Literal["pylon"]
    """the camera family"""
    serial: Annotated[str, StringConstraints(max_length=32)] = ""
    """the camera's serial number in quotes; empty takes the only camera there is"""
    pixel_format: Literal["Mono8", "BGR8"] = "Mono8"
    """`Mono8` (grey) or `BGR8` (colour)"""
    width: Annotated[int, Field(ge=0, le=65_535)] = 0
    """the width of the picture, px; 0 takes the sensor's"""
    height: Annotated[int, Field(ge=0, le=65_535)] = 0
    """the height of the picture (lines), px; 0 takes the sensor's"""
    offset_x: Annotated[int, Field(ge=0, le=65_535)] = 0
    """the first column of the picture on the sensor, px"""
    offset_y: Annotated[int, Field(ge=0, le=65_535)] = 0
    """the first row of the picture on the sensor, px"""
    exposure_us: Annotated[float, Field(gt=0.0, le=10_000_000.0)] | None = None
    """the exposure time of a line or frame, microseconds; left out keeps the camera's"""
    gain_db: Annotated[float, Field(ge=0.0, le=60.0)] | None = None
    """the gain, dB; left out keeps the camera's"""
    line_rate_hz: Annotated[float, Field(gt=0.0, le=1_000_000.0)] | None = None
    """lines per second of a line-scan camera; left out keeps the camera's"""
    trigger: Literal["software", "hardware", "off"] = "software"
    """`software`, `hardware` (by wire, at `trigger_line`) or `off` (the camera runs by itself)"""
    trigger_line: Text = "Line1"
    """the input of a hardware trigger"""
    trigger_activation: Literal["RisingEdge", "FallingEdge"] = "RisingEdge"
    """the edge of a hardware trigger"""
    line_trigger: Annotated[str, StringConstraints(max_length=64)] = ""
    """what starts each line of a line-scan camera, such as `ShaftEncoderModuleOut`; empty is the line rate"""
    user_set: Annotated[str, StringConstraints(max_length=64)] = ""
    """a configuration stored in the camera that is loaded first, such as `UserSet1`"""
    packet_size: Annotated[int, Field(ge=220, le=16_404)] | None = None
    """the packet size of a GigE camera, bytes (9000 with jumbo frames); left out keeps the camera's"""
    inter_packet_delay: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """the pause between packets of a GigE camera, ticks; left out keeps the camera's"""
    buffer_count: Annotated[int, Field(ge=2, le=256)] = 8
    """buffers that wait for the station, whole frames"""
    reopen_backoff_s: Seconds = 5.0
    """the longest pause between two tries to reopen a lost camera, s"""
    emulation: FilePath | None = None
    """a folder of pictures that pylon's emulator shows instead of a camera"""

    @model_validator(mode="after")
    def _trigger_fits_mode(self) -> Self:
        if self.mode == "cell" and self.trigger == "off":
            raise _wrong(
                "trigger",
                "is off, but in cell mode each frame must answer a trigger",
                "write `software` or `hardware`, or `mode: free-running`",
            )
        if self.emulation is not None and self.trigger == "hardware":
            raise _wrong(
                "trigger",
                "is `hardware`, but the emulator has no wire: no frame would ever come",
                "write `software`, or `off` with `mode: free-running`",
            )
        if self.mode == "free-running" and self.trigger == "software":
            raise _wrong(
                "trigger",
                "is `software`, but a free-running station does not trigger",
                "write `off` or `hardware`",
            )
        return self


class SimulatedCamera(_Camera):
    """Frames from the simulation's pool, with faults on request."""

    kind: Literal["simulated"]
    """the camera family"""
    pool: FilePath | None = None
    """the folder of rendered frames; left out takes `simulation.pool.folder`"""
    rate_hz: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """frames per second when free-running; 0 is as fast as they are taken"""
    repeat: bool = True
    """whether the pool begins again at its end"""
    lose: Share = 0.0
    """the share of frames that are lost"""
    incomplete: Share = 0.0
    """the share of frames that arrive incomplete"""
    late: Share = 0.0
    """the share of frames that arrive late"""
    late_ms: Milliseconds = 200.0
    """how late, ms"""
    disconnect: Share = 0.0
    """the share of frames before which the camera is lost"""
    seed: Count = 1
    """the seed of the faults"""


class FolderCamera(_Camera):
    """Picture files as frames."""

    kind: Literal["folder"]
    """the camera family"""
    path: FilePath
    """the folder of pictures"""
    repeat: bool = False
    """whether the folder begins again at its end"""


class SerialSorter(_Section):
    """A robot or PLC on a serial line, docs/serial-protocol.md."""

    kind: Literal["serial"]
    """the sorter's protocol"""
    port: Port
    """the serial device, best by /dev/serial/by-id/, which survives a replug"""
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115_200
    """the speed of the line, baud"""
    rtscts: bool = False
    """hardware flow control, where the cable has the lines"""
    heartbeat_ms: Milliseconds = 250.0
    """a heartbeat is sent at least this often, ms"""
    link_timeout_ms: Milliseconds = 1000.0
    """after so long a silence the cell is gone, ms"""
    resend_ms: Milliseconds = 50.0
    """a result without acknowledgement is sent again after this time, ms"""
    ack_timeout_ms: Milliseconds = 2000.0
    """a result without acknowledgement is given up after this time, ms"""
    max_in_hand: Annotated[int, Field(ge=1, le=64)] = 8
    """parts triggered and not yet closed; more are refused as busy"""
    reopen_max_s: Seconds = 1.0
    """the longest pause between two tries to open a lost line, s"""

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if self.link_timeout_ms < 2 * self.heartbeat_ms:
            raise _wrong(
                "link_timeout_ms",
                f"is {self.link_timeout_ms:g}, less than two heartbeats of {self.heartbeat_ms:g}",
                "write at least twice heartbeat_ms, better four times",
            )
        if self.ack_timeout_ms < 2 * self.resend_ms:
            raise _wrong(
                "ack_timeout_ms",
                f"is {self.ack_timeout_ms:g}, too short to send again after {self.resend_ms:g}",
                "write at least twice resend_ms",
            )
        return self


class EngineChoice(_Section):
    """What computes the network."""

    backend: Literal[
        "auto", "openvino", "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"
    ] = "auto"
    """the back end, or `auto` for the fastest that proves itself"""
    precision: Literal["auto", "int8", "bf16", "fp16", "fp32"] = "auto"
    """the arithmetic, or `auto` for the fastest that proves itself"""
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """processor threads for one part"""
    chunk: Annotated[int, Field(ge=0, le=4096)] = 0
    """patches computed at a time by one thread; 0 lets the back end choose"""


class Limits(_Section):
    """Times and sizes."""

    part_deadline_ms: Milliseconds = 1000.0
    """the time from trigger to verdict, ms; later is a fault"""
    grab_timeout_ms: Milliseconds = 500.0
    """the time a frame may take to arrive, ms; later is a fault"""
    stop_timeout_ms: Milliseconds = 5000.0
    """how long a clean stop waits for parts in hand and for receipts, ms"""
    hung_after_ms: Milliseconds = 10_000.0
    """a camera or engine call that has not come back after this time halts the station, ms"""
    queue_capacity: Annotated[int, Field(ge=1, le=64)] = 4
    """parts that may wait between two stages"""
    engine_failures_allowed: Annotated[int, Field(ge=1, le=1000)] = 3
    """this many parts in a row without scores halt the station"""

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if self.grab_timeout_ms >= self.part_deadline_ms:
            raise _wrong(
                "grab_timeout_ms",
                f"is {self.grab_timeout_ms:g}, and the whole part has {self.part_deadline_ms:g}",
                "write less than part_deadline_ms",
            )
        return self


class Images(_Section):
    """Pictures that are kept."""

    save: Literal["rejects", "faults-and-rejects", "none"] = "rejects"
    """`rejects`, `faults-and-rejects` or `none`"""
    quota_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """the most disk that pictures may take, MB; the oldest go first"""
    queue: Annotated[int, Field(ge=1, le=1000)] = 8
    """pictures that may wait to be written; what comes above is shed and counted"""


class Pool(_Section):
    """Rendered frames of the simulated plant."""

    folder: FilePath
    """the folder of rendered frames, filled when it is missing"""
    frames: AtLeastOne = 40
    """how many frames"""
    seed: Count = 1
    """the seed of the parts"""


class Misbehave(_Section):
    """How often the simulated cell does wrong, each 0 to 1."""

    late: Share = 0.0
    """the share of messages sent late"""
    late_ms: Milliseconds = 200.0
    """how late, ms"""
    silent: Share = 0.0
    """the share of messages not sent at all"""
    duplicate: Share = 0.0
    """the share of messages sent twice"""
    garble: Share = 0.0
    """the share of messages whose bits flip on the way"""
    wrong_part_id: Share = 0.0
    """the share of acknowledgements that name another part"""
    wrong_bin: Share = 0.0
    """the share of parts that the gate puts into the reject bin"""
    unplug_every_s: Annotated[float, Field(ge=0.0, le=86_400.0)] = 0.0
    """the plug is pulled about so often, s; 0 is never"""
    unplug_s: Seconds = 0.3
    """and left out for so long, s"""


class Cell(_Section):
    """The simulated robot or PLC at the other end of `sorter.port`."""

    parts: Count = 0
    """how many parts it brings; 0 is without end"""
    rate_hz: Annotated[float, Field(ge=0.0, le=1000.0)] = 5.8
    """parts per second; 0 is as fast as the station allows"""
    in_flight: Annotated[int, Field(ge=1, le=64)] = 1
    """parts in the cell at the same time"""
    verdict_ms: Milliseconds = 1500.0
    """how long it waits for a verdict, ms"""
    seed: Count = 1
    """the seed of its misbehaviour"""
    misbehave: Misbehave = Misbehave()
    """what it does wrong"""


class Simulation(_Section):
    """A simulated plant beside the station; its parts are marked isSimulated."""

    pool: Pool | None = None
    """rendered frames"""
    cell: Cell | None = None
    """a robot or PLC; left out where a real one is connected"""


class StationConfig(_Section):
    """One machine, complete."""

    station: Station
    """who this station is"""
    recipe: Text
    """the name of the prepared recipe"""
    paths: Paths
    """where things are"""
    camera: Annotated[PylonCamera | SimulatedCamera | FolderCamera, Field(discriminator="kind")]
    """the camera, with its `kind`: pylon, simulated or folder"""
    sorter: SerialSorter
    """the way to the robot or PLC, with its `kind`: serial"""
    engine: EngineChoice = EngineChoice()
    """what computes the network"""
    limits: Limits = Limits()
    """times and sizes"""
    images: Images = Images()
    """pictures that are kept"""
    simulation: Simulation | None = None
    """a simulated plant; left out at a real one"""

    @property
    def is_simulated(self) -> bool:
        """Whether any of the plant is not real, which every record then says."""
        emulated = isinstance(self.camera, PylonCamera) and self.camera.emulation is not None
        no_camera = isinstance(self.camera, SimulatedCamera | FolderCamera)
        return emulated or no_camera or self.simulation is not None

    @model_validator(mode="after")
    def _plant_is_whole(self) -> Self:
        pool = self.simulation.pool if self.simulation else None
        cell = self.simulation.cell if self.simulation else None
        if isinstance(self.camera, SimulatedCamera) and self.camera.pool is None and pool is None:
            raise _wrong(
                "camera.pool",
                "is missing",
                "name a folder of frames here or in simulation.pool.folder",
            )
        if cell is not None and cell.verdict_ms <= self.limits.part_deadline_ms:
            raise _wrong(
                "simulation.cell.verdict_ms",
                f"is {cell.verdict_ms:g}, not longer than the deadline {self.limits.part_deadline_ms:g}",
                "let the cell wait longer than limits.part_deadline_ms",
            )
        return self


def load_config(path: Path) -> StationConfig:
    """Read and check a configuration. Raises :class:`ConfigError`."""
    return load_document(path, StationConfig, ConfigError)


def _wrong(key: str, problem: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("config", "{problem}", {"problem": problem, "key": key, "remedy": remedy})
