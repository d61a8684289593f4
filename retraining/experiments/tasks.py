"""One task of an experiment: a pure function of its parameters, its folder and what it leaves there.

A task's folder is named by its name and a digest of function, parameters and needs, so a result is found
again by what made it and never by what a file happens to be called. ``result.json`` appears at once and
last; a task that has one is done. Other files in the folder (checkpoints) let an interrupted task continue.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from retraining.data.given import find_data
from retraining.errors import ExperimentError
from station.files import write_json

Json = Any
State = Literal["done", "failed", "stopped", "begun", "not run"]
_REPORT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Roots:
    """Where this machine keeps what plans only name."""

    data: Path | None
    """The folder that holds data sets and weights; None for the one that ``INSPECTION_DATA`` names."""
    recipes: Path

    def data_set(self, name: str) -> Path:
        """The path of a data set or a weights file; raises :class:`DatasetError`."""
        return find_data(name, self.data)


@dataclass(frozen=True, slots=True)
class Task:
    """One step of an experiment that needs nothing but its parameters and the tasks named."""

    name: str
    """Words with slashes between them, unique in the experiment, such as ``gan/dcgan/cr/seed-1``."""
    function: str
    """``module:function``; called with a :class:`Place` and the parameters as keywords."""
    parameters: Mapping[str, Json]
    needs: tuple[Task, ...] = ()
    work_s: float = 1.0
    """Rough seconds on the two-core reference machine, only for the estimate of the time left."""

    @property
    def digest(self) -> str:
        """SHA-256 of function, parameters and needs, hex."""
        described = [self.function, dict(self.parameters), [need.digest for need in self.needs]]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        """The name of the task's folder."""
        return f"{self.name.replace('/', '--')}.{self.digest[:10]}"


@dataclass(frozen=True, slots=True)
class TableCell:
    """A figure and its place in a table of the plan."""

    table: str
    row: str
    column: str
    value: float
    count: tuple[int, int] | None = None
    """(k, n) where the value is k of n; such figures are added over seeds and get a Wilson interval."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot; curves with the same ``plot`` share it."""

    plot: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of samples, a PNG in the task's folder."""

    file: str
    caption: str


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What the function of a task returns; it leaves larger results as files in its folder."""

    cells: tuple[TableCell, ...] = ()
    curves: tuple[Curve, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for the report."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """Whatever tasks that need this one read from it."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folders and functions that a task may use."""

    folder: Path
    needs: Mapping[str, Path]
    """Folders of the tasks needed, by their names."""
    roots: Roots
    report: Callable[[int, int, str], None]
    """Takes ``(step, steps, line)`` as often as the task likes."""

    def facts(self, name: str) -> dict[str, Json]:
        """The facts of a task that this one needs."""
        found: dict[str, Json] = read_result(self.needs[name])["facts"]
        return found


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How a task ended, as it travels back from a process or a node."""

    key: str
    state: State
    message: str = ""
    seconds: float = 0.0


def with_needs(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """The tasks and all that they need, needs first, each once. Raises :class:`ExperimentError`."""
    ordered: dict[str, Task] = {}

    def add(task: Task) -> None:
        for need in task.needs:
            add(need)
        other = ordered.setdefault(task.name, task)
        if other.digest != task.digest:
            raise ExperimentError(f"two different tasks are called {task.name}")

    for task in tasks:
        add(task)
    return tuple(ordered.values())


def state_of(task: Task, experiment: Path) -> State:
    """What the task's folder says."""
    folder = experiment / task.key
    if (folder / "result.json").is_file():
        return "done"
    if (folder / "failure.json").is_file():
        return "failed"
    return "begun" if (folder / "progress.json").is_file() else "not run"


def read_result(folder: Path) -> dict[str, Json]:
    """``result.json`` of a finished task; raises :class:`ExperimentError`."""
    return _read(folder / "result.json", "run the experiment again")


def read_failure(folder: Path) -> str:
    """Why a failed task failed, one line."""
    return str(_read(folder / "failure.json", "run the experiment again")["message"])


def read_progress(folder: Path) -> tuple[int, int, str]:
    """Step, steps and line of a running task; zeros before the first report."""
    try:
        found = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        return int(found["step"]), int(found["steps"]), str(found["line"])
    except (OSError, ValueError, KeyError):
        return 0, 0, ""


def perform(task: Task, experiment: Path, roots: Roots) -> TaskOutcome:
    """Do the task unless it is done; an error becomes an outcome and ``failure.json``.

    Two runs that meet at one task wait for each other.
    """
    from retraining.errors import TrainingStoppedError
    from retraining.runs.folder import git_state, machine, versions

    folder = experiment / task.key
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if (folder / "result.json").is_file():
            return TaskOutcome(task.key, "done")
        (folder / "failure.json").unlink(missing_ok=True)
        progress = _Progress(folder)
        around = {"machine": machine(), "versions": versions(), "git": git_state()}
        try:
            module, _, name = task.function.partition(":")
            function = getattr(importlib.import_module(module), name)
            needs = {need.name: experiment / need.key for need in task.needs}
            result: TaskResult = function(Place(folder, needs, roots, progress.report), **task.parameters)
        except (TrainingStoppedError, KeyboardInterrupt) as stopped:
            progress.keep()
            return TaskOutcome(task.key, "stopped", str(stopped), progress.seconds)
        except Exception as error:  # counted: it becomes failure.json and stands in the summary and report
            progress.keep()
            message = f"{type(error).__name__}: {error}"
            failure = {"task": task.name, "message": message, "traceback": traceback.format_exc()}
            write_json(folder / "failure.json", failure)
            return TaskOutcome(task.key, "failed", message, progress.seconds)
        described = {
            "task": task.name,
            "function": task.function,
            "parameters": dict(task.parameters),
            "needs": [need.key for need in task.needs],
            "seconds": round(progress.seconds, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "surroundings": around,
            **asdict(result),
        }
        write_json(folder / "result.json", described)
        return TaskOutcome(task.key, "done", "", progress.seconds)


class _Progress:
    """``progress.json``: the last line, and the seconds that interrupted tries took."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "progress.json"
        self._began = time.monotonic()
        self._reported_at = 0.0
        self._last = (0, 0, "")
        try:
            self._before = float(json.loads(self._path.read_text(encoding="utf-8"))["seconds"])
        except (OSError, ValueError, KeyError):
            self._before = 0.0
        self.keep()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def report(self, step: int, steps: int, line: str) -> None:
        self._last = (step, steps, line)
        if time.monotonic() - self._reported_at >= _REPORT_EVERY_S:
            self.keep()

    def keep(self) -> None:
        self._reported_at = time.monotonic()
        step, steps, line = self._last
        write_json(self._path, {"step": step, "steps": steps, "line": line, "seconds": self.seconds})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel releases it when the process dies."""
    with (folder / "lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path, remedy: str) -> dict[str, Json]:
    try:
        content: dict[str, Json] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ExperimentError(f"{path} cannot be read ({problem}); {remedy}") from None
    return content
