"""What every run folder says about its run."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from retraining.errors import TrainingError
from retraining.runs.folder import (
    StepLog,
    close_run,
    git_state,
    machine,
    open_run,
    read_run,
    save_state,
    stop_requests,
    versions,
)


def test_run_json_says_how_a_run_came_about_and_how_it_ended(tmp_path: Path) -> None:
    open_run(tmp_path / "run", "toy", {"steps": 3}, {"seed": 5}, about={"class": "pits"})
    running = read_run(tmp_path / "run")
    assert running["outcome"] == "running"
    assert (running["kind"], running["plan"], running["seeds"]) == ("toy", {"steps": 3}, {"seed": 5})
    assert running["about"] == {"class": "pits"}
    assert running["versions"]["python"]
    close_run(tmp_path / "run", "finished", {"accuracy": 0.5})
    ended = read_run(tmp_path / "run")
    assert ended["outcome"] == "finished"
    assert ended["figures"] == {"accuracy": 0.5}
    assert ended["ended"] >= ended["sessions"][0]["started"]


def test_a_run_that_goes_on_keeps_its_sessions_and_one_started_over_does_not(tmp_path: Path) -> None:
    open_run(tmp_path, "toy", {}, {})
    open_run(tmp_path, "toy", {}, {}, first_step=7)
    assert [s["first_step"] for s in read_run(tmp_path)["sessions"]] == [0, 7]
    open_run(tmp_path, "toy", {}, {})
    assert [s["first_step"] for s in read_run(tmp_path)["sessions"]] == [0]


def test_a_plan_that_is_no_json_leaves_the_old_file_alone(tmp_path: Path) -> None:
    open_run(tmp_path, "toy", {}, {})
    before = (tmp_path / "run.json").read_text()
    with pytest.raises(TypeError):
        open_run(tmp_path, "toy", {"folder": tmp_path}, {})
    assert (tmp_path / "run.json").read_text() == before


def test_versions_machine_and_git_are_known() -> None:
    assert versions()["torch"] == torch.__version__
    assert machine()["cores"] == os.cpu_count()
    state = git_state()
    assert state is None or len(state["commit"]) == 40


def test_rows_after_the_checkpoint_are_dropped_when_a_log_goes_on(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "log.csv", 0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    StepLog(tmp_path / "log.csv", 2).write({"step": 3, "loss": 0.25})
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss", "1,0.5", "2,0.5", "3,0.25"]
    StepLog(tmp_path / "log.csv", 0)
    assert not (tmp_path / "log.csv").exists()


def test_tensorboard_gets_the_same_numbers_once_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    StepLog(tmp_path / "log.csv", 0).write({"step": 1, "loss": 0.5})
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"], "nobody asked"
    monkeypatch.setenv("RETRAIN_TENSORBOARD", "1")
    first = StepLog(tmp_path / "log.csv", 0)
    for step in (1, 2, 3):
        first.write({"step": step, "loss": step / 2})
    del first
    second = StepLog(tmp_path / "log.csv", 2)
    second.write({"step": 3, "loss": 0.25})
    del second
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 1.0), (3, 0.25)]


def test_tensorboard_that_is_asked_for_and_absent_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_TENSORBOARD", "1")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"inspection-station\[board\]"):
        StepLog(tmp_path / "log.csv", 0)


def test_a_state_is_replaced_at_once_or_not_at_all(tmp_path: Path) -> None:
    save_state({"step": 1}, tmp_path / "state.pt")
    with pytest.raises(Exception, match="pickle"):
        save_state({"step": lambda: 2}, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == {"step": 1}


def test_a_stop_request_is_remembered_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) is before


def test_run_json_is_json_for_others(tmp_path: Path) -> None:
    open_run(tmp_path, "toy", {"a": 1}, {})
    assert json.loads((tmp_path / "run.json").read_text())["format"] == 1
