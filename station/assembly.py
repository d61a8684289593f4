"""From a configuration to a station: each device made from its section, and the whole put together.

The drivers know nothing of the configuration; this is the one place where its values become theirs.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.cameras.interface import Camera
from drivers.sorters.interface import Sorter
from station import config as settings
from station.config import StationConfig, load_config
from station.engines import open_engine
from station.engines.interface import Engine, EngineError
from station.journal import Journal
from station.journal.events import PartRecord
from station.line import Line
from station.line_values import LineSettings, Mode
from station.observers import Observers, make_observers
from station.prepared import Prepared
from station.recipe import Recipe, find_recipe, load_recipe
from station.simulated_plant import Progress, simulated_camera, simulated_plant

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Station:
    """A line put together, not started yet."""

    line: Line
    config: StationConfig
    journal: Journal
    observers: Observers
    doubtful: list[PartRecord]
    """Parts that a crash left without a verdict or without an acknowledgement; all are closed now."""


def load(path: Path) -> tuple[StationConfig, Recipe]:
    """The configuration and the recipe it names. Raises ``ConfigError``, ``RecipeError``."""
    config = load_config(path)
    return config, load_recipe(find_recipe(config.recipe, config.paths.recipes))


def make_camera(config: StationConfig) -> Camera:
    """The camera of the configuration, not opened. Raises ``CameraError``."""
    camera = config.camera
    if isinstance(camera, settings.PylonCamera):
        if camera.emulation is not None and importlib.util.find_spec("pypylon") is None:
            log.warning(
                "pypylon is not installed, so the simulated camera shows %s instead of Basler's emulator; "
                "pip install 'inspection-station[pylon]'",
                camera.emulation,
            )
            return simulated_camera(
                settings.SimulatedCamera(kind="simulated", mode=camera.mode), camera.emulation
            )
        from drivers.cameras.genicam.settings import PylonSettings, TriggerKind
        from drivers.cameras.pylon import PylonCamera

        kinds = {
            "software": TriggerKind.SOFTWARE,
            "hardware": TriggerKind.HARDWARE,
            "off": TriggerKind.FREE_RUNNING,
        }
        return PylonCamera(
            PylonSettings(
                serial=camera.serial,
                emulation_folder=camera.emulation,
                pixel_format=camera.pixel_format,
                width=camera.width or None,
                height=camera.height or None,
                offset_x=camera.offset_x,
                offset_y=camera.offset_y,
                exposure_us=camera.exposure_us,
                gain_db=camera.gain_db,
                line_rate_hz=camera.line_rate_hz,
                trigger=kinds[camera.trigger],
                trigger_source=camera.trigger_line,
                trigger_activation=camera.trigger_activation,
                line_trigger_source=camera.line_trigger,
                user_set=camera.user_set,
                packet_size=camera.packet_size,
                inter_packet_delay=camera.inter_packet_delay,
                buffer_count=camera.buffer_count,
            )
        )
    if isinstance(camera, settings.FolderCamera):
        from drivers.cameras.folder import FolderCamera, FolderSettings

        return FolderCamera(FolderSettings(camera.path, repeat=camera.repeat))
    pool = camera.pool
    if pool is None and config.simulation is not None and config.simulation.pool is not None:
        pool = config.simulation.pool.folder
    assert pool is not None, "the configuration has been checked for a pool"
    return simulated_camera(camera, pool)


def make_sorter(config: StationConfig) -> Sorter:
    """The sorter of the configuration, not opened. Raises ``SorterError``."""
    from drivers.sorters.handshake import HandshakeSettings
    from drivers.sorters.serial.port import SerialSettings, SerialSorter

    sorter = config.sorter
    return SerialSorter(
        SerialSettings(
            port=sorter.port,
            baud=sorter.baud,
            rtscts=sorter.rtscts,
            reopen_max_s=sorter.reopen_max_s,
            handshake=HandshakeSettings(
                heartbeat_s=sorter.heartbeat_ms / 1000,
                link_timeout_s=sorter.link_timeout_ms / 1000,
                resend_s=sorter.resend_ms / 1000,
                ack_timeout_s=sorter.ack_timeout_ms / 1000,
                max_in_hand=sorter.max_in_hand,
                name=config.station.name,
            ),
        )
    )


def make_engine(config: StationConfig, recipe: Recipe) -> Engine:
    """The engine of the recipe, loaded and proven, and fit for the recipe. Raises ``EngineError``."""
    engine = open_engine(
        config.paths.engines / recipe.engine,
        backend=config.engine.backend,
        precision=config.engine.precision,
        threads=config.engine.threads,
        chunk=config.engine.chunk,
        cache=config.paths.cache,
    )
    try:
        require_fit(engine, recipe)
    except EngineError:
        engine.close()
        raise
    return engine


def require_fit(engine: Engine, recipe: Recipe) -> None:
    """Refuse an engine whose classes or patches are not the recipe's. Raises ``EngineError``."""
    wanted = tuple(entry.name for entry in recipe.classes)
    info = engine.info
    if info.classes != wanted:
        raise EngineError(
            f"engine {info.name!r} knows the classes {', '.join(info.classes)}; recipe {recipe.name!r} names "
            f"{', '.join(wanted)}: names and order must be the same"
        )
    if (info.patch_px, info.channels) != (recipe.patch.size, recipe.surface.channels):
        raise EngineError(
            f"engine {info.name!r} takes patches of {info.patch_px} px with {info.channels} channel(s); "
            f"recipe {recipe.name!r} cuts {recipe.patch.size} px with {recipe.surface.channels}"
        )


def line_settings(config: StationConfig) -> LineSettings:
    """The line's times and sizes."""
    limits = config.limits
    longest = config.camera.reopen_backoff_s if isinstance(config.camera, settings.PylonCamera) else 5.0
    return LineSettings(
        reopen_after_s=tuple(min(wait, longest) for wait in (0.2, 0.5, 1.0, 2.0, longest)),
        mode=Mode(config.camera.mode),
        deadline_s=limits.part_deadline_ms / 1000,
        grab_timeout_s=limits.grab_timeout_ms / 1000,
        stop_timeout_s=limits.stop_timeout_ms / 1000,
        queue_capacity=limits.queue_capacity,
        engine_failures_allowed=limits.engine_failures_allowed,
        hung_after_s=limits.hung_after_ms / 1000,
    )


@contextmanager
def assemble(
    path: Path, parts: int | None, progress: Progress = lambda done, total: None
) -> Iterator[Station]:
    """A whole station from its configuration; everything is given back at the end."""
    config, recipe = load(path)
    with ExitStack() as stack:
        plant = stack.enter_context(simulated_plant(config, recipe, parts, progress))
        config.paths.journal.parent.mkdir(parents=True, exist_ok=True)
        journal = stack.enter_context(Journal(config.paths.journal, station=config.station.name))
        doubtful = journal.recover()
        prepared = Prepared(recipe, make_engine(config, recipe))
        observers = Observers(make_observers(config, plant))
        line = Line(
            camera=make_camera(config),
            sorter=make_sorter(config),
            prepared=prepared,
            journal=journal,
            settings=line_settings(config),
            observers=observers,
            is_simulated=config.is_simulated,
        )
        # The engine prepared last; those of before are closed by the line.
        stack.callback(lambda: line.prepared.engine.close())
        stack.callback(observers.close)
        yield Station(line, config, journal, observers, doubtful)
