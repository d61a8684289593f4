"""station.yaml: this machine - its camera, sorter, engine, paths and limits.

Every key is described in docs/configuration.md. Relative paths are relative to the file's own folder. The
sections of cameras and sorters are the settings of the drivers themselves, found through their registries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetCoreSchemaHandler, StringConstraints, create_model, model_validator
from pydantic_core import CoreSchema, core_schema

from drivers.cameras import FAMILIES
from drivers.cameras.settings import CameraSettings
from drivers.registry import Registry
from drivers.settings import (
    AtLeastOne,
    Count,
    FilePath,
    Milliseconds,
    Seconds,
    Section,
    Share,
    Text,
    mistake,
)
from drivers.sorters import PROTOCOLS
from drivers.sorters.serial import SerialSettings
from drivers.sorters.settings import SorterSettings
from simulation.camera import SimulatedSettings
from station.strict_yaml import DocumentError, Mistake, load_document

FAMILIES.look_in("simulation")


class ConfigError(DocumentError):
    """A configuration cannot be used; the message names file, line, key and remedy."""


StationName = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,32}$")]


class Identity(Section):
    """Who this station is."""

    name: StationName
    """the station's name, at most 32 ASCII characters; it is said to the cell and stands in the journal"""


class Paths(Section):
    """Where things are; relative to the config file."""

    recipes: FilePath
    """the folder of recipes"""
    engines: FilePath
    """the folder of engines, one folder each"""
    journal: FilePath
    """the journal's database file, on a disk that keeps what is written to it"""
    images: FilePath
    """the folder for pictures of parts"""
    cache: FilePath
    """the folder for what is built or measured on this machine"""
    control: FilePath | None = None
    """the socket for `station status`, `halt`, `resume` and `prepare`; left out is beside the journal"""


class EngineChoice(Section):
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


class Limits(Section):
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
            raise mistake(
                "grab_timeout_ms",
                f"is {self.grab_timeout_ms:g}, and the whole part has {self.part_deadline_ms:g}",
                "write less than part_deadline_ms",
            )
        return self


class JournalPolicy(Section):
    """How the journal's files are kept, docs/journal.md."""

    segment_parts: Annotated[int, Field(ge=100, le=10_000_000)] = 200_000
    """a file of the journal is closed, and the next one begun, after so many parts"""
    segment_mb: Annotated[int, Field(ge=1, le=100_000)] = 500
    """or at this size, MB, whichever comes first"""
    keep_days: Annotated[float, Field(ge=0.0, le=36_500.0)] = 0.0
    """closed files whose last part is older are removed; 0 keeps them for ever"""
    keep_gb: Annotated[float, Field(ge=0.0, le=100_000.0)] = 0.0
    """the oldest closed files are removed while the journal takes more disk, GB; 0 is without limit"""
    archive: FilePath | None = None
    """a folder where a file is copied, and read back, before it is removed; left out makes no copy"""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.keep_gb and self.keep_gb * 1000 < 2 * self.segment_mb:
            raise mistake(
                "keep_gb",
                f"is {self.keep_gb:g}, less than two files of {self.segment_mb} MB",
                "write more, or a smaller segment_mb",
            )
        return self


class Images(Section):
    """Pictures that are kept."""

    save: Literal["rejects", "faults-and-rejects", "none"] = "rejects"
    """`rejects`, `faults-and-rejects` or `none`"""
    quota_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """the most disk that pictures may take, MB; the oldest go first"""
    queue: Annotated[int, Field(ge=1, le=1000)] = 8
    """pictures that may wait to be written; further ones are dropped and counted"""


class Pool(Section):
    """Rendered frames of the simulated plant."""

    folder: FilePath
    """the folder of rendered frames, filled when it is missing"""
    frames: AtLeastOne = 40
    """how many frames"""
    seed: Count = 1
    """the seed of the parts"""


class Misbehave(Section):
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
    """the mean time between two pulls of the plug, s; 0 is never"""
    unplug_s: Seconds = 0.3
    """the time until the plug is back, s"""


