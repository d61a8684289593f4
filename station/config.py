"""station.yaml: this machine - its camera, sorter, engine, paths and limits.

Every key is described in docs/configuration.md. Relative paths are relative to the file's own folder. The
sections of cameras and sorters are the settings of the drivers themselves, found through their registries.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from drivers.cameras import FAMILIES
from drivers.cameras.settings import CameraSettings, Mode
from drivers.lights import CONTROLLERS
from drivers.lights.settings import LightSettings
from drivers.registry import Registry
from drivers.settings import (
    AtLeastOne,
    Count,
    FilePath,
    Milliseconds,
    RiskySection,
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
from station.telemetry.settings import Telemetry

FAMILIES.look_in("simulation")


LONG_MS = 10_000.0
"""The longest deadline without ``accept_risk``: nothing that sorts parts waits longer for one."""


class ConfigError(DocumentError):
    """A configuration cannot be used; the message names file, line, key and remedy."""


StationName = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,32}$")]


class Identity(Section):
    """The identity of this station."""

    name: StationName
    """the station's name, at most 32 ASCII characters; the cell and the journal get it"""


class Paths(Section):
    """Folders and files; paths are relative to the configuration file."""

    recipes: FilePath
    """the folder of recipes"""
    engines: FilePath
    """the folder of engines, one subfolder per engine"""
    journal: FilePath
    """the journal's database file, on a local disk that keeps its data in a power cut"""
    images: FilePath
    """the folder for pictures of parts"""
    cache: FilePath
    """the folder for data that this machine builds or measures again when it is missing"""
    rare: FilePath | None = None
    """the folder for rare and doubtful parts (docs/rare-defects.md); without it, none are kept"""
    control: FilePath | None = None
    """the socket for `station status`, `halt`, `resume`, `prepare`; without it, a file beside the journal"""

    @model_validator(mode="after")
    def _each_has_its_own(self, info: ValidationInfo) -> Self:
        """What the station writes, rotates or deletes must be nothing else's."""
        file = (info.context or {}).get("file")
        used = {} if file is None else {file: "the configuration itself"}
        owned = {key: getattr(self, key) for key in ("recipes", "engines", "images", "cache", "control")}
        owned["control"] = self.socket
        if self.rare is not None:
            owned["rare"] = self.rare
        for key, path in (*owned.items(), ("journal", self.journal)):
            other = used.setdefault(Path(os.path.realpath(path)), f"`{key}`")
            if other != f"`{key}`":
                raise mistake(key, f"is the same path as {other}", "give each its own path")
        files = (("journal", self.journal), ("control", self.socket))
        folders: tuple[tuple[str, Path], ...] = (("images", self.images), ("cache", self.cache))
        if self.rare is not None:
            folders += (("rare", self.rare),)
        for key, path in (*files, *folders):
            for folder in ("recipes", "engines", *(("images", "rare") if (key, path) in files else ())):
                if folder in owned and owned[folder] in path.parents:
                    raise mistake(key, f"lies in the folder of `{folder}`", "give it a place of its own")
        return self

    @property
    def key(self) -> Path:
        """The station's private key, beside the journal."""
        return self.journal.parent / "keys" / "station.pem"

    @property
    def outbox(self) -> Path:
        """Bundles that have no receipt yet, beside the journal."""
        return self.journal.parent / "handoff"

    @property
    def socket(self) -> Path:
        """Where a running station can be asked."""
        return self.control or self.journal.with_suffix(".sock")


Backend = Literal[
    "openvino", "openvino-fused", "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"
]
Precision = Literal["int8", "bf16", "fp16", "fp32"]


class EngineChoice(Section):
    """The back end that computes the network."""

    backend: Literal["auto", Backend] = "auto"
    """the back end, or `auto` for the fastest that reproduces the golden parts"""
    precision: Literal["auto", Precision] = "auto"
    """the precision, or `auto` for the fastest that reproduces the golden parts"""
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """processor threads for one part"""
    chunk: Annotated[int, Field(ge=0, le=4096)] = 0
    """patches that one thread computes together; 0 means that the back end chooses"""
    canary_s: Annotated[float, Field(ge=1.0, le=600.0)] = 60.0
    """the time in which each golden part is judged again while the station runs, s"""


class NewEngines(Section):
    """What the station does with an engine that comes home, docs/engines.md."""

    prove: bool = True
    """whether an installed engine proves itself at once; otherwise by `station engines prove`"""
    trial_parts: Annotated[int, Field(ge=100, le=100_000)] = 300
    """the parts that a new engine judges in trial, while its health is watched"""
    baseline_parts: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """the latest parts of the engine before it, with which its health is compared"""
    memory_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """the most memory that a process with a new engine may take when it proves itself, MB"""


