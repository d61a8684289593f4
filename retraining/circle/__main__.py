"""``python -m retraining.circle``: run the circle or its rivals, or go on with what was broken off."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from retraining.circle import rivals as the_rivals
from retraining.circle.miniature import FIRST, make_first, miniature
from retraining.circle.plan import Plan, Steps
from retraining.circle.report import write_report
from retraining.circle.run import run_circle
from station.cli import ending
from station.cli.help import keep_examples
from station.cli.parameters import FOLDER_MADE

console = Console(stderr=True)
app = typer.Typer(
    name="circle", add_completion=False, no_args_is_help=True, rich_markup_mode="markdown",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="The whole circle, unattended: a line meets an unknown defect, and the next engine knows it.",
)  # fmt: skip

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the circle."), FOLDER_MADE]
Recipe = Annotated[Path, typer.Option("--recipe", "-r", help="File of the product's recipe.")]
HOUSING = Path("recipes/servo-motor-housing.yaml")
Small = Annotated[
    bool,
    typer.Option("--miniature", help="Few small parts, a small network, and a first engine made before."),
]
Threads = Annotated[int, typer.Option(min=0, help="Threads of a training; 0: all cores.")]


def _steps(plan: Plan, folder: str) -> Steps:
    began = time.monotonic()
    return Steps(
        plan.out / folder,
        lambda name: console.print(f"{time.monotonic() - began:6.0f} s  {name}", highlight=False),
    )


@app.command()
def run(
    out: Out = Path("runs/circle"),
    recipe: Recipe = HOUSING,
    threads: Threads = 0,
    small: Small = False,
) -> None:
    """Run the circle once, unattended, and write its report.

    A run that was broken off goes on after the last step that it ended; name another --out to begin anew.

    Exit code: 0 every target was met, 1 one was missed.

    Examples:

        python -m retraining.circle run --out runs/circle

        python -m retraining.circle run --miniature --out runs/miniature

    """
    plan = miniature(out, recipe) if small else Plan(out, recipe, threads=threads)
    steps = _steps(plan, "done")
    run_circle(plan, steps)
    targets = write_report(plan, steps.done)
    for check in targets:
        print(f"{'met   ' if check.met else 'MISSED'}  {check.what}: {check.found}")
    print(f"report: {plan.out / 'report.html'}")
    raise typer.Exit(0 if all(check.met for check in targets) else 1)


@app.command()
def rivals(
    out: Out = Path("runs/circle"),
    recipe: Recipe = HOUSING,
    threads: Threads = 0,
    small: Small = False,
) -> None:
    """Train the next engine in three other ways on the circle's own data, and compare all four in a table.

    Without synthesis; with pictures of a GAN (SDG-GAN) in place of pasted ones; and with as many parts drawn
    at random from the bad lot in place of those that the station chose. A rival that does not pass a gate,
    such as the golden parts, has a row that says so. A circle that is not done is run before. A run that was
    broken off goes on after the last step that it ended.

    Examples:

        python -m retraining.circle rivals --out runs/circle

    """
    plan = miniature(out, recipe) if small else Plan(out, recipe, threads=threads)
    run_circle(plan, _steps(plan, "done"))
    table = the_rivals.run_rivals(plan, _steps(plan, "rivals"))
    (plan.out / "rivals.md").write_text(table, encoding="utf-8")
    print(table)
    print(f"written to {plan.out / 'rivals.md'}")


@app.command()
def first(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the engine."), FOLDER_MADE] = FIRST,
    work: Annotated[Path, typer.Option(help="Folder of the training."), FOLDER_MADE] = Path("runs/first"),
    recipe: Recipe = HOUSING,
) -> None:
    """Train the first engine of the miniature, and put what a circle needs of it in place of the old one.

    Examples:

        python -m retraining.circle first

    """
    plan = miniature(work, recipe)
    make_first(plan, _steps(plan, "done"), out)
    print(out)


keep_examples(app)

if __name__ == "__main__":
    ending.run("circle", app)
