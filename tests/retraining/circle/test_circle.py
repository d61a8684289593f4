"""The miniature of the whole circle: every step of `make loop`, by the same code."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from retraining.circle import steps
from retraining.circle.commands import StepError
from retraining.circle.line import Line
from retraining.circle.miniature import miniature
from retraining.circle.plan import Plan, Steps
from retraining.circle.report import write_report
from retraining.circle.rivals import run_rivals
from retraining.circle.run import run_circle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
HOUSING = Path("recipes/servo-motor-housing.yaml")


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Steps]:
    plan = miniature(tmp_path_factory.mktemp("loop") / "circle", HOUSING)
    done = Steps(plan.out / "done", lambda name: None)
    run_circle(plan, done)
    return plan, done


@pytest.fixture
def found(circle: tuple[Plan, Steps]) -> dict[str, Any]:
    return {step.name: step.found for step in circle[1].done}


def test_the_first_engine_does_not_know_the_class_and_the_next_one_does(
    circle: tuple[Plan, Steps], found: dict[str, Any]
) -> None:
    plan, _ = circle
    classes = {
        which: yaml.safe_load((plan.engine_of(which) / "engine.yaml").read_text())["classes"]
        for which in ("first", "next")
    }
    assert classes == {
        "first": ["defect-free", "imprinted"], "next": ["defect-free", "imprinted", "roll-marks"],
    }  # fmt: skip
    assert found["compare first"]["unknown"][steps.NAMED] == 0
    assert found["compare next"]["unknown"][steps.NAMED] > 0


def test_what_the_station_kept_of_the_bad_lot_arrives_and_is_labelled(found: dict[str, Any]) -> None:
    lot = found["inspect the bad lot"]
    assert lot["parts"] == lot["answered"] == 16
    assert found["label and gather"]["roll-marks"] == lot["roll-marks kept for the workshop"] >= 6
    assert found["paste the rare class"] == 16


def test_the_engine_comes_home_to_a_line_that_answers_every_trigger(found: dict[str, Any]) -> None:
    home = found["come home to a running line"]
    engines = home["line"]
    assert home["state"] == "good", home["why"]
    assert home["steps"] == ["installed", "proven", "shadowing", "trial", "good"]
    assert set(engines) == {"first", "next"}
    assert home["answered"] == sum(sum(counts.values()) for counts in engines.values())


def test_the_report_has_targets_figures_pictures_and_times(circle: tuple[Plan, Steps]) -> None:
    plan, done = circle
    checks = write_report(plan, done.done)
    page = (plan.out / "report.html").read_text()
    for check in checks:
        assert check.what in page
    assert page.count("data:image/png;base64,") == 4
    assert all(step.name in page and step.cpu_s > 0 for step in done.done)


def test_a_circle_that_is_done_does_nothing_again(circle: tuple[Plan, Steps]) -> None:
    plan, done = circle
    begun: list[str] = []
    again = Steps(plan.out / "done", begun.append)
    run_circle(plan, again)
    assert begun == []
    assert again.done == done.done


def test_a_trigger_that_the_cell_sorted_otherwise_is_noticed(circle: tuple[Plan, Steps]) -> None:
    plan, _ = circle
    line = Line(plan.out / "lines" / "bad", steps.bad_lot(plan))
    log = line.folder / "cell.jsonl"
    rows = [json.loads(row) for row in log.read_text().splitlines()]
    untouched = log.read_text()
    try:
        log.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
        with pytest.raises(StepError, match="the cell sorted 15 parts, the journal has 16"):
            line.answered(plan.log)
    finally:
        log.write_text(untouched)
    assert line.answered(plan.log) == 16


def test_the_rivals_are_made_of_the_circles_own_data_and_each_has_a_row(circle: tuple[Plan, Steps]) -> None:
    plan, _ = circle
    table = run_rivals(plan, Steps(plan.out / "rivals", lambda name: None))
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [
        "| crop-and-paste (the circle)", "| no synthesis", "| SDG-GAN",
        "| parts drawn at random, crop-and-paste",
    ]  # fmt: skip
    begun: list[str] = []
    assert run_rivals(plan, Steps(plan.out / "rivals", begun.append)) == table
    assert begun == []
