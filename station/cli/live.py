"""The live view of a run: a table that is updated, or plain lines where there is no terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from drivers.sorters.interface import Outcome
from station.cli.text import printable, told
from station.line_values import LineStatus
from station.supervision import State

STYLES = {Outcome.ACCEPT: "green", Outcome.REJECT: "red", Outcome.FAULT: "yellow"}
STATE_STYLES = {
    State.ERROR: "bold red",
    State.HALTED: "dim",
    State.PREOPERATIONAL: "yellow",
    State.OVERLOADED: "yellow",
}


def dashboard(status: LineStatus, title: str, parts: int | None) -> RenderableType:
    """The live view of one moment."""
    run = status.statistics
    head = Text()
    head.append(f" {status.state} ", style=f"reverse {STATE_STYLES.get(status.state, 'green')}")
    head.append(printable(f"  {status.reason}") if status.reason else "")
    engine = status.engine
    what = Text(f"recipe {status.recipe}, engine {engine.name} {engine.digest[:12]} on ", style="dim")
    what.append(f"{engine.backend} {engine.precision}")

    counts = Table.grid(padding=(0, 2))
    counts.add_row("parts", f"[bold]{run.triggers}[/]" + (f" of {parts}" if parts else ""))
    counts.add_row("accepted", f"[green]{run.accepted}[/]")
    counts.add_row("rejected", f"[red]{run.rejected}[/]")
    counts.add_row("faulted", f"[yellow]{run.faulted}[/]")
    if status.overloaded:
        counts.add_row("overload", f"[yellow]{status.overloaded}[/] waited until their deadline")
    counts.add_row("yield", f"{run.yield_fraction:.1%}")
    counts.add_row("pace", f"{run.parts_per_s:.1f} parts/s")

    times = Table.grid(padding=(0, 2))
    times.add_row("trigger to", "p50", "p95", "p99", "ms", style="dim")
    for name, of in (("verdict", run.to_verdict), ("acknowledged", run.to_acknowledged)):
        times.add_row(name, f"{of.p50:.0f}", f"{of.p95:.0f}", f"{of.p99:.0f}")

    pareto = Table.grid(padding=(0, 1))
    most = max(run.classes.values(), default=1)
    for name, count in list(run.classes.items())[:6]:
        pareto.add_row(told(name), str(count), Bar(most, 0, count, width=16, color="red"))
    if not run.classes:
        pareto.add_row(Text("no reject so far", style="dim"))

    devices = Table.grid(padding=(0, 2))
    camera, sorter = status.camera, status.sorter
    devices.add_row(
        _lamp(camera.connected),
        "camera",
        told(camera.description),
        told(camera.counted),
    )
    devices.add_row(
        _lamp(sorter.connected),
        "sorter",
        told(sorter.description),
        told(sorter.counted),
    )

    beside = Table.grid(padding=(0, 2))
    if status.queues:
        waiting = (f"{one.name} {one.length} of {one.capacity}" for one in status.queues)
        beside.add_row("waiting", told(", ".join(waiting)), style="dim")
    for one in status.observers:
        shown = Text(printable(one.note or f"{one.observed} parts"), style="dim")
        shown.append(printable(f"  {one.problem}") if one.problem else "", style="yellow")
        beside.add_row(Text(one.name, style="dim"), shown)

    columns = Table.grid(padding=(0, 4))
    columns.add_row(counts, pareto, times)
    rows: list[RenderableType] = [head, what, "", columns, "", devices, "", beside, "", _last_verdict(status)]
    rows[2:2] = [Text(printable(f"risk: {risk}"), style="bold yellow") for risk in status.risks]
    if parts:
        rows.append(ProgressBar(total=parts, completed=run.triggers - run.in_hand, width=76))
    return Panel(Group(*rows), title=told(title), title_align="left", width=100)


def plain_line(status: LineStatus, parts: int | None) -> str:
    """The same in one line, for logs."""
    run = status.statistics
    of = f"/{parts}" if parts else ""
    line = (
        f"{status.state}: {run.triggers}{of} parts, {run.accepted} accepted, {run.rejected} rejected, "
        f"{run.faulted} faulted, {run.parts_per_s:.1f} parts/s, "
        f"p99 {run.to_acknowledged.p99:.0f} ms to acknowledgement"
    )
    notes = [status.reason] if status.reason else []
    notes += [f"{status.overloaded} waited until their deadline (overload)"] if status.overloaded else []
    notes += [f"{one.name}: {one.problem}" for one in status.observers if one.problem]
    notes += [f"risk: {risk}" for risk in status.risks]
    if not status.sorter.connected:
        notes.append(
            f"the cell does not answer on {status.sorter.description} {status.sorter.last_error}".strip()
        )
    return f"{line} ({'; '.join(notes)})" if notes else line


@contextmanager
def live_view(console: Console, title: str, parts: int | None) -> Iterator[Callable[[LineStatus], None]]:
    """Yield a function that shows a status; call it a few times per second."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            yield lambda status: live.update(dashboard(status, title, parts))
        return
    calls = 0

    def show(status: LineStatus) -> None:
        nonlocal calls
        if calls % 20 == 0:
            console.print(told(plain_line(status, parts)), highlight=False, soft_wrap=True)
        calls += 1

    yield show


def _lamp(good: bool) -> Text:
    return Text("●", style="green" if good else "red")


def _last_verdict(status: LineStatus) -> Text:
    last = status.statistics.last
    if last is None:
        return Text("no part yet", style="dim")
    text = Text(f"part {last.part_id}: ")
    text.append(last.verdict.outcome.value, style=STYLES[last.verdict.outcome])
    text.append(printable(f" into bin {last.verdict.bin}: {last.verdict.reason}"))
    text.truncate(94, overflow="ellipsis")
    return text


def save_picture(path: Path, status: LineStatus, title: str, parts: int | None) -> None:
    """The live view of one moment as an SVG."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(dashboard(status, title, parts))
    path.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(path), title="station run")
