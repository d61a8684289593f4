"""What the circle keeps of its steps, and what its report makes of them."""

import copy
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from retraining.circle import rivals, steps
from retraining.circle.commands import RETRAIN, STATION, RefusedError, StepError, call, cpu_s
from retraining.circle.plan import Done, Plan, Steps
from retraining.circle.report import checks, write_report
from retraining.circle.steps import ESCAPED, NAMED, NAMED_OTHERWISE
from tests.waiting import wait_for

BEFORE = {
    "unknown": {ESCAPED: 30, NAMED_OTHERWISE: 10, NAMED: 0}, "surfaced": 33, "good": 200, "overkill": 1,
    "others": 120, "other_escapes": 2,
}  # fmt: skip
AFTER = BEFORE | {"unknown": {ESCAPED: 0, NAMED_OTHERWISE: 2, NAMED: 38}, "surfaced": 40, "overkill": 2}
FOUND: dict[str, Any] = {
    "inspect the bad lot": {"parts": 70, "answered": 70, "kept, handed over and received": 33},
    "label and gather": {"pits": 30, "defect-free": 3},
    "compare first": BEFORE, "compare next": AFTER,
    "come home to a running line": {
        "answered": 412, "state": "good", "why": "", "digest": "ab" * 32, "steps": ["installed", "proven"],
        "line": {"ab" * 6: {"pits: reject pits": 412}},
    },
}  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path, Path("recipes/servo-motor-housing.yaml"))


def test_a_step_is_done_once_and_its_report_is_read_again(tmp_path: Path) -> None:
    begun: list[str] = []
    first = Steps(tmp_path / "done", begun.append)
    assert first("count", lambda: {"parts": 7}) == {"parts": 7}
    again = Steps(tmp_path / "done", begun.append)
    assert again("count", lambda: pytest.fail("it was done")) == {"parts": 7}
    assert begun == ["count"]
    assert again.done == first.done


def test_a_step_that_fails_is_begun_again(tmp_path: Path) -> None:
    step = Steps(tmp_path / "done", lambda name: None)
    with pytest.raises(StepError):
        step("count", lambda: call(STATION, "count", log=tmp_path / "log"))
    assert step("count", lambda: 7) == 7


def test_a_command_that_fails_is_named_with_what_it_said_and_where_all_of_it_is(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"`keys --lot 7` ended with 2; all of it is in .*log:\n"):
        call(RETRAIN, "keys", "--lot", 7, log=tmp_path / "log")
    assert "No such option: --lot" in (tmp_path / "log").read_text()


def test_a_command_is_a_process_of_its_own_whose_time_is_counted(tmp_path: Path) -> None:
    before = cpu_s()
    said = call(STATION, "--version", log=tmp_path / "log")
    assert said.startswith("inspection-station ")
    assert (tmp_path / "log").read_text() == f"$ --version\n{said}[0]\n\n"
    assert cpu_s() > before


def begin_and_wait() -> None:
    """A command that says that it has begun."""
    Path(sys.argv[1]).touch()
    while True:  # a signal just before one long pause would be forgotten in it
        time.sleep(0.1)


def test_breaking_off_ends_the_command_that_runs(tmp_path: Path) -> None:
    def break_off() -> None:
        wait_for(begun.is_file)
        os.kill(os.getpid(), signal.SIGINT)

    begun = tmp_path / "begun"
    threading.Thread(target=break_off).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    try:
        with pytest.raises(KeyboardInterrupt):
            call(begin_and_wait, begun, log=tmp_path / "log")
    finally:
        signal.signal(signal.SIGINT, before)
    assert "KeyboardInterrupt\n[1]" in (tmp_path / "log").read_text()


def test_the_first_recipe_has_every_class_but_the_unknown_one(plan: Plan) -> None:
    steps.write_recipes(plan)
    first, whole = (
        [entry["name"] for entry in yaml.safe_load(plan.recipe_of(which).read_text())["classes"]]
        for which in ("first", "next")
    )
    assert "pits" in whole
    assert first == [name for name in whole if name != "pits"]


