"""A toy experiment: tasks that count, fail or wait, in a module that worker processes can import."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from retraining.errors import PlanError
from retraining.experiments.plan import Experiment, Section, Steps
from retraining.experiments.tasks import Roots, Task, TaskOutcome, perform
from station.strict_yaml import load_document

TOY_TASKS = '''
"""Tasks for tests."""

import os
import time

from retraining.experiments.tasks import TableCell, Curve, Place, TaskResult


def count(place: Place, *, row: str, value: float, column: str = "accuracy") -> TaskResult:
    with (place.folder.parent / "calls.txt").open("a") as file:
        file.write(f"{row}\\n")
    before = sum(place.facts(name)["value"] for name in place.needs)
    curve = Curve("loss", row, (1.0, 2.0), (1.0, value), "step", "loss")
    return TaskResult((TableCell("accuracy", row, column, value + before),), (curve,), facts={"value": value})


def fail(place: Place, *, row: str) -> TaskResult:
    raise ValueError("no such defect")


def die(place: Place) -> TaskResult:
    os._exit(9)


def step_by_step(place: Place, *, steps: int, seconds: float) -> TaskResult:
    """Keeps each step, goes on after a kill."""
    kept = place.folder / "steps.txt"
    done = len(kept.read_text().split()) if kept.is_file() else 0
    for step in range(done, steps):
        time.sleep(seconds)
        with kept.open("a") as file:
            file.write(f"{step}\\n")
        place.report(step + 1, steps, "toiling")
    return TaskResult((TableCell("accuracy", "slow", "accuracy", 1.0),))
'''

YAML = """
name: toy
kind: toy
title: A toy
question: Does it run?
target: that it does
paper: {title: Toys, where: Table 1}
tables:
  - name: accuracy
    title: Accuracy
    unit: "%"
    better: higher
    chart: bars
    columns: [{name: accuracy, label: accuracy}, {name: recall, label: recall}]
    rows:
      - {name: first, label: First, paper: [93.24, 91.5]}
      - {name: second, label: Second, paper: [97.67, null]}
      - {name: slow, label: Slow}
    duels:
      - {row: first, against: [second], column: accuracy}
reduced: {steps: 2}
full: {steps: 200}
"""


class Size(Section):
    """A toy's size."""

    steps: Steps
    """how many"""


class Plan(Experiment):
    """A toy."""

    kind: Literal["toy"]
    """toy"""
    reduced: Size
    """a laptop"""
    full: Size
    """a GPU"""


class HerePool:
    """Does each task at once, in this process."""

    slots = 1

    def __init__(self) -> None:
        self._ended: list[TaskOutcome] = []

    def start(self, task: Task, experiment: Path, roots: Roots) -> None:
        self._ended.append(perform(task, experiment, roots))

    def ended(self, timeout_s: float) -> list[TaskOutcome]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def toy_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path that holds ``toy_tasks``."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "toy_tasks.py").write_text(textwrap.dedent(TOY_TASKS), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)  # for Ray's workers
    return folder


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(None, tmp_path)


@pytest.fixture
def here() -> HerePool:
    return HerePool()


@pytest.fixture
def toy_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(YAML, encoding="utf-8")
    return path


@pytest.fixture
def read_toy(toy_yaml: Path) -> Callable[[], Plan]:
    """Reads the toy's YAML, as it stands then."""
    return lambda: load_document(toy_yaml, Plan, PlanError)
