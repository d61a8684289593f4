"""Running the tasks of an experiment: skipped when done, taken up after a kill, listed when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retraining.errors import ExperimentError
from retraining.experiments.pools import DIED, Pool, ProcessPool, RayPool
from retraining.experiments.run import chosen, run
from retraining.experiments.tasks import Roots, Task, read_result, state_of, with_needs

FIRST = Task("first", "toy_tasks:count", {"row": "first", "value": 0.5})
SECOND = Task("second", "toy_tasks:count", {"row": "second", "value": 0.25}, (FIRST,))
WRONG = Task("wrong", "toy_tasks:fail", {"row": "first"})
AFTER_WRONG = Task("after-wrong", "toy_tasks:count", {"row": "second", "value": 1.0}, (WRONG,))


@pytest.mark.usefixtures("toy_module")
def test_a_task_gets_what_it_needs_and_is_done_once(here: Pool, roots: Roots, tmp_path: Path) -> None:
    tasks = with_needs((SECOND,))
    assert [task.name for task in tasks] == ["first", "second"]
    summary = run(tasks, tmp_path, roots, here)
    assert (summary.done, summary.skipped, summary.failed) == (2, 0, ())
    assert read_result(tmp_path / SECOND.key)["cells"][0]["value"] == 0.75
    again = run(tasks, tmp_path, roots, here)
    assert (again.done, again.skipped) == (0, 2)
    assert (tmp_path / "calls.txt").read_text().split() == ["first", "second"]


@pytest.mark.usefixtures("toy_module")
def test_a_failing_task_is_listed_and_does_not_end_the_others(
    here: Pool, roots: Roots, tmp_path: Path
) -> None:
    summary = run(with_needs((AFTER_WRONG, SECOND)), tmp_path, roots, here)
    assert [(task.name, message) for task, message in summary.failed] == [
        ("wrong", "ValueError: no such defect")
    ]
    assert summary.blocked == (AFTER_WRONG,)
    assert summary.done == 2
    assert state_of(WRONG, tmp_path) == "failed"
    assert len(run((WRONG,), tmp_path, roots, here).failed) == 1, "it is tried again"


def test_another_parameter_is_another_task() -> None:
    other = Task("first", "toy_tasks:count", {"row": "first", "value": 0.6})
    assert other.key != FIRST.key
    assert Task(SECOND.name, SECOND.function, SECOND.parameters, (other,)).key != SECOND.key
    with pytest.raises(ExperimentError, match="two different tasks are called first"):
        with_needs((SECOND, other))


def test_a_glob_picks_tasks_and_what_they_need() -> None:
    tasks = (SECOND, AFTER_WRONG)
    assert [task.name for task in chosen(tasks, "sec*")] == ["first", "second"]
    with pytest.raises(ExperimentError, match="no task matches 'third'"):
        chosen(tasks, "third")


_DRIVER = """
import sys
from pathlib import Path
from retraining.experiments.pools import ProcessPool
from retraining.experiments.run import run
from retraining.experiments.tasks import Roots, Task, with_needs

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    first = Task("first", "toy_tasks:count", {"row": "first", "value": 0.5})
    slow = Task("slow", "toy_tasks:step_by_step", {"steps": 40, "seconds": 0.05}, (first,))
    pool = ProcessPool(1, 1)
    summary = run(with_needs((slow,)), Path(sys.argv[2]), Roots(None, Path()), pool)
    pool.close()
    print(summary.done, summary.skipped, len(summary.failed), summary.stopped)
"""
SLOW = Task("slow", "toy_tasks:step_by_step", {"steps": 40, "seconds": 0.05}, (FIRST,))


def _wait_until(path: Path, lines: int) -> None:
    limit = time.monotonic() + 60
    while not (path.is_file() and len(path.read_text().split()) >= lines):
        assert time.monotonic() < limit, f"{path} did not get {lines} lines"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_goes_on_without_repeating_what_is_done(
    how: signal.Signals, toy_module: Path, tmp_path: Path
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(_DRIVER, encoding="utf-8")
    out = tmp_path / "out"
    command = [sys.executable, str(driver), str(toy_module), str(out)]
    kept = out / SLOW.key / "steps.txt"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        _wait_until(kept, 5)
        os.kill(first.pid, how)
        said, _ = first.communicate(timeout=30)
    if how == signal.SIGTERM:
        assert said.split() == ["1", "0", "0", "True"]
    time.sleep(0.3)
    reached = len(kept.read_text().split())
    time.sleep(0.3)
    assert len(kept.read_text().split()) == reached < 40, "the worker ended with its parent"
    assert state_of(SLOW, out) == "begun"
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["1", "1", "0", "False"]
    assert (out / "calls.txt").read_text().split() == ["first"]
    assert kept.read_text().split() == [str(step) for step in range(40)]


@pytest.mark.usefixtures("toy_module")
def test_a_process_that_dies_takes_only_its_own_task_with_it(roots: Roots, tmp_path: Path) -> None:
    pool = ProcessPool(1, 1)
    try:
        dies = Task("dies", "toy_tasks:die", {})
        summary = run((dies, FIRST), tmp_path, roots, pool)
    finally:
        pool.close()
    assert [(task.name, message) for task, message in summary.failed] == [("dies", DIED)]
    assert summary.done == 1


@pytest.mark.slow
@pytest.mark.usefixtures("toy_module")
def test_a_local_ray_runs_the_same_tasks(roots: Roots, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pool = RayPool("local", 2, 1)
    try:
        summary = run(with_needs((SECOND, AFTER_WRONG)), tmp_path, roots, pool)
    finally:
        pool.close()
    assert [message for _, message in summary.failed] == ["ValueError: no such defect"]
    assert (summary.done, len(summary.blocked)) == (2, 1)
    assert read_result(tmp_path / SECOND.key)["cells"][0]["value"] == 0.75