def test_a_circle_that_met_its_targets_says_so(plan: Plan) -> None:
    assert all(check.met for check in checks(plan, FOUND))


@pytest.mark.parametrize(
    ("step", "change", "missed"),
    [
        ("compare next", {"unknown": {ESCAPED: 0, NAMED_OTHERWISE: 3, NAMED: 37}}, "at least 95%"),
        ("compare next", {"unknown": {ESCAPED: 1, NAMED_OTHERWISE: 0, NAMED: 39}}, "escapes of pits"),
        ("compare next", {"overkill": 3}, "overkill worse"),
        ("come home to a running line", {"state": "bad"}, "trial"),
    ],
    ids=["named too seldom", "an escape", "overkill", "a bad trial"],
)
def test_each_target_can_be_missed(plan: Plan, step: str, change: dict[str, Any], missed: str) -> None:
    found = copy.deepcopy(FOUND)
    found[step] |= change
    assert [missed in check.what for check in checks(plan, found) if not check.met] == [True]


def test_the_report_has_targets_figures_and_times_on_one_page(plan: Plan) -> None:
    done = [Done(name, found, 12.0, 21.0) for name, found in FOUND.items()]
    targets = write_report(plan, done)
    page = (plan.out / "report.html").read_text()
    assert all(check.what in page for check in targets)
    assert "38 of 40: 95.0% (83.5% to 98.6%)" in page
    assert all(name in page for name in FOUND)
    assert "60</th>" in page
    assert "105</th>" in page


def test_the_rivals_are_one_table_with_intervals(plan: Plan) -> None:
    stopped = {"gate": "golden parts", "why": "no part can prove the engine for pits"}
    table = rivals.table(plan, {rivals.NEXT: AFTER, "no synthesis": AFTER, "SDG-GAN": stopped})
    rows = table.splitlines()
    assert len(rows) == 2 + 3
    assert rows[3].startswith("| no synthesis | 38 of 40: 95.0% (83.5% to 98.6%) |")
    assert "no engine; stopped at the gate *golden parts*: no part can prove the engine for pits" in rows[4]
    assert {row.count("|") for row in rows} == {7}


def run_with(plan: Plan, monkeypatch: pytest.MonkeyPatch, ends: Callable[[str], None]) -> str:
    """The rivals of a circle that is done, whose trainings end as ``ends`` says."""
    monkeypatch.setattr(rivals, "kept_parts", lambda folder: [])
    for name in ("train_gan", "place_drawn"):
        monkeypatch.setattr(rivals, name, lambda plan: 0)
    for name in ("inspect_lot", "gather", "synthesise"):
        monkeypatch.setattr(steps, name, lambda plan, *words: 0)
    monkeypatch.setattr(steps, "compare", lambda plan, which: AFTER)
    monkeypatch.setattr(steps, "train", lambda plan, which, *words: ends(which))
    return rivals.run_rivals(plan, Steps(plan.out / "rivals", lambda name: None))


def test_a_rival_that_stops_at_a_gate_is_a_row_and_is_not_trained_again(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def ends(which: str) -> None:
        trained.append(which)
        if which == "gan":
            raise RefusedError("ended with 2", "retrain: no part can prove the engine for pits; train longer")

    table = run_with(plan, monkeypatch, ends)
    assert "| SDG-GAN | no engine; stopped at the gate *golden parts*" in table
    assert table.count("38 of 40") == 3
    assert run_with(plan, monkeypatch, ends) == table
    assert trained == ["without", "gan", "random"]


def test_a_rival_that_crashes_is_an_error_and_the_others_rows_are_kept(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def ends(which: str) -> None:
        trained.append(which)
        if trained == ["without", "gan"]:
            raise RefusedError("ended with 2", "No such option: --stepz")

    with pytest.raises(StepError):
        run_with(plan, monkeypatch, ends)
    assert run_with(plan, monkeypatch, ends).count("38 of 40") == 4
    assert trained == ["without", "gan", "gan", "random"]
