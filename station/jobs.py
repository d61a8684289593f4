"""Job changes: the cell asks for a recipe, and the station changes over to it as by ``station prepare``.

The sorter hands a request over when no part is in hand any more, and accepts no trigger until it is answered
(``drivers/sorters/job_change.py``). The recipe's engine is proven meanwhile, in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from drivers import heartbeat
from drivers.errors import InspectionError
from drivers.sorters.interface import JobChange, Sorter
from station.line import Line
from station.recipe import split_size

log = logging.getLogger(__name__)

_POLL_S = 0.1
_LONGEST_S = 600.0
"""What loading and proving an engine may take, s; later the watcher says where the thread is."""


class NoRecipeNameError(InspectionError):
    """The cell asks for something that is no recipe's name."""


class JobChanges:
    """Carries out what the cell asks for, one change at a time, until it is left."""

    def __init__(self, sorter: Sorter, line: Line, prepare: Callable[[str], None]) -> None:
        """``prepare(recipe)`` changes over, or raises an ``InspectionError`` and changes nothing."""
        self._sorter, self._line, self._prepare = sorter, line, prepare
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="jobs", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def _serve(self) -> None:
        heartbeat.begin("jobs", vital=False)
        while not self._stop.is_set():
            heartbeat.beat()
            job = self._sorter.wait_job(_POLL_S)
            if job is not None:
                self._carry_out(job)
        heartbeat.end()

    def _carry_out(self, job: JobChange) -> None:
        log.info("job change: the cell asks for %s", job.recipe)
        self._line.unprepare(f"changing over to {job.recipe}, as the cell asks")
        heartbeat.beat(_LONGEST_S)
        problem = ""
        try:
            _require_name(job.recipe)
            self._prepare(job.recipe)
        except InspectionError as error:
            problem = f"{job.recipe} cannot be prepared: {error}"
        except Exception as error:
            log.exception("job change to %s", job.recipe)
            problem = f"{job.recipe} cannot be prepared, by an error of this software: {error!r}"
        if problem:
            log.error("job change: %s", problem)
            self._line.unprepare(f"{problem}; let the cell ask for another recipe, or `station prepare`")
        self._sorter.job_done(job, problem)


def _require_name(recipe: str) -> None:
    """A person may name a file; a cell, and whoever else is in its network, only what is in the folder."""
    name = split_size(recipe)[0]
    if Path(name).name != name or Path(name).suffix in (".yaml", ".yml"):
        raise NoRecipeNameError("it is a path; let the cell name a recipe of `paths.recipes`, without .yaml")
