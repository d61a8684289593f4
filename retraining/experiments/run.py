"""Run the tasks of an experiment: skip those that are done, continue those that were begun, list failures."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any

from retraining.errors import ExperimentError
from retraining.experiments.pools import Pool
from retraining.experiments.tasks import (
    Roots,
    Task,
    TaskOutcome,
    read_progress,
    state_of,
    with_needs,
)

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Running:
    """A running task."""

    task: Task
    step: int
    steps: int
    line: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a run, reported about twice a second."""

    total: int
    done: int
    failed: int
    running: tuple[Running, ...]
    seconds_left: float
    """From what tasks have taken so far, compared with what was expected; NaN until the first one has
    ended."""
    news: str = ""
    """A sentence about a task that has just ended."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended."""

    total: int
    skipped: int
    """Done before."""
    done: int
    failed: tuple[tuple[Task, str], ...]
    blocked: tuple[Task, ...]
    """Not run because a task that they need failed."""
    stopped: bool
    """Whether the run was stopped before all tasks were done."""


def chosen(tasks: tuple[Task, ...], only: str | None) -> tuple[Task, ...]:
    """Tasks whose name matches ``only``, and tasks that they need. Raises :class:`ExperimentError`."""
    if only is None:
        return with_needs(tasks)
    fitting = tuple(task for task in with_needs(tasks) if fnmatchcase(task.name, only))
    if not fitting:
        raise ExperimentError(f"no task matches {only!r}; --list shows all tasks")
    return with_needs(fitting)


def run(
    tasks: tuple[Task, ...],
    experiment: Path,
    roots: Roots,
    pool: Pool,
    report: Callable[[Standing], None] = lambda standing: None,
) -> Summary:
    """Do ``tasks`` (as :func:`chosen` orders them) in ``experiment``, a folder.

    SIGTERM and SIGINT let the running tasks write their checkpoints, then end the run.
    """
    waiting = [task for task in tasks if state_of(task, experiment) != "done"]
    skipped = len(tasks) - len(waiting)
    by_key = {task.key: task for task in tasks}
    done = {task.name for task in tasks} - {task.name for task in waiting}
    failed: dict[str, str] = {}
    blocked: list[Task] = []
    running: dict[str, Task] = {}
    spent_s = expected_s = 0.0
    interrupted = False

    def standing(news: str = "") -> Standing:
        under_way = tuple(Running(t, *read_progress(experiment / t.key)) for t in running.values())
        left = sum(task.work_s for task in waiting)
        left += sum(r.task.work_s * (1 - r.step / r.steps if r.steps else 1) for r in under_way)
        pace = spent_s / expected_s if expected_s else float("nan")
        return Standing(len(tasks), len(done), len(failed), under_way, left * pace / pool.slots, news)

    def settle(outcome: TaskOutcome) -> str:
        nonlocal spent_s, expected_s, interrupted
        task = running.pop(outcome.key)
        if outcome.state == "done":
            done.add(task.name)
            spent_s, expected_s = spent_s + outcome.seconds, expected_s + task.work_s
            return ""
        if outcome.state == "stopped":
            interrupted = True
            return f"{task.name} was stopped"
        failed[task.name] = outcome.message
        return f"{task.name} failed: {outcome.message}"

    with _stop_asked() as stop_asked:
        report(standing())
        asked_to_stop = False
        while waiting or running:
            interrupted = interrupted or stop_asked()
            if interrupted and not asked_to_stop:
                pool.stop()
                asked_to_stop = True
            lost = {*failed, *(task.name for task in blocked)}
            for task in tuple(waiting):
                needs = {need.name for need in task.needs}
                if needs & lost:
                    waiting.remove(task)
                    blocked.append(task)
                    lost.add(task.name)
                elif needs <= done and len(running) < pool.slots and not interrupted:
                    waiting.remove(task)
                    running[task.key] = task
                    pool.start(task, experiment, roots)
            if not running and interrupted:
                break
            for outcome in pool.ended(POLL_S):
                report(standing(settle(outcome)))
            report(standing())
    return Summary(
        total=len(tasks),
        skipped=skipped,
        done=len(done) - skipped,
        failed=tuple((task, failed[task.name]) for task in by_key.values() if task.name in failed),
        blocked=tuple(blocked),
        stopped=interrupted,
    )


@contextmanager
def _stop_asked() -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM and SIGINT; a second one ends the process at once, as usual. Inert in other threads."""
    before: dict[signal.Signals, Any] = {}
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        asked = True

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, remember)
    except ValueError:
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
