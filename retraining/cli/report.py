"""``retrain report``."""

from __future__ import annotations

from pathlib import Path

from retraining.cli.experiment import ExperimentsOption, NameArgument, RunsOption, SizeOption


def report(
    name: NameArgument,
    size: SizeOption = "reduced",
    experiments: ExperimentsOption = Path("experiments"),
    out: RunsOption = Path("runs/experiments"),
) -> None:
    """Write the report of an experiment from the results that exist so far.

    The report is one HTML file and one Markdown file; a figure without a result says "not run".

    Examples:

        retrain report neu-cls

        retrain report neu-cls-64 --size full

    """
    from retraining.cli.experiment import open_experiment, render

    plan, size_name, tasks = open_experiment(name, size, experiments)
    page, tables = render(plan, size_name, tasks, out / plan.name)
    print(f"{page}\n{tables}")