class Cell(Section):
    """The simulated robot or PLC at the other end of `sorter.port`.

    It has no wire to a camera: with `trigger: hardware` somebody else must pulse it.
    """

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


class Simulation(Section):
    """A simulated plant beside the station; its parts are marked isSimulated."""

    pool: Pool | None = None
    """rendered frames"""
    cell: Cell | None = None
    """a robot or PLC; left out where a real one is connected"""


class StationConfig(Section):
    """One machine, complete."""

    station: Identity
    """who this station is"""
    recipe: Text
    """the name of the prepared recipe"""
    paths: Paths
    """where things are"""
    camera: CameraSettings
    """the camera, with its `kind`"""
    sorter: SorterSettings
    """the way to the robot or PLC, with its `kind`"""
    engine: EngineChoice = EngineChoice()
    """what computes the network"""
    limits: Limits = Limits()
    """times and sizes"""
    journal: JournalPolicy = JournalPolicy()
    """how the journal's files are kept"""
    images: Images = Images()
    """pictures that are kept"""
    simulation: Simulation | None = None
    """a simulated plant; left out at a real one"""

    @property
    def control_socket(self) -> Path:
        """Where a running station can be asked."""
        return self.paths.control or self.paths.journal.with_suffix(".sock")

    @property
    def is_simulated(self) -> bool:
        """Whether any of the plant is not real, which every record then says."""
        return self.camera.is_simulated or self.simulation is not None

    @model_validator(mode="after")
    def _plant_is_whole(self) -> Self:
        pool = self.simulation.pool if self.simulation else None
        cell = self.simulation.cell if self.simulation else None
        if isinstance(self.camera, SimulatedSettings) and self.camera.pool is None and pool is None:
            raise mistake(
                "camera.pool",
                "is missing",
                "name a folder of frames here or in simulation.pool.folder",
            )
        if cell is not None and not isinstance(self.sorter, SerialSettings):
            raise mistake(
                "simulation.cell",
                "is at the other end of a serial line only",
                "write `kind: serial` under sorter, or leave simulation.cell out",
            )
        if cell is not None and cell.verdict_ms <= self.limits.part_deadline_ms:
            raise mistake(
                "simulation.cell.verdict_ms",
                f"is {cell.verdict_ms:g}, not longer than the deadline {self.limits.part_deadline_ms:g}",
                "let the cell wait longer than limits.part_deadline_ms",
            )
        return self


def load_config(path: Path) -> StationConfig:
    """Read and check a configuration. Raises :class:`ConfigError`, ``RegistryError``."""
    try:
        return load_document(path, config_model(), ConfigError)
    except ConfigError as error:
        raise ConfigError(path, *map(_with_files_not_read, error.mistakes)) from None


def config_model() -> type[StationConfig]:
    """:class:`StationConfig` with the sections of every camera family and sorter protocol there is.

    Raises ``RegistryError``.
    """
    return create_model(
        "StationConfig",
        __base__=StationConfig,
        __doc__=StationConfig.__doc__,
        camera=_one_of(FAMILIES, "camera"),
        sorter=_one_of(PROTOCOLS, "sorter"),
    )


@dataclass(frozen=True, slots=True)
class _ByKind:
    """A tagged union that may have one member only, which pydantic's own may not."""

    sections: dict[str, type[Section]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(section) for kind, section in self.sections.items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def _one_of(registry: Registry[Any, Any], key: str) -> Any:
    """A field that takes the section of any kind in the registry."""
    sections = {kind: entry.settings for kind, entry in registry.entries().items()}
    description = f"{StationConfig.model_fields[key].description}: {', '.join(sections)}"
    union: Any = reduce(or_, sections.values())
    return Annotated[union, _ByKind(sections)], Field(description=description)


def _with_files_not_read(mistake: Mistake) -> Mistake:
    """A kind may be unknown because its file could not be read."""
    registries: dict[str, Registry[Any, Any]] = {"camera.kind": FAMILIES, "sorter.kind": PROTOCOLS}
    broken = registries[mistake.key].broken if mistake.key in registries else {}
    if not broken:
        return mistake
    return replace(mistake, remedy=f"{mistake.remedy}; not read were: {'; '.join(broken.values())}")
