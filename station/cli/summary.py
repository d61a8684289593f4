"""The end of a run in words: counts that balance, the confusion table, times, where the pictures are."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table

from drivers.sorters.interface import Outcome
from simulation.truth import PartTruth
from station.line_values import LineStatus
from station.recipe import Recipe
from station.statistics import Settled


@dataclass(frozen=True, slots=True)
class Confusion:
    """Verdicts against the simulation's ground truth."""

    rows: dict[str, dict[str, int]]
    """True class -> verdict (class, ``accept`` as the good class's name, or ``fault``) -> parts."""
    parts: int
    right: int
    right_by_another: int
    """Right, but under the name of another of the part's kinds of defect: off the table's diagonal."""
    escapes: tuple[int, ...]
    """Part ids of defective parts that were accepted."""
    overkill: tuple[int, ...]
    """Part ids of good parts that were rejected."""
    faulted: int


def confusion(settled: tuple[Settled, ...], classes: tuple[str, ...]) -> Confusion:
    """Compare; a part with several kinds of defect is right under any of their names."""
    good = classes[0]
    rows = {name: dict.fromkeys((*classes, "fault"), 0) for name in classes}
    right, right_by_another, faulted = 0, 0, 0
    escapes: list[int] = []
    overkill: list[int] = []
    for one in settled:
        if not isinstance(one.truth, PartTruth):
            continue
        found = "fault" if one.verdict.outcome is Outcome.FAULT else one.verdict.class_name
        rows[one.truth.label][found] += 1
        right += found in one.truth.labels
        right_by_another += found in one.truth.labels and found != one.truth.label
        faulted += found == "fault"
        if one.truth.label != good and found == good:
            escapes.append(one.part_id)
        if one.truth.label == good and found not in (good, "fault"):
            overkill.append(one.part_id)
    parts = sum(sum(row.values()) for row in rows.values())
    return Confusion(rows, parts, right, right_by_another, tuple(escapes), tuple(overkill), faulted)


def summary(status: LineStatus, recipe: Recipe, memory: str, pictures: tuple[str, ...]) -> RenderableType:
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
    for reason, count in run.faults.items():
        counts.add_row("", f"[yellow]{count} x[/] {reason}")

    times = Table(title="Milliseconds from trigger to", title_justify="left", box=None)
    for column in ("", "p50", "p95", "p99", "longest", "parts"):
        times.add_column(column, justify="left" if not column else "right")
    for name, of in (("verdict told", run.to_verdict), ("acknowledged bin", run.to_acknowledged)):
        values = (of.p50, of.p95, of.p99, of.longest)
        times.add_row(name, *(f"{value:.1f}" for value in values), str(of.count))

    camera = status.camera
    frames = (
        f"camera: {camera.delivered} frames, {camera.lost} lost, {camera.incomplete} incomplete, "
        f"reopened {camera.reopened} times"
        + (f", {camera.discarded} thrown away unasked or late" if camera.discarded else "")
    )
    rows: list[RenderableType] = [counts, "", times, "", frames, f"memory: {memory}"]
    if run.settled:
        rows += ["", *_confusion_table(confusion(run.settled, tuple(c.name for c in recipe.classes)))]
    if pictures:
        rows += ["", "pictures:", *(f"  {line}" for line in pictures)]
    if status.failure:
        rows += ["", f"[bold red]halted: {status.failure}[/]"]
    return Group(*rows)


def print_summary(
    console: Console, status: LineStatus, recipe: Recipe, memory: str, pictures: tuple[str, ...]
) -> None:
    """Print the summary."""
    console.print(summary(status, recipe, memory, pictures), highlight=False)


def _confusion_table(found: Confusion) -> list[RenderableType]:
    table = Table(title="Ground truth (rows) against verdict (columns)", title_justify="left", box=None)
    table.add_column("")
    names = list(next(iter(found.rows.values())))
    for name in names:
        table.add_column(name, justify="right")
    good = names[0]
    for truth, row in found.rows.items():
        cells = []
        for name in names:
            style = "dim" if not row[name] else "green" if name == truth else "bold red"
            if row[name] and name == good and truth != good:
                style = "bold white on red"
            cells.append(f"[{style}]{row[name]}[/]")
        table.add_row(truth, *cells)
    accuracy = found.right / found.parts if found.parts else 0.0
    lines: list[RenderableType] = [
        table,
        f"accuracy {accuracy:.2%} of {found.parts} parts with known truth",
        f"escapes (defective, accepted): {_some(found.escapes)}",
        f"overkill (good, rejected): {_some(found.overkill)}",
    ]
    if found.right_by_another:
        several = (
            f"{found.right_by_another} parts with several kinds of defect were rejected under another of them"
        )
        lines.insert(2, f"{several}, which is right")
    if found.faulted:
        lines.append(f"faulted: {found.faulted}")
    return lines


def _some(part_ids: tuple[int, ...]) -> str:
    if not part_ids:
        return "0"
    shown = ", ".join(map(str, part_ids[:20])) + (", …" if len(part_ids) > 20 else "")
    return f"{len(part_ids)} (part {shown})"
