"""The summary of a run: counts that balance, times, the confusion table, the folder of pictures."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from station.cli.text import styled, told
from station.line_values import LineStatus
from station.observers import ObserverStatus
from station.observers.truth import Confusion


def summary(
    status: LineStatus, memory: str, confusion: Confusion | None = None, pictures: tuple[str, ...] = ()
) -> RenderableType:
    """Everything a person asks after a run."""
    run = status.statistics
    counts = Table(title="Parts", title_justify="left", show_header=False, box=None)
    counts.add_row("triggers", str(run.triggers))
    counts.add_row("[green]accepted[/]", str(run.accepted))
    counts.add_row("[red]rejected[/]", str(run.rejected))
    counts.add_row("[yellow]faulted[/]", str(run.faulted))
    balanced = run.triggers == run.accepted + run.rejected + run.faulted
    counts.add_row(
        "balance", "[green]every trigger has one verdict[/]" if balanced else "[bold red]NOT BALANCED[/]"
    )
    counts.add_row("acknowledged", f"{run.acknowledged}, not acknowledged {run.unacknowledged}")
    if status.overloaded:
        counts.add_row("[yellow]overload[/]", f"{status.overloaded} parts waited until their deadline")
    for reason, count in run.faults.items():
        counts.add_row("", styled("[yellow]{} x[/] {}", count, reason))

    times = Table(title="Milliseconds from trigger to", title_justify="left", box=None)
    for column in ("", "p50", "p95", "p99", "longest", "parts"):
        times.add_column(column, justify="left" if not column else "right")
    for name, of in (("verdict sent", run.to_verdict), ("acknowledged bin", run.to_acknowledged)):
        values = (of.p50, of.p95, of.p99, of.longest)
        times.add_row(name, *(f"{value:.1f}" for value in values), str(of.count))

    devices = (told(f"camera: {status.camera.counted}"), told(f"sorter: {status.sorter.counted}"))
    rows: list[RenderableType] = [counts, "", times, "", *devices, told(f"memory: {memory}")]
    queues = ", ".join(f"{one.name} {one.highest} of {one.capacity}" for one in status.queues)
    rows += [told(f"longest queues: {queues}")] if queues else []
    rows += ["", *map(_observer, status.observers)] if status.observers else []
    if confusion is not None and confusion.outcomes.parts:
        rows += ["", *_confusion_table(confusion)]
    if pictures:
        rows += ["", "pictures:", *(told(f"  {line}") for line in pictures)]
    if status.failure:
        rows += ["", styled("[bold red]halted: {}[/]", status.failure)]
    return Group(*rows)


def print_summary(
    console: Console,
    status: LineStatus,
    memory: str,
    confusion: Confusion | None = None,
    pictures: tuple[str, ...] = (),
) -> None:
    """Print the summary."""
    console.print(summary(status, memory, confusion, pictures), highlight=False)


def _observer(status: ObserverStatus) -> Text:
    seen = told(f"{status.name}: {status.observed} parts")
    return seen + styled("; [yellow]{}[/]", status.problem) if status.problem else seen


def _confusion_table(found: Confusion) -> list[RenderableType]:
    table = Table(title="Ground truth (rows) against verdict (columns)", title_justify="left", box=None)
    table.add_column("")
    names = list(next(iter(found.rows.values())))
    for name in names:
        table.add_column(told(name), justify="right")
    good = names[0]
    for truth, row in found.rows.items():
        cells = []
        for name in names:
            style = "dim" if not row[name] else "green" if name == truth else "bold red"
            if row[name] and name == good and truth != good:
                style = "bold white on red"
            cells.append(Text(str(row[name]), style))
        table.add_row(told(truth), *cells)
    counts = found.outcomes
    lines: list[RenderableType] = [
        table,
        f"accuracy {counts.accuracy:.2%} of {counts.parts} parts with known truth",
        f"escapes (defective, accepted): {_some(counts.escapes, found.escaped)}",
        f"overkill (good, not accepted): {_some(counts.overkill, found.overkilled)}",
    ]
    if found.right_by_another:
        several = (
            f"{found.right_by_another} parts with several kinds of defect were rejected under another of them"
        )
        lines.insert(2, f"{several}, which is right")
    if counts.faults:
        lines.append(f"faulted: {counts.faults}, {counts.good_faults} of them good and counted as overkill")
    return lines


def _some(count: int, part_ids: tuple[int, ...]) -> str:
    if not count:
        return "0"
    shown = ", ".join(map(str, part_ids[:20])) + (", …" if count > 20 else "")
    return f"{count} (part {shown})"
