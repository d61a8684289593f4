"""A station at work: a line put together, and how recipe and engine change while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from drivers.cameras.settings import Mode
from drivers.errors import InspectionError
from station.config import StationConfig
from station.engine_keeper import Keeping, note_steps
from station.engines.interface import ChangeoverUnderWayError, EngineError
from station.engines.store import FACTORY, Engines, Store
from station.journal import Journal, JournalError, PartRecord
from station.line import Line
from station.observers import Observers
from station.prepared import Prepared
from station.preparing import first_that_judges, make_prepared, note_refused, store_of, without_refused
from station.recipe import Recipe, RecipeError, prepared_recipe, split_size
from station.strict_yaml import Mistake


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
        mistakes = lamps_missing(self.config, chosen)
        if width := width_missing(self.config, chosen, recipe):
            mistakes.append(width)
        if mistakes:
            raise RecipeError(self.config.paths.recipes, *mistakes)
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
            stood = store.engines()
            change(stood)  # whether it may, before it is loaded
            try:
                prepared = make_prepared(self.config, now.recipe_as_written, wanted, now.width_px)
            except EngineError as error:
                if wanted.digest != FACTORY:
                    bad = partial(Engines.failed, digest=wanted.digest, why=str(error), by="station")
                    store.change(bad)
                    note_steps(store, self.journal)
                raise
            try:
                self._take_over(prepared, store, change)
            except BaseException as error:
                self._take_back(store, stood, f"engine {wanted.digest[:12]} was not activated: {error}")
                raise

    def roll_back(self, *, why: str, by: str) -> None:
        """The engine that judges is bad: the one before it judges from the next part on.

        Where that one does not prove itself any more, the factory engine; where none does, no part is taken
        until a person has prepared the recipe. Raises ``InspectionError``.
        """
        with self._alone():
            now, store = self._prepared_now()
            store.change(lambda known: known.rolled_back(why, by=by))
            self._replace_bad(now, store)

    def follow_store(self) -> None:
        """The engine that judges is bad by now: the store's first one judges from the next part on.

        Where none proves itself, no part is taken, as after :meth:`roll_back`. Raises ``InspectionError``.
        """
        with self._alone():
            self._replace_bad(*self._prepared_now())

    def _replace_bad(self, now: Prepared, store: Store) -> None:
        try:
            found = first_that_judges(self.config, now.recipe_as_written, now.engine.info.name, now.width_px)
            self._take_over(found.prepared, store, partial(without_refused, refused=found.refused))
        except Exception as error:
            self.line.unprepare(f"{error}; `station prepare` the recipe when this is put right")
            with suppress(InspectionError):  # later, by the keeper
                note_steps(store, self.journal)
            raise

    def _take_back(self, store: Store, stood: Engines, why: str) -> None:
        """Let the store say again what judges; where it cannot, no further part is taken."""
        try:
            store.change(lambda known: known.taken_back(stood, why, by="station"))
            with suppress(JournalError):  # later, by the keeper
                note_steps(store, self.journal)
        except InspectionError as error:
            self.line.unprepare(
                f"{why}, and the store of engines still says so ({error}); `station prepare` the recipe when "
                "this is put right"
            )

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


def lamps_missing(config: StationConfig, recipe: Recipe) -> list[Mistake]:
    """Why the lamps of a recipe cannot be lit on this station; empty if they can, or the recipe has none."""
    if recipe.stereo is None:
        return []
    found = []
    if config.camera.mode is Mode.FREE_RUNNING:
        problem = f"is `free-running`, and the recipe {recipe.name} lights a lamp before each exposure"
        found.append(Mistake(0, "camera.mode", problem, "write `mode: cell`"))
    if config.camera.exposed_by_wire:
        problem = f"is `hardware`, and the recipe {recipe.name} lights a lamp before each exposure"
        found.append(Mistake(0, "camera.trigger", problem, "write `trigger: software`"))
    if config.lights is None:
        problem = f"is missing, and the recipe {recipe.name} lights a part by {recipe.frames} lamps"
        remedy = "write the section of the light controller (docs/lights.md)"
        return [*found, Mistake(0, "lights", problem, remedy)]
    lights = config.lights
    for number, lamp in enumerate(recipe.stereo.lamps, start=1):
        which = f"and lamp {number} of the recipe {recipe.name} is"
        if lamp.output > lights.channels:
            problem = f"is {lights.channels}, {which} at output {lamp.output}"
            found.append(Mistake(0, "lights.channels", problem, "correct one of the two"))
        if lamp.percent > lights.max_percent:
            problem = f"is {lights.max_percent:g}, {which} lit with {lamp.percent:g} %"
            found.append(Mistake(0, "lights.max_percent", problem, "correct one of the two"))
    return found


def width_missing(config: StationConfig, recipe: Recipe, named: str) -> Mistake | None:
    """Why each part would be a fault of a free-running station; None if the width of its parts is known."""
    widths = recipe.product.widths_px
    free_running = config.camera.mode is Mode.FREE_RUNNING
    if not free_running or len(widths) == 1 or split_size(named)[1] is not None:
        return None
    known = ", ".join(map(str, widths))
    problem = f"{named} has the widths {known}, and no cell says which one a free-running station sees"
    return Mistake(0, "recipe", problem, f"name one, as in {recipe.name}@{widths[0]}")
