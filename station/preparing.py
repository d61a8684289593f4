"""From the name of an engine to what parts are judged with: the engine that stands first and proves itself.

The store says which engines of a name may judge, in order: active, previous, factory. The first one that
loads here, fits the recipe and reproduces its golden parts is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from station.challenge import Challenge
from station.config import StationConfig
from station.engines.adapted import recipe_for
from station.engines.canary import Canary
from station.engines.choose import open_chosen
from station.engines.folder import load_manifest
from station.engines.interface import EngineError, EngineOptions
from station.engines.store import FACTORY, Engines, Installed, Store
from station.prepared import Prepared
from station.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Refused:
    """An engine that should have judged, and why it cannot."""

    engine: Installed
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """The engine that judges, and those before it that cannot."""

    prepared: Prepared
    refused: tuple[Refused, ...]


def store_of(config: StationConfig, name: str) -> Store:
    """The store of an engine's name."""
    return Store(config.paths.engines, name)


def make_prepared(
    config: StationConfig, recipe: Recipe, engine: Installed, width_px: int | None = None
) -> Prepared:
    """A recipe with one engine: loaded, proven, fit for it, and with its canary.

    ``recipe``: as it is written. ``width_px``: the width of all parts, where the operator has set it. Raises
    ``EngineError``.
    """
    manifest = load_manifest(engine.folder, engine.name)
    judged_by = recipe_for(recipe, engine)
    chosen = config.engine
    options = EngineOptions(threads=chosen.threads, chunk=chosen.chunk, cache=config.paths.cache)
    opened, _ = open_chosen(manifest, chosen.backend, chosen.precision, options, judged_by)
    try:
        canary = Canary(opened, manifest, judged_by, chosen.canary_s)
        return Prepared(
            judged_by, opened, width_px=width_px, canary=canary, challenge=Challenge(judged_by),
            installed=engine, written=recipe,
        )  # fmt: skip
    except BaseException:
        opened.close()
        raise


def first_that_judges(
    config: StationConfig, recipe: Recipe, name: str | None = None, width_px: int | None = None
) -> Found:
    """The first engine of a name, the recipe's without one, that can judge here. Changes nothing.

    Raises ``EngineError`` where none can, with the reason of each.
    """
    refused: list[Refused] = []
    for engine in store_of(config, name or recipe.engine).in_order():
        try:
            return Found(make_prepared(config, recipe, engine, width_px), tuple(refused))
        except EngineError as error:
            if engine.entry is None and not refused:
                raise  # as where no engine ever came home
            refused.append(Refused(engine, str(error)))
    reasons = "\n  ".join(f"{one.engine.digest[:12]}: {one.why}" for one in refused)
    raise EngineError(f"no engine of {name or recipe.engine} can judge parts here:\n  {reasons}")


def without_refused(known: Engines, refused: tuple[Refused, ...]) -> Engines:
    """Engines that cannot judge where a later one can are bad."""
    for one in refused:
        if one.engine.digest != FACTORY:
            known = known.failed(one.engine.digest, one.why, by="station")
    return known


def note_refused(store: Store, refused: tuple[Refused, ...]) -> None:
    """Write :func:`without_refused` into the store. Raises ``StoreError``."""
    if any(one.engine.digest != FACTORY for one in refused):
        store.change(lambda known: without_refused(known, refused))
