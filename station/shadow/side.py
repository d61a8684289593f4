"""An engine that judges beside another one, and the recipe by which it judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from station.decision import Verdict, decide
from station.engines.adapted import recipe_by, recipe_for
from station.engines.choose import open_chosen
from station.engines.folder import MANIFEST, load_manifest
from station.engines.interface import Engine, EngineError, EngineOptions, Scores
from station.engines.store import Installed, Store
from station.recipe import Recipe

if TYPE_CHECKING:
    from station.config import StationConfig

ACTIVE, PREVIOUS, CANDIDATE = "active", "previous", "candidate"
"""Roles by which an engine of the store can be named."""


@dataclass(frozen=True, slots=True)
class Side:
    """One engine, open and proven."""

    label: str
    """How messages call it."""
    engine: Engine
    recipe: Recipe
    """The recipe with the engine's own classes and numbers."""

    def decide(self, scores: Scores) -> Verdict:
        """Its verdict from its scores of a part."""
        return decide(scores.probabilities, self.recipe, scores.novelty)

    def close(self) -> None:
        """Give the engine back."""
        self.engine.close()


def open_installed(
    config: StationConfig, recipe: Recipe, installed: Installed, options: EngineOptions, label: str
) -> Side:
    """An engine of the store, on the back end that the configuration wants. Raises ``EngineError``."""
    manifest, own = load_manifest(installed.folder, installed.name), recipe_for(recipe, installed)
    return Side(
        label, open_chosen(manifest, config.engine.backend, config.engine.precision, options, own)[0], own
    )


def open_named(config: StationConfig, recipe: Recipe, name: str) -> Side:
    """An engine by its role, by the first digits of its digest, or by its folder, proven here.

    Raises ``EngineError``.
    """
    wanted = config.engine
    options = EngineOptions(threads=wanted.threads, chunk=wanted.chunk, cache=config.paths.cache)
    if (Path(name) / MANIFEST).is_file():
        manifest = load_manifest(Path(name))
        own = recipe_by(recipe, manifest.classes, manifest.rules, name)
        return Side(name, open_chosen(manifest, wanted.backend, wanted.precision, options, own)[0], own)
    installed = _in_store(Store(config.paths.engines, recipe.engine), name)
    short = installed.digest[:12]
    return open_installed(
        config, recipe, installed, options, short if short.startswith(name) else f"{name} ({short})"
    )


def _in_store(store: Store, name: str) -> Installed:
    if name == ACTIVE:
        return store.active()
    if name == PREVIOUS:
        return store.find(store.engines().previous)
    if name != CANDIDATE:
        return store.find(name)
    found = store.candidate()
    if found is None:
        raise EngineError(
            f"no engine of {store.name} is a candidate: name a digest of `station engines list`, or a folder"
        )
    return found