class Limits(RiskySection):
    """Time limits and sizes."""

    part_deadline_ms: Annotated[float, Field(gt=0.0, le=60_000.0)] = 1000.0
    """the time limit from trigger to verdict, ms; a later verdict is a fault"""
    grab_timeout_ms: Milliseconds = 500.0
    """the time limit for a frame to arrive, ms; a later frame is a fault"""
    in_place_ms: Milliseconds = 100.0
    """the time after TRIGGER-ACK in which the cell surely leaves the part in place, ms; a frame whose
    exposure can have begun later is a fault (docs/serial-protocol.md, "The part before the camera")"""
    stop_timeout_ms: Milliseconds = 5000.0
    """the longest time that a stop waits for parts in hand and for acknowledgements, ms"""
    hung_after_ms: Milliseconds = 10_000.0
    """the time limit for a camera or engine call, and for a thread without a sign of life, ms; then the
    station ends"""
    queue_capacity: Annotated[int, Field(ge=1, le=64)] = 4
    """parts that can wait between two stages"""
    engine_failures_allowed: Annotated[int, Field(ge=1, le=1000)] = 3
    """the number of consecutive parts without scores that halts the station"""

    def check(self) -> None:
        """Times that contradict each other."""
        if self.grab_timeout_ms >= self.part_deadline_ms:
            raise mistake(
                "grab_timeout_ms",
                f"is {self.grab_timeout_ms:g}, not less than part_deadline_ms {self.part_deadline_ms:g}",
                "write less than part_deadline_ms",
            )
        if self.in_place_ms > self.part_deadline_ms:
            raise mistake(
                "in_place_ms",
                f"is {self.in_place_ms:g}, more than part_deadline_ms {self.part_deadline_ms:g}",
                "write at most part_deadline_ms",
            )

    def risks(self) -> Iterator[tuple[str, str]]:
        """Times in which a part has long left the gate, or a station that does nothing is not found."""
        if self.part_deadline_ms > LONG_MS:
            yield (
                "part_deadline_ms",
                f"above {LONG_MS:g} lets a verdict come when the part may have left the gate",
            )
        if self.in_place_ms > LONG_MS / 10:
            yield (
                "in_place_ms",
                f"above {LONG_MS / 10:g} lets a frame of the next part count for this one, "
                "unless the cell waits so long",
            )
        if self.hung_after_ms > 6 * LONG_MS:
            yield "hung_after_ms", f"above {6 * LONG_MS:g} leaves a station that hangs unnoticed"


class JournalPolicy(Section):
    """How the journal's files are kept, docs/journal.md."""

    segment_parts: Annotated[int, Field(ge=100, le=10_000_000)] = 200_000
    """the most parts in one file of the journal; then the next file begins"""
    segment_mb: Annotated[int, Field(ge=1, le=100_000)] = 500
    """the largest size of one file of the journal, MB; then the next file begins"""
    keep_days: Annotated[float, Field(ge=0.0, le=36_500.0)] = 0.0
    """the age of its last part at which a closed file is removed, days; 0 keeps all files"""
    keep_gb: Annotated[float, Field(ge=0.0, le=100_000.0)] = 0.0
    """the size of the journal above which the oldest closed files are removed, GB; 0 means no limit"""
    archive: FilePath | None = None
    """the folder to which a file is copied and checked before it is removed; without it, no copy is made"""

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
    """Pictures that the station keeps."""

    save: Literal["rejects", "faults-and-rejects", "none"] = "faults-and-rejects"
    """`rejects`, `faults-and-rejects` or `none`: the parts whose pictures are kept"""
    quota_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """the most disk space for pictures, MB; the oldest are deleted first; faults take at most a quarter"""
    queue: Annotated[int, Field(ge=1, le=1000)] = 8
    """pictures that can wait to be written; further pictures are dropped (not saved) and counted"""


class SecondOpinion(Section):
    """The same engine on another back end or in another precision, beside the line."""

    backend: Backend
    """the back end"""
    precision: Precision
    """the precision; not the one of the line on the same back end"""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """the share of parts that it judges, drawn by the record's number"""


