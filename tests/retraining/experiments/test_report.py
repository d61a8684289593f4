"""Plans and reports: strict YAML, the paper's figures beside ours, gaps that say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retraining.errors import PlanError
from retraining.experiments.gathering import Gathered, gather
from retraining.experiments.pools import Pool
from retraining.experiments.report import html_report, markdown_report, write_reports
from retraining.experiments.run import run
from retraining.experiments.tasks import Roots, Task

TASKS = (
    Task("first/seed-1", "toy_tasks:count", {"row": "first", "value": 0.9}),
    Task("first/seed-2", "toy_tasks:count", {"row": "first", "value": 0.96}),
    Task("wrong", "toy_tasks:fail", {"row": "second"}),
    Task("slow", "toy_tasks:step_by_step", {"steps": 1, "seconds": 0.0}),
)


@pytest.fixture
def gathered(
    toy_module: Path, read_toy: Callable[[], Any], here: Pool, roots: Roots, tmp_path: Path
) -> Gathered:
    run(TASKS[:3], tmp_path / "out", roots, here)
    plan = read_toy()
    return gather(plan, "reduced", plan.reduced, plan.full, TASKS, tmp_path / "out")


def test_the_report_shows_our_figures_beside_the_papers(gathered: Gathered, tmp_path: Path) -> None:
    page, tables = write_reports(gathered, tmp_path / "out")
    html, markdown = page.read_text(encoding="utf-8"), tables.read_text(encoding="utf-8")
    assert "93.00 ± 4.24" in html
    assert "97.67" in html
    assert "| First | 93.00 ± 4.24 (paper 93.24) | not run (paper 91.50) |" in markdown
    assert "| Second | not run (paper 97.67) | not run |" in markdown
    assert "steps 2 (full: 200)" in markdown
    assert "<svg" in html
    charts = {path.name for path in (tmp_path / "out").glob("*-reduced.svg")}
    assert charts
    assert all(f"]({name})" in markdown for name in charts), "the tables come with their pictures"
    assert all(word not in html for word in ('src="http', 'href="http', "@import")), "nothing is fetched"


def test_a_row_that_does_not_beat_its_rival_is_not_used(
    read_toy: Callable[[], Any], toy_module: Path, here: Pool, roots: Roots, tmp_path: Path
) -> None:
    tasks = (*TASKS[:2], Task("rival", "toy_tasks:count", {"row": "second", "value": 0.95}))
    run(tasks, tmp_path / "out", roots, here)
    plan = read_toy()
    found = gather(plan, "reduced", plan.reduced, plan.full, tasks, tmp_path / "out")
    verdict = "First does not beat Second (accuracy: 93.00 ± 4.24 against 95.00), so it is not used."
    assert verdict in html_report(found)
    assert verdict in markdown_report(found)


@pytest.mark.parametrize(
    ("rival", "tail"), [(0.92, ", but the intervals overlap."), (0.85, ".")], ids=["overlapping", "apart"]
)
def test_a_lead_within_the_intervals_is_called_that(
    read_toy: Callable[[], Any],
    toy_module: Path,
    here: Pool,
    roots: Roots,
    tmp_path: Path,
    rival: float,
    tail: str,
) -> None:
    tasks = (*TASKS[:2], Task("rival", "toy_tasks:count", {"row": "second", "value": rival}))
    run(tasks, tmp_path / "out", roots, here)
    plan = read_toy()
    found = gather(plan, "reduced", plan.reduced, plan.full, tasks, tmp_path / "out")
    verdict = f"First beats Second (accuracy: 93.00 ± 4.24 against {100 * rival:.2f})"
    assert verdict + tail in markdown_report(found)


def test_the_report_says_what_failed_and_what_was_not_run(gathered: Gathered) -> None:
    html = html_report(gathered)
    assert "ValueError: no such defect" in html
    assert "This report is not complete." in html
    assert [task.state for task in gathered.tasks] == ["done", "done", "failed", "not run"]


def test_counted_figures_are_added_and_get_an_interval(
    read_toy: Callable[[], Any], tmp_path: Path, toy_module: Path, here: Pool, roots: Roots
) -> None:
    (toy_module / "toy_counts.py").write_text(
        "from retraining.experiments.tasks import TableCell, TaskResult\n"
        "def share(place, *, k, n):\n"
        "    return TaskResult((TableCell('accuracy', 'first', 'recall', k / n, (k, n)),))\n",
        encoding="utf-8",
    )
    tasks = tuple(Task(f"s-{k}", "toy_counts:share", {"k": k, "n": 50}) for k in (45, 48))
    run(tasks, tmp_path / "out", roots, here)
    plan = read_toy()
    found = gather(plan, "full", plan.full, plan.full, tasks, tmp_path / "out")
    assert "93.00 [86.25, 96.57], 93 of 100 (paper 91.50)" in markdown_report(found)
    assert "Reduced:" not in markdown_report(found)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "better: higher",
            "beter: higher",
            ":12: tables[0].beter: is not a known key: did you mean `better`?",
        ),
        ("[93.24, 91.5]", "[93.24]", "tables[0].rows.0.paper: has 1 figures for 2 columns"),
        ("reduced: {steps: 2}", "reduced: {steps: 0}", ":21: reduced.steps: input should be greater than"),
        ("name: second", "name: first", "tables[0].rows: has the name 'first' twice"),
        ("chart: bars", "chart: lines", "tables[0].chart: is lines, but not every column's name is a number"),
        ("full: {steps: 200}", "", "full: is missing"),
    ],
)
def test_a_mistake_in_a_plan_names_line_key_and_remedy(
    old: str, new: str, expected: str, toy_yaml: Path, read_toy: Callable[[], Any]
) -> None:
    toy_yaml.write_text(toy_yaml.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(PlanError) as error:
        read_toy()
    assert expected in str(error.value)
