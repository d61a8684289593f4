"""From a configuration to a station: each device made from its section, and the whole put together.

The sections of camera and sorter are their drivers' own settings; the registries make the devices of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from drivers import heartbeat
from drivers.cameras import FAMILIES
from drivers.cameras.interface import Camera
from drivers.lights import CONTROLLERS
from drivers.sorters import PROTOCOLS
from drivers.sorters.interface import Sorter
from station.config import ConfigError, StationConfig, load_config
from station.control.status import new_engines
from station.disk_budget import disk_uses, too_large_for_the_disk
from station.engine_keeper import EngineKeeper, note_steps
from station.engines.store import Engines
from station.jobs import JobChanges
from station.journal import Journal, JournalSettings
from station.journal.reading import JournalReader
from station.journal.selection import Selection
from station.lighting import Lighting
from station.line import Line
from station.line_values import LineSettings
from station.observers import Observers, ObserverSetup, make_observers
from station.observers.fleet import ManifestObserver
from station.observers.telemetry import TelemetryObserver
from station.preparing import first_that_judges, note_refused, store_of
from station.recipe import Recipe, prepared_recipe, split_size
from station.running import Station, lamps_missing, width_missing
from station.simulated_plant import Progress, camera_section, simulated_plant

JOB_WAITS_S = 300.0
"""How long a job change waits for the end of a changeover that a person has begun, s."""


def load(path: Path) -> tuple[StationConfig, Recipe]:
    """The configuration and the recipe it names. Raises ``ConfigError``, ``RecipeError``."""
    config = load_config(path)
    recipe = prepared_recipe(config.recipe, config.paths.recipes)
    mistakes = too_large_for_the_disk(disk_uses(config), path.read_text(encoding="utf-8"))
    mistakes += lamps_missing(config, recipe)
    if width := width_missing(config, recipe, config.recipe):
        mistakes.append(width)
    if mistakes:
        raise ConfigError(path, *mistakes)
    return config, recipe


def make_camera(config: StationConfig) -> Camera:
    """The camera of the configuration, not opened. Raises ``CameraError``."""
    return FAMILIES.make(camera_section(config))


def make_lighting(config: StationConfig) -> Lighting | None:
    """The lamps of the configuration, not opened; None where it names no light controller."""
    return None if config.lights is None else Lighting(CONTROLLERS.make(config.lights))


def make_sorter(config: StationConfig) -> Sorter:
    """The sorter of the configuration, not opened. Raises ``SorterError``."""
    sorter = PROTOCOLS.make(config.sorter, config.station.name)
    sorter.is_simulated = config.is_simulated
    return sorter


def line_settings(config: StationConfig) -> LineSettings:
    """The line's times and sizes."""
    limits = config.limits
    longest = config.camera.reopen_backoff_s
    return LineSettings(
        reopen_after_s=tuple(min(wait, longest) for wait in (0.2, 0.5, 1.0, 2.0, longest)),
        mode=config.camera.mode,
        deadline_s=limits.part_deadline_ms / 1000,
        grab_timeout_s=limits.grab_timeout_ms / 1000,
        in_place_s=limits.in_place_ms / 1000,
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
    heartbeat.hung_after(config.limits.hung_after_ms / 1000)
    with ExitStack() as stack:
        plant = stack.enter_context(simulated_plant(config, recipe, parts, progress))
        config.paths.journal.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8")
        journal = stack.enter_context(
            Journal(
                config.paths.journal,
                station=config.station.name,
                configuration=text,
                settings=JournalSettings(**config.journal.model_dump()),
            )
        )
        doubtful = journal.recover()
        _note_configuration(journal, text)
        store = store_of(config, recipe.engine)
        if store.is_there:
            store.change(Engines.started)
        camera, sorter = make_camera(config), make_sorter(config)  # before the engine: some load meanwhile
        found = first_that_judges(config, recipe, width_px=split_size(config.recipe)[1])
        prepared = found.prepared
        stack.callback(prepared.engine.close)
        note_refused(store, found.refused)
        note_steps(store, journal)
        made = make_observers(ObserverSetup(config, plant, journal))
        observers = stack.enter_context(
            Observers(made, report_loss=lambda values: journal.write_event("degraded", values))
        )
        sorter.use(camera)
        line = Line(
            camera=camera,
            sorter=sorter,
            prepared=prepared,
            journal=journal,
            settings=line_settings(config),
            observers=observers,
            lighting=make_lighting(config),
            is_simulated=config.is_simulated,
        )
        # The engine that was prepared last; those between are closed by the line.
        stack.callback(lambda: line.prepared.engine.close())
        station = Station(line, config, journal, observers, doubtful)
        telemetry = observers.find(TelemetryObserver)
        if telemetry is not None:
            telemetry.watch(line.status, partial(new_engines, station))
        manifest = observers.find(ManifestObserver)
        if manifest is not None:
            manifest.watch(station)
        # One that a person has begun before ends before it: the cell's word comes last.
        changes = partial(station.prepare, wait_s=JOB_WAITS_S)
        stack.enter_context(JobChanges(sorter, line, changes))
        stack.enter_context(EngineKeeper(station, path))
        yield station


def _note_configuration(journal: Journal, text: str) -> None:
    """Write into the chain that the configuration is not that of the last record. Raises ``JournalError``."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    with JournalReader(journal.path) as reader:
        last = next(reader.records(Selection(newest_first=True, limit=1), scores=False), None)
    if last is not None and last.config_digest not in (None, digest):
        journal.write_event("configuration", {"digest": digest, "before": last.config_digest})