class Rare(Section):
    """What the log of rare and doubtful parts keeps, docs/rare-defects.md."""

    quota_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """the most disk space for the log, MB; the least informative items are dropped first"""
    queue: Annotated[int, Field(ge=1, le=1000)] = 8
    """parts that can wait to be looked at; further parts are dropped (not looked at) and counted"""
    remember: Annotated[int, Field(ge=1, le=1000)] = 32
    """the number of latest parts whose surfaces stay in memory, for a review and for a fault that follows"""
    class_items: Count = 200
    """a defect class is rare until so many items of it were kept; 0 means that no class is rare"""
    low_confidence: Share = 0.7
    """a part whose confidence is below this is kept"""
    close_below: Share = 0.2
    """a part is kept if the two most probable classes of its deciding patch differ by less than this"""
    same_below: Annotated[float, Field(ge=0.0, le=2.0)] = 0.04
    """two parts of one class are alike below this distance of their features; 0 keeps both always"""
    audit_good: Share = 0.001
    """the share of confident good parts that is kept, to find escapes"""
    audit_bad: Share = 0.02
    """the share of confident rejected parts that is kept, to find overkill"""
    pretrained_share: Share = 1.0
    """the share of parts that the engine's second network looks at in spare time, if it has one"""
    second_opinion: SecondOpinion | None = None
    """judges a share of the parts again; parts on which the two disagree are kept"""


class Shadow(Section):
    """A candidate engine beside the active one, docs/engines.md."""

    share: Share = 1.0
    """the share of parts that a candidate judges in spare time, drawn by the record's number; 0 means none"""
    worse_below: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.005
    """a candidate is good enough if its verdict is worse on less than this share of the parts"""
    risk: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    """the probability of finding a candidate good enough that is not"""
    promote: Literal["person", "rule"] = "person"
    """who makes a candidate active that is good enough: a person, or the station itself; its trial follows"""
    drift_parts: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """the most parts of one look at drift, at least 100; a new shift begins another; 0 means no look"""

    @model_validator(mode="after")
    def _drift_is_seen(self) -> Self:
        if 0 < self.drift_parts < 100:
            raise mistake(
                "drift_parts",
                f"is {self.drift_parts}, too few parts to say anything",
                "write 100 or more, or 0 for no look at drift",
            )
        return self


class HandOff(Section):
    """Where rare and doubtful parts go, docs/hand-off.md."""

    target: Text
    """a folder (absolute), or a URL such as `sftp://user@host/folder` or `s3://bucket/folder`"""
    workshops: FilePath
    """the folder with the public keys (`*.pub`) of the workshops whose receipts count"""
    secrets: FilePath | None = None
    """a JSON file, mode 600, with the options of the target's file system: user, password, known hosts"""
    interval_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    """the time between two rounds, s"""
    bundle_mb: Annotated[int, Field(ge=1, le=1000)] = 50
    """the size at which a bundle is closed and the next one begins, MB"""
    outbox_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    """the most disk space for bundles that have no receipt yet, MB; 0 makes no bundles"""
    limit_kb_s: Annotated[float, Field(ge=0.0, le=1_000_000.0)] = 0.0
    """the most bandwidth that a bundle takes on its way, kB/s; 0 means no limit"""

    @model_validator(mode="after")
    def _target_is_usable(self) -> Self:
        scheme, there, rest = self.target.partition("://")
        if not there and not self.target.startswith("/"):
            raise mistake(
                "target", "is neither a URL nor an absolute folder", "write `/media/stick` or a URL"
            )
        if there and scheme not in TARGETS:
            raise mistake(
                "target", f"has the unknown scheme {scheme!r}", f"write one of: {', '.join(TARGETS)}"
            )
        if ":" in rest.partition("/")[0].rpartition("@")[0]:
            raise mistake("target", "has a password in it", "write the password into the file of `secrets`")
        return self


class Fleet(Section):
    """Where the station writes its signed manifest for the plant, docs/fleet.md."""

    folder: FilePath
    """the folder for `NAME.manifest`, such as a share of the plant that is mounted here"""
    every_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    """the time between two manifests, s"""


class Metrics(Section):
    """Where Prometheus may read the station's metrics, docs/metrics.md."""

    address: Annotated[str, StringConstraints(max_length=45)] = "127.0.0.1"
    """the address of this machine at which it is answered; `0.0.0.0` or `::` answers at all of them"""
    port: Annotated[int, Field(ge=1, le=65_535)]
    """the TCP port, such as 9464"""

    @model_validator(mode="after")
    def _address_is_one(self) -> Self:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            raise mistake(
                "address", f"is no IP address: {self.address!r}", "write one, such as `127.0.0.1`"
            ) from None
        return self


TARGETS = ("file", "sftp", "s3")
"""The schemes of the hand-off's targets."""


