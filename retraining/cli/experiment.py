"""``retrain experiment``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from retraining.cli.options import RecipesOption
from station.cli.parameters import FOLDER_MADE
from station.cli.text import told

if TYPE_CHECKING:
    from retraining.experiments.plan import Experiment, SizeName
    from retraining.experiments.run import Standing, Summary
    from retraining.experiments.tasks import Task

NameArgument = Annotated[str, typer.Argument(help="Name of an experiment, or a YAML file.")]
SizeOption = Annotated[str, typer.Option(help="reduced (a laptop) or full (a GPU).")]
ExperimentsOption = Annotated[
    Path, typer.Option(help="Folder of experiments, for experiments given by name.")
]
RunsOption = Annotated[
    Path, typer.Option(help="Folder for results, with one folder per experiment."), FOLDER_MADE
]


def experiment(
    name: NameArgument,
    size: SizeOption = "reduced",
    data_root: Annotated[
        Path | None, typer.Option(envvar="INSPECTION_DATA", help="Folder that holds data sets and weights.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Tasks that run at the same time; they share the cores.")
    ] = 1,
    ray: Annotated[str | None, typer.Option(help="Run on Ray: local, auto, or a cluster's address.")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Run only tasks whose name matches this pattern, and the tasks that they need."),
    ] = None,
    list_tasks: Annotated[
        bool, typer.Option("--list", help="List the tasks and their state, and run none.")
    ] = False,
    experiments: ExperimentsOption = Path("experiments"),
    recipes: RecipesOption = Path("recipes"),
    out: RunsOption = Path("runs/experiments"),
) -> None:
    """Repeat a table of a paper: run the tasks that are not done yet, then write the report.

    Results are kept, and a task that has one is not run again; so the same command continues an interrupted
    experiment. A task that fails does not stop the others; the exit code is then 1.

    Examples:

        retrain experiment neu-cls --data-root data

        retrain experiment neu-cls-64 --size full --ray auto

        retrain experiment smh-versions --list

        retrain experiment neu-cls-64 --only "gan/dcgan/*"

    """
    from retraining.errors import ExperimentError
    from retraining.experiments.pools import open_pool
    from retraining.experiments.run import chosen, run
    from retraining.experiments.tasks import Roots
    from retraining.runs.folder import close_run, open_run

    for folder, option in ((data_root, "--data-root"), (recipes, "--recipes")):
        if folder is not None and not folder.is_dir():
            raise ExperimentError(f"{folder} is not a folder; name another one by {option}")
    plan, size_name, tasks = open_experiment(name, size, experiments)
    folder = out / plan.name
    picked = chosen(tasks, only)
    if list_tasks:
        _list(picked, folder)
        return
    roots = Roots(data_root.resolve() if data_root else None, recipes.resolve())
    open_run(folder, "experiment", plan.model_dump(mode="json"), {}, first_step=1, about={"size": size_name})
    pool = open_pool(ray, jobs)
    try:
        with _Bars(f"{plan.name}, {size_name}", len(picked)) as bars:
            summary = run(picked, folder.resolve(), roots, pool, bars.show)
    finally:
        pool.close()
    counts = {"done": summary.done + summary.skipped, "failed": len(summary.failed), "tasks": summary.total}
    close_run(folder, "stopped" if summary.stopped else "finished", counts)
    page, _ = render(plan, size_name, tasks, folder)
    _show(summary, page)
    if summary.failed or summary.stopped:
        raise typer.Exit(1)


def open_experiment(name: str, size: str, experiments: Path) -> tuple[Experiment, SizeName, tuple[Task, ...]]:
    """The plan, the size's name and all tasks; raises :class:`PlanError` or :class:`ExperimentError`."""
    from retraining.errors import ExperimentError
    from retraining.experiments.kinds import load_experiment, tasks_of
    from retraining.experiments.plan import find_plan
    from retraining.experiments.tasks import with_needs

    if size not in ("reduced", "full"):
        raise ExperimentError(f"size is reduced or full, not {size!r}")
    size_name: SizeName = "full" if size == "full" else "reduced"
    plan = load_experiment(find_plan(name, experiments))
    return plan, size_name, with_needs(tasks_of(plan, size_name))


def render(plan: Experiment, size_name: SizeName, tasks: tuple[Task, ...], folder: Path) -> tuple[Path, Path]:
    """Write the reports from the results that exist."""
    from retraining.experiments.gathering import gather
    from retraining.experiments.kinds import size_of
    from retraining.experiments.report import write_reports

    size, full = size_of(plan, size_name), size_of(plan, "full")
    return write_reports(gather(plan, size_name, size, full, tasks, folder), folder)


def _list(tasks: tuple[Task, ...], folder: Path) -> None:
    from retraining.experiments.tasks import state_of

    for task in tasks:
        print(f"{state_of(task, folder):8} {task.work_s:7.0f} s  {task.name}")
    left = sum(task.work_s for task in tasks if state_of(task, folder) != "done")
    print(f"{len(tasks)} tasks; to do: about {left / 60:.0f} minutes on the reference machine")


def _show(summary: Summary, page: Path) -> None:
    for task, message in summary.failed:
        print(f"failed: {task.name}: {message}")
    for task in summary.blocked:
        print(f"not run, because a task that it needs failed: {task.name}")
    if summary.stopped:
        print("stopped; the same command continues from here")
    print(
        f"{summary.done} tasks done, {summary.skipped} done before, {len(summary.failed)} failed, "
        f"of {summary.total}\nreport: {page}"
    )


class _Bars:
    """One bar for the experiment with the time that it still needs, and one for each running task."""

    def __init__(self, title: str, total: int) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(),
                   TextColumn("{task.fields[count]}"),
                   TimeElapsedColumn(), TextColumn("{task.fields[status]}", markup=False))  # fmt: skip
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._all = self._progress.add_task(title, total=total, count=f"0/{total}", status="")
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, now: Standing) -> None:
        """Bring the bars up to date."""
        left = "" if now.seconds_left != now.seconds_left else f"about {now.seconds_left / 60:.0f} min left"
        if now.failed:
            left += f", {now.failed} failed"
        parts = sum(r.step / r.steps for r in now.running if r.steps)
        self._progress.update(
            self._all, completed=now.done + parts, count=f"{now.done}/{now.total}", status=left
        )
        names = {r.task.name for r in now.running}
        for name in set(self._bars) - names:
            self._progress.remove_task(self._bars.pop(name))
        for r in now.running:
            if r.task.name not in self._bars:
                self._bars[r.task.name] = self._progress.add_task(r.task.name, count="", status="")
            self._progress.update(
                self._bars[r.task.name], total=r.steps or None, completed=r.step,
                count=f"{r.step}/{r.steps}" if r.steps else "", status=r.line,
            )  # fmt: skip
        if now.news:
            self._progress.console.print(told(now.news))
