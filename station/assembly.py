"""From a configuration to a station: each device made from its section, and the whole put together.

The sections of camera and sorter are their drivers' own settings; the registries make the devices of them.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from drivers import heartbeat
from drivers.cameras import FAMILIES
from drivers.cameras.interface import Camera
from drivers.cameras.settings import Mode
from drivers.errors import InspectionError
from drivers.sorters import PROTOCOLS
from drivers.sorters.interface import Sorter
from station.config import ConfigError, StationConfig, load_config
from station.control.status import new_engines
from station.disk_budget import disk_uses, too_large_for_the_disk
from station.engine_keeper import EngineKeeper, Keeping, note_steps
from station.engines.interface import ChangeoverUnderWayError, EngineError
from station.engines.store import FACTORY, Engines, Store
from station.jobs import JobChanges
from station.journal import Journal, JournalSettings, PartRecord
from station.journal.reading import JournalReader
from station.journal.selection import Selection
from station.line import Line
from station.line_values import LineSettings
from station.observers import Observers, ObserverSetup, make_observers
from station.observers.fleet import ManifestObserver
from station.observers.telemetry import TelemetryObserver
from station.prepared import Prepared
from station.preparing import first_that_judges, make_prepared, note_refused, store_of, without_refused
from station.recipe import Recipe, RecipeError, prepared_recipe, split_size
from station.simulated_plant import Progress, camera_section, simulated_plant
from station.strict_yaml import Mistake

JOB_WAITS_S = 300.0
"""How long a job change waits for the end of a changeover that a person has begun, s."""


@dataclass(frozen=True, slots=True)
class Station:
    """A line put together, and how it is changed over while it runs."""

    line: Line
    config: StationConfig
    journal: Journal
    observers: Observers
    doubtful: list[PartRecord]
    """Parts that a crash left without a verdict or without an acknowledgement; all are closed now."""
    keeping: Keeping = field(default_factory=Keeping)
    """What is to be said of engines that came home."""
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, recipe: str, *, wait_s: float = 0.0) -> None:
        """Change over to ``NAME`` or ``NAME@WIDTH`` and its engine, which is proven first; the line goes on.

        ``wait_s``: how long to wait for the end of another changeover. The next start prepares the
        configuration's recipe again. Raises ``InspectionError``, and nothing is changed.
        """
        chosen = prepared_recipe(recipe, self.config.paths.recipes)
        mistake = _width_missing(self.config, chosen, recipe)
        if mistake is not None:
            raise RecipeError(self.config.paths.recipes, mistake)
        self._change_over(chosen, chosen.engine, split_size(recipe)[1], wait_s)

    def activate(self, engine: str) -> None:
        """Change over to another engine for the same recipe, by its folder's name; see :meth:`prepare`."""
        if why := self.line.unprepared:
            raise EngineError(f"no recipe is prepared ({why}): `station prepare` the parts' recipe instead")
        now = self.line.prepared
        self._change_over(now.recipe_as_written, engine, now.width_px)

    def activate_installed(self, digest: str, *, why: str, by: str) -> None:
        """Let another engine of the prepared name judge from the next part on, in trial.

        ``digest``: the first digits of an engine of the store, or ``factory``. It is proven before; if it
        fails, it is bad, and nothing else is changed. Raises ``InspectionError``.
        """
        with self._alone():
            now, store = self._prepared_now()
            wanted = store.find(digest)
            after_record, before = self.journal.last_record, now.engine_digest
            change = partial(
                Engines.activated,
                digest=wanted.digest, why=why, by=by, after_record=after_record, before=before,
            )  # fmt: skip
            change(store.engines())  # whether it may, before it is loaded
            try:
                prepared = make_prepared(self.config, now.recipe_as_written, wanted, now.width_px)
            except EngineError as error:
                if wanted.digest != FACTORY:
                    bad = partial(Engines.failed, digest=wanted.digest, why=str(error), by="station")
                    store.change(bad)
                    note_steps(store, self.journal)
                raise
            self._take_over(prepared, store, change)

    def roll_back(self, *, why: str, by: str) -> None:
        """The engine that judges is bad: the one before it judges from the next part on.

        Where that one does not prove itself any more, the factory engine; where none does, no part is taken
        until a person has prepared the recipe. Raises ``InspectionError``.
        """
        with self._alone():
            now, store = self._prepared_now()
            store.change(lambda known: known.rolled_back(why, by=by))
            try:  # from here on, the engine that judges is bad
                found = first_that_judges(
                    self.config, now.recipe_as_written, now.engine.info.name, now.width_px
                )
                self._take_over(found.prepared, store, partial(without_refused, refused=found.refused))
            except Exception as error:
                self.line.unprepare(f"{error}; `station prepare` the recipe when this is put right")
                with suppress(InspectionError):  # later, by the keeper
                    note_steps(store, self.journal)
                raise

    def _prepared_now(self) -> tuple[Prepared, Store]:
        if why := self.line.unprepared:
            raise EngineError(f"no recipe is prepared ({why}): `station prepare` the parts' recipe first")
        now = self.line.prepared
        return now, store_of(self.config, now.engine.info.name)

    def _take_over(self, prepared: Prepared, store: Store, change: Callable[[Engines], Engines]) -> None:
        """Change the store, then the journal, then the line; after a kill, the next start goes on."""
        try:
            store.change(change)
            note_steps(store, self.journal)
            self.line.prepare(prepared)
        except BaseException:
            prepared.engine.close()
            raise

    def _change_over(self, recipe: Recipe, engine: str, width_px: int | None, wait_s: float = 0.0) -> None:
        with self._alone(wait_s):
            found = first_that_judges(self.config, recipe, engine, width_px)
            store = store_of(self.config, engine)
            try:
                note_refused(store, found.refused)
                note_steps(store, self.journal)
                self.line.prepare(found.prepared)
            except BaseException:
                found.prepared.engine.close()
                raise

    @contextmanager
    def _alone(self, wait_s: float = 0.0) -> Iterator[None]:
        """One changeover at a time. Raises ``EngineError``."""
        if not self._changing.acquire(timeout=wait_s):
            raise ChangeoverUnderWayError(
                "another changeover is under way: wait until it is done, then try again"
            )
        try:
            yield
        finally:
            self._changing.release()


def load(path: Path) -> tuple[StationConfig, Recipe]:
    """The configuration and the recipe it names. Raises ``ConfigError``, ``RecipeError``."""
    config = load_config(path)
    recipe = prepared_recipe(config.recipe, config.paths.recipes)
    mistakes = too_large_for_the_disk(disk_uses(config), path.read_text(encoding="utf-8"))
    if width := _width_missing(config, recipe, config.recipe):
        mistakes.append(width)
    if mistakes:
        raise ConfigError(path, *mistakes)
    return config, recipe


def _width_missing(config: StationConfig, recipe: Recipe, named: str) -> Mistake | None:
    """Why each part would be a fault of a free-running station; None if the width of its parts is known."""
    widths = recipe.product.widths_px
    free_running = config.camera.mode is Mode.FREE_RUNNING
    if not free_running or len(widths) == 1 or split_size(named)[1] is not None:
        return None
    known = ", ".join(map(str, widths))
    problem = f"{named} has the widths {known}, and no cell says which one a free-running station sees"
    return Mistake(0, "recipe", problem, f"name one, as in {recipe.name}@{widths[0]}")


def make_camera(config: StationConfig) -> Camera:
    """The camera of the configuration, not opened. Raises ``CameraError``."""
    return FAMILIES.make(camera_section(config))


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