class Pool(Section):
    """Rendered frames of the simulated plant."""

    folder: FilePath
    """the folder of rendered frames; the station fills it when it does not exist"""
    frames: AtLeastOne = 40
    """the number of frames"""
    seed: Count = 1
    """the seed of the parts"""
    good_share: Share = 0.7
    """the share of parts without a defect"""
    multi_share: Share = 0.15
    """the share of the other parts that have several defects, of any kind"""
    kinds: tuple[Literal["imprinted", "pits", "roll-marks", "scratches"], ...] = (
        "imprinted", "pits", "roll-marks", "scratches",
    )  # fmt: skip
    """the kinds of defect of the parts with one defect, in turn"""


class Misbehave(Section):
    """Faults of the simulated cell; each share is 0 to 1."""

    late: Share = 0.0
    """the share of messages sent late"""
    late_ms: Milliseconds = 200.0
    """the delay of a late message, ms"""
    silent: Share = 0.0
    """the share of messages not sent at all"""
    duplicate: Share = 0.0
    """the share of messages sent twice"""
    garble: Share = 0.0
    """the share of messages with flipped bits"""
    wrong_part_id: Share = 0.0
    """the share of acknowledgements that name another part"""
    wrong_bin: Share = 0.0
    """the share of parts that the gate puts into the reject bin"""
    unplug_every_s: Annotated[float, Field(ge=0.0, le=86_400.0)] = 0.0
    """the mean time between two disconnections of the line, s; 0 means never"""
    unplug_s: Seconds = 0.3
    """the time until the line is connected again, s"""


class Cell(Section):
    """The simulated robot or PLC at the other end of `sorter.port`.

    It has no wire to a camera: with `trigger: hardware`, another device must pulse the camera.
    """

    parts: Count = 0
    """the number of parts that it places; 0 means no end"""
    rate_hz: Annotated[float, Field(ge=0.0, le=1000.0)] = 5.8
    """parts per second; 0 means as fast as the station allows"""
    in_flight: Annotated[int, Field(ge=1, le=64)] = 1
    """parts in the cell at the same time"""
    verdict_ms: Milliseconds = 1500.0
    """the time that it waits for a verdict, ms"""
    seed: Count = 1
    """the seed of its faults"""
    misbehave: Misbehave = Misbehave()
    """its faults"""


class Simulation(Section):
    """A simulated plant beside the station; its parts are marked isSimulated."""

    pool: Pool | None = None
    """rendered frames"""
    cell: Cell | None = None
    """the simulated robot or PLC; leave it out where a real one is connected"""
    lights: bool = False
    """whether the light controller at `lights.address`, a port of this machine, is simulated"""


