"""What a process beside the line opens, in plain words that go to it as JSON.

Both jobs compute on one thread, one patch at a time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from station.engines.adapted import recipe_by
from station.engines.choose import open_chosen
from station.engines.contents import read_contents
from station.engines.folder import load_manifest
from station.engines.interface import Engine, EngineError, EngineInfo, EngineOptions
from station.engines.pretrained import open_pretrained
from station.recipe import Recipe, check_recipe


@dataclass(frozen=True, slots=True)
class Opened:
    """A network, proven on this machine."""

    engine: Engine
    recipe: Recipe | None = None
    """By which it judges; None where nothing is judged by it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is open, as the process says it."""

    info: EngineInfo
    recipe: str
    """The text of the recipe by which the network judges; empty where nothing is judged by it."""


@dataclass(frozen=True, slots=True)
class JudgingEngine:
    """An engine that judges parts by a recipe, on the back end that is asked for."""

    folder: str
    name: str
    recipe: str
    """The recipe's name."""
    recipe_text: str
    backend: str
    precision: str
    cache: str | None
    """Folder for what is built or measured on this machine."""
    home_as: str | None = None
    """The digest under which it came home, if it brings numbers of its own; None: it judges by the recipe as
    it stands."""

    @classmethod
    def of(
        cls,
        folder: Path,
        name: str,
        recipe: Recipe,
        backend: str,
        precision: str,
        cache: Path | None,
        home_as: str | None = None,
    ) -> Self:
        """The job in plain words."""
        where = None if cache is None else str(cache.resolve())
        return cls(str(folder.resolve()), name, recipe.name, recipe.text, backend, precision, where, home_as)

    def open(self) -> Opened:
        """Open and prove it. Raises ``EngineError``, ``RecipeError``."""
        folder, recipe = Path(self.folder), recipe_of(self.recipe, self.recipe_text)
        manifest = load_manifest(folder, self.name)
        if self.home_as is not None:
            recipe = recipe_by(recipe, manifest.classes, read_contents(folder).rules, self.home_as)
        options = EngineOptions(threads=1, chunk=1, cache=None if self.cache is None else Path(self.cache))
        return Opened(open_chosen(manifest, self.backend, self.precision, options, recipe)[0], recipe)


@dataclass(frozen=True, slots=True)
class SecondNetwork:
    """The network of pretrained features beside the engine that judges."""

    folder: str
    name: str
    judges: str
    """SHA-256 of the model file that judges, which must lie in the same folder."""

    @classmethod
    def of(cls, folder: Path, engine: EngineInfo) -> Self:
        """The job in plain words."""
        return cls(str(folder.resolve()), engine.name, engine.digest)

    def open(self) -> Opened | None:
        """Open and prove it; None where the folder has none. Raises ``EngineError``."""
        manifest = load_manifest(Path(self.folder), self.name)
        if self.judges not in manifest.digests.values():
            raise EngineError(
                f"the folder of engine {self.name} is not that of the engine which judges: it was changed; "
                "activate the engine again"
            )
        return None if manifest.pretrained is None else Opened(open_pretrained(manifest))


def recipe_of(name: str, text: str) -> Recipe:
    """The recipe of this text. Raises ``RecipeError``."""
    return check_recipe(Path(f"{name}.yaml"), text.encode())


_KINDS: dict[str, type[JudgingEngine] | type[SecondNetwork]] = {
    kind.__name__: kind for kind in (JudgingEngine, SecondNetwork)
}


def said_of(opened: Opened) -> bytes:
    """:class:`Said` as the station receives it."""
    return json.dumps(
        asdict(Said(opened.engine.info, "" if opened.recipe is None else opened.recipe.text))
    ).encode()


def to_json(job: JudgingEngine | SecondNetwork) -> bytes:
    """The job as the process receives it."""
    return json.dumps([type(job).__name__, asdict(job)]).encode()


def from_json(text: bytes) -> JudgingEngine | SecondNetwork:
    """The job that :func:`to_json` has written."""
    kind, values = json.loads(text)
    return _KINDS[kind](**values)
