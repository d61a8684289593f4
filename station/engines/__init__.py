"""Inference back ends behind one small interface: which are here, which is fastest, which is proven.

Nothing of an SDK is imported before the back end that needs it is asked for.
"""

from __future__ import annotations

from pathlib import Path

from station.engines.choose import (
    BACKENDS,
    PRECISIONS,
    Choice,
    available,
    default_cache,
    open_chosen,
    runnable,
)
from station.engines.folder import EngineManifest
from station.engines.interface import Engine, EngineOptions, Scores
from station.recipe import Recipe

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Choice",
    "Scores",
    "available",
    "default_cache",
    "open_engine",
    "runnable",
]


def open_engine(
    folder: Path | EngineManifest,
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 2,
    chunk: int = 0,
    cache: Path | None = None,
    recipe: Recipe | None = None,
) -> Engine:
    """Load the engine in ``folder``, proven on this machine, by the named or the fastest back end.

    ``folder``: or what was read from it. With ``recipe``, which everything that decides on parts gives, it
    must have been proven on the patches that the recipe cuts and is proven again with the recipe's decision
    rules. What was measured and proven is kept in ``cache`` (the user's cache folder when None), so that only
    the first start takes its time; every start reproduces a golden part of every class. ``chunk`` is the
    number of patches computed at a time, 0 chooses. Raises :class:`EngineError`.
    """
    options = EngineOptions(threads=threads, chunk=chunk, cache=cache or default_cache())
    engine, _ = open_chosen(folder, backend, precision, options, recipe)
    return engine