class StationConfig(Section):
    """One machine, complete."""

    station: Identity
    """the identity of this station"""
    recipe: Text
    """the name of the prepared recipe; `NAME@WIDTH` where all parts have this width, px"""
    paths: Paths
    """folders and files"""
    camera: CameraSettings
    """the camera, by its `kind`"""
    sorter: SorterSettings
    """the connection to the robot or PLC, by its `kind`"""
    lights: LightSettings | None = None
    """the light controller, by its `kind`; needed for recipes with `stereo`, and not used by others"""
    engine: EngineChoice = EngineChoice()
    """the back end that computes the network"""
    new_engines: NewEngines = NewEngines()
    """what is done with an engine that comes home"""
    limits: Limits = Limits()
    """time limits and sizes"""
    journal: JournalPolicy = JournalPolicy()
    """how the journal's files are kept"""
    images: Images = Images()
    """pictures that the station keeps"""
    rare: Rare = Rare()
    """what the log of rare and doubtful parts keeps; it needs `paths.rare`"""
    shadow: Shadow = Shadow()
    """how a candidate engine is judged beside the active one, and how long drift is looked at"""
    handoff: HandOff | None = None
    """where rare and doubtful parts go; without it, they stay on the station"""
    fleet: Fleet | None = None
    """where the station writes its signed manifest for the plant; without it, it writes none"""
    metrics: Metrics | None = None
    """where Prometheus may read the station's metrics; without it, nothing listens"""
    telemetry: Telemetry | None = None
    """records for dashboards and databases over MQTT; without it, nothing is sent"""
    simulation: Simulation | None = None
    """a simulated plant; leave it out in a real plant"""

    @property
    def control_socket(self) -> Path:
        """Where a running station can be asked."""
        return self.paths.socket

    @property
    def is_simulated(self) -> bool:
        """Whether any part of the plant is simulated; every record then says so."""
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
        if self.camera.mode is Mode.FREE_RUNNING and self.sorter.sorts_triggered_parts_only:
            raise mistake(
                "camera.mode",
                "is `free-running`, and this sorter sorts only what the cell has triggered: no part of a "
                "free-running station would ever be sorted",
                "write `mode: cell` and let the cell trigger each part",
            )
        if self.camera.mode is Mode.CELL and self.sorter.uses_camera_lines:
            raise mistake(
                "camera.mode",
                "is `cell`, and the lines of a camera bring no trigger to the station",
                "write `mode: free-running`; the camera's own input may start each exposure",
            )
        if self.simulation is not None and self.simulation.lights:
            self._lights_can_be_simulated(cell)
        if self.telemetry is not None:
            self._telemetry_is_apart(self.telemetry)
        if self.handoff is not None and self.paths.rare is None:
            raise mistake("paths.rare", "is missing", "name a folder for the log, or leave `handoff` out")
        if "rare" in self.model_fields_set and self.paths.rare is None:
            raise mistake("paths.rare", "is missing", "name a folder for the log, or leave `rare` out")
        second = self.rare.second_opinion
        if second is not None and (second.backend, second.precision) == (
            self.engine.backend,
            self.engine.precision,
        ):
            raise mistake(
                "rare.second_opinion.precision",
                f"is {second.precision} on {second.backend}, as `engine` says for the line",
                "name another precision or back end, or leave rare.second_opinion out",
            )
        if cell is not None and not isinstance(self.sorter, SerialSettings):
            raise mistake(
                "simulation.cell",
                "needs a serial line to the station",
                "write `kind: serial` under sorter, or leave simulation.cell out",
            )
        if cell is not None and isinstance(self.sorter, SerialSettings) and "://" in self.sorter.port:
            raise mistake(
                "simulation.cell",
                "needs a serial device of this machine, and `sorter.port` is a URL",
                "write a path such as `var/cell` under sorter.port",
            )
        if cell is not None and cell.verdict_ms <= self.limits.part_deadline_ms:
            raise mistake(
                "simulation.cell.verdict_ms",
                f"is {cell.verdict_ms:g}, not longer than the deadline {self.limits.part_deadline_ms:g}",
                "let the cell wait longer than limits.part_deadline_ms",
            )
        return self

    def _lights_can_be_simulated(self, cell: Cell | None) -> None:
        """Something asks them, something looks at them, and they answer on this machine."""
        if self.lights is None:
            raise mistake("simulation.lights", "is true, and nobody asks for light", "write `lights`")
        network = self.lights.network
        if network is None or network[:2] != ("tcp", "127.0.0.1"):
            problem = f"is {self.lights.address}, where no simulated controller can be"
            raise mistake("lights.address", problem, "write `tcp://127.0.0.1:30313`")
        if cell is None or not isinstance(self.camera, SimulatedSettings):
            problem = "is true, and only a simulated camera with `simulation.cell` sees its lamps"
            raise mistake("simulation.lights", problem, "write `kind: simulated` under camera")

    def _telemetry_is_apart(self, telemetry: Telemetry) -> None:
        """Names that topics can hold, and topics of its own."""
        if any(character in "#+/" for character in self.station.name) or not self.station.name.strip():
            raise mistake(
                "station.name",
                f"is {self.station.name!r}, and telemetry sends it to where names have no #, + or /",
                "write a name of letters, digits, spaces, - and _",
            )
        if getattr(self.sorter, "topic", None) == telemetry.topic:
            raise mistake(
                "telemetry.topic", "is the topic of the sorter", "give telemetry a topic of its own"
            )


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
        lights=_one_of(CONTROLLERS, "lights", optional=True),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ByKind:
    """A tagged union that may have one member only, which pydantic's own may not."""

    sections: dict[str, type[Section]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(section) for kind, section in self.sections.items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def _one_of(registry: Registry[Any, Any], key: str, *, optional: bool = False) -> Any:
    """A field that takes the section of any kind in the registry; None by default where ``optional``."""
    sections = {kind: entry.settings for kind, entry in registry.entries().items()}
    description = f"{StationConfig.model_fields[key].description}: {', '.join(sections)}"
    union: Any = reduce(or_, sections.values())
    if optional:
        return Annotated[union, ByKind(sections)] | None, Field(default=None, description=description)
    return Annotated[union, ByKind(sections)], Field(description=description)


def _with_files_not_read(mistake: Mistake) -> Mistake:
    """A kind may be unknown because its file could not be read."""
    registries: dict[str, Registry[Any, Any]] = {
        "camera.kind": FAMILIES,
        "sorter.kind": PROTOCOLS,
        "lights.kind": CONTROLLERS,
    }
    broken = registries[mistake.key].broken if mistake.key in registries else {}
    if not broken:
        return mistake
    broken_files = "; ".join(broken.values())
    return replace(mistake, remedy=f"{mistake.remedy}; these files cannot be read: {broken_files}")
