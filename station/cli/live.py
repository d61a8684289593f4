"""The live view of a run: a table that is updated, or plain lines where there is no terminal."""

from __future__ import annotations

import io
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.bar import Bar
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from drivers.sorters.interface import Outcome
from station.cli.logs import ThreadedHandler
from station.cli.text import printable, styled, told
from station.line_values import LineStatus
from station.supervision import State

STYLES = {Outcome.ACCEPT: "green", Outcome.REJECT: "red", Outcome.FAULT: "yellow"}
STATE_STYLES = {
    State.ERROR: "bold red",
    State.INITIALIZED: "yellow",
    State.HALTED: "dim",
    State.PREOPERATIONAL: "yellow",
    State.OVERLOADED: "yellow",
    State.DEGRADED: "yellow",
}
SPARE = 7
"""Sections of this rank and above are left out before any other is shortened."""
WIDTH = 100
"""The widest view, columns."""
TABLE_WIDTH = 72
"""The least width for counts, classes and times side by side."""
FRAMED_HEIGHT = 14
"""A terminal with fewer rows has no room for a frame."""
LOG_SHOWN = 3
"""Lines of the log in the view."""
LOG_KEPT = 1000
"""Lines of the log that are printed when the view ends."""


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of the view; a small terminal leaves out the sections of the highest rank first."""

    rank: int
    content: RenderableType
    short: RenderableType | None = None
    """What stands for it where there is little room."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The live view of one moment, as large as the terminal allows, the state and the counts first."""

    status: LineStatus
    title: str
    parts: int | None
    log: tuple[str, ...] = ()
    """The latest lines of the log."""
    height: int | None = None
    """Rows of the terminal; None: as many as it takes."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(WIDTH, options.max_width)
        framed = self.height is None or self.height >= FRAMED_HEIGHT
        inside = options.update(width=width - 4 if framed else width, height=None)
        sections = self._sections(inside.max_width)
        kept = _that_fit(console, inside, sections, self.height and self.height - 2 * framed)
        rows = Group(*kept)
        yield Panel(rows, title=told(self.title), title_align="left", width=width) if framed else rows

    def _sections(self, width: int) -> list[_Section]:
        status, run = self.status, self.status.statistics
        blank = _Section(9, "")
        line = _counts_in_a_line(status, self.parts)
        table = _numbers(status, self.parts, wide=width >= WIDTH - 4)
        sections = [
            _Section(0, _head(status), short=_head(status, no_wrap=True)),
            *(
                _Section(5, Text(printable(f"risk: {risk}"), style="bold yellow", overflow="ellipsis"))
                for risk in status.risks
            ),
            _Section(7, _what(status)),
            blank,
            _Section(1, table, short=line) if width >= TABLE_WIDTH else _Section(1, line),
            blank,
            _Section(4, _devices(status), short=_devices_in_lines(status)),
            blank,
            _Section(6, _beside(status)),
            blank,
            _Section(2, _last_verdict(status)),
        ]
        if self.log:
            lines = [
                Text(printable(line), style="yellow", no_wrap=True, overflow="ellipsis") for line in self.log
            ]
            sections += [_Section(9, ""), _Section(3, Group(*lines), short=lines[-1])]
        if self.parts:
            done = run.triggers - run.in_hand
            sections.append(_Section(8, ProgressBar(total=self.parts, completed=done, width=76)))
        return sections


def dashboard(status: LineStatus, title: str, parts: int | None) -> RenderableType:
    """The live view of one moment, complete."""
    return Dashboard(status, title, parts)


def _that_fit(
    console: Console, options: ConsoleOptions, sections: list[_Section], height: int | None
) -> list[RenderableType]:
    """The sections that ``height`` rows hold: first some are shortened, then some are left out."""

    def rows(content: RenderableType) -> int:
        return len(console.render_lines(content, options, pad=False))

    chosen: dict[int, RenderableType] = {index: one.content for index, one in enumerate(sections)}
    sizes = {index: rows(content) for index, content in chosen.items()}
    if height is None or sum(sizes.values()) <= height:
        return list(chosen.values())
    by_rank = sorted(chosen, key=lambda index: (-sections[index].rank, -index))
    needed = [index for index in by_rank if sections[index].rank < SPARE]
    steps: list[tuple[int, RenderableType | None]] = [
        *((index, None) for index in by_rank if index not in needed),
        *((index, short) for index in needed if (short := sections[index].short) is not None),
        *((index, None) for index in needed if sections[index].rank > 1),
    ]
    for index, instead in steps:
        if sum(sizes.values()) <= height:
            break
        if instead is None:
            del chosen[index], sizes[index]
        else:
            chosen[index], sizes[index] = instead, rows(instead)
    return list(chosen.values())


def _head(status: LineStatus, *, no_wrap: bool = False) -> Text:
    head = Text(no_wrap=no_wrap, overflow="ellipsis")
    head.append(f" {status.state} ", style=f"reverse {STATE_STYLES.get(status.state, 'green')}")
    head.append(printable(f"  {status.reason}") if status.reason else "")
    return head


def _what(status: LineStatus) -> Text:
    engine = status.engine
    what = Text(f"recipe {status.recipe}, engine {engine.name} {engine.digest[:12]} on ", style="dim")
    what.append(f"{engine.backend} {engine.precision}")
    return what


def _numbers(status: LineStatus, parts: int | None, *, wide: bool) -> Table:
    """Counts, the classes of the rejects, times, side by side."""
    bar, gap = (16, 4) if wide else (5, 2)
    run = status.statistics
    counts = Table.grid(padding=(0, 2))
    counts.add_row("parts", styled("[bold]{}[/]{}", run.triggers, f" of {parts}" if parts else ""))
    counts.add_row("accepted", styled("[green]{}[/]", run.accepted))
    counts.add_row("rejected", styled("[red]{}[/]", run.rejected))
    counts.add_row("faulted", styled("[yellow]{}[/]", run.faulted))
    if status.overloaded:
        waited = styled("[yellow]{}[/] waited until their deadline", status.overloaded)
        counts.add_row("overload", waited)
    counts.add_row("yield", f"{run.yield_fraction:.1%}")
    counts.add_row("pace", f"{run.parts_per_s:.1f} parts/s")

    times = Table.grid(padding=(0, gap // 2))
    times.add_row("trigger to", "p50", "p95", "p99", "ms", style="dim")
    for name, of in (("verdict", run.to_verdict), ("acknowledged", run.to_acknowledged)):
        times.add_row(name, f"{of.p50:.0f}", f"{of.p95:.0f}", f"{of.p99:.0f}")

    pareto = Table.grid(padding=(0, 1))
    most = max(run.classes.values(), default=1)
    for name, count in list(run.classes.items())[:6]:
        pareto.add_row(told(name), str(count), Bar(most, 0, count, width=bar, color="red"))
    if not run.classes:
        pareto.add_row(Text("no reject so far", style="dim"))

    columns = Table.grid(padding=(0, gap))
    columns.add_row(counts, pareto, times)
    return columns


def _counts_in_a_line(status: LineStatus, parts: int | None) -> Text:
    run = status.statistics
    line = Text(f"{run.triggers}{f' of {parts}' if parts else ''} parts: ")
    for count, name, style in (
        (run.accepted, "accepted", "green"),
        (run.rejected, "rejected", "red"),
        (run.faulted, "faulted", "yellow"),
    ):
        line.append(f"{count} {name}, ", style=style)
    line.append(f"yield {run.yield_fraction:.1%}, {run.parts_per_s:.1f} parts/s")
    if status.overloaded:
        line.append(f", {status.overloaded} waited until their deadline (overload)", style="yellow")
    return line


def _devices(status: LineStatus) -> Table:
    devices = Table.grid(padding=(0, 2))
    for name, of in (("camera", status.camera), ("sorter", status.sorter)):
        devices.add_row(_lamp(of.connected), name, told(of.description), told(of.counted))
    return devices


def _devices_in_lines(status: LineStatus) -> Group:
    lines = []
    for name, of in (("camera", status.camera), ("sorter", status.sorter)):
        line = Text(no_wrap=True, overflow="ellipsis").append_text(_lamp(of.connected))
        wrong = of.last_error if not of.connected else ""
        lines.append(line.append(printable(f" {name}: {wrong or of.description}")))
    return Group(*lines)


def _beside(status: LineStatus) -> Table:
    """What waits in the queues, and the observers."""
    beside = Table.grid(padding=(0, 2))
    if status.queues:
        waiting = (f"{one.name} {one.length} of {one.capacity}" for one in status.queues)
        beside.add_row("waiting", told(", ".join(waiting)), style="dim")
    for one in status.observers:
        shown = Text(printable(one.note or f"{one.observed} parts"), style="dim")
        shown.append(printable(f"  {one.problem}") if one.problem else "", style="yellow")
        beside.add_row(Text(one.name, style="dim"), shown)
    return beside


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
    """Yield a function that shows a status; call it a few times per second.

    On a terminal the view has a screen of its own, which is drawn whole each time: nothing of an earlier
    moment stays, whatever its height was, and a change of the terminal's size shows at the next drawing. The
    log stands in the view meanwhile and is printed when the view ends.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        with _log_kept() as log, Live(console=console, screen=True, auto_refresh=False) as live:

            def draw(status: LineStatus) -> None:
                view = Dashboard(status, title, parts, tuple(log.latest), console.size.height)
                live.update(view, refresh=True)

            yield draw
        return
    calls = 0

    def show(status: LineStatus) -> None:
        nonlocal calls
        if calls % 20 == 0:
            console.print(told(plain_line(status, parts)), soft_wrap=True)
        calls += 1

    yield show


class _KeptLog(logging.Handler):
    """Keeps the log while the view has the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: deque[logging.LogRecord] = deque(maxlen=LOG_KEPT)
        self.latest: deque[str] = deque(maxlen=LOG_SHOWN)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        self.kept.append(record)
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        self.latest.append(f"{moment} {record.getMessage()}")


@contextmanager
def _log_kept() -> Iterator[_KeptLog]:
    """Take the place of what writes the log to the terminal; let it write everything at the end."""
    root, kept = logging.getLogger(), _KeptLog()
    writers = [
        one for one in root.handlers if isinstance(one, ThreadedHandler) or type(one) is logging.StreamHandler
    ]
    for one in writers:
        root.removeHandler(one)
    root.addHandler(kept)
    try:
        yield kept
    finally:
        root.removeHandler(kept)
        for one in writers:
            root.addHandler(one)
            if kept.count > len(kept.kept):
                one.stream.write(f"{kept.count - len(kept.kept)} earlier lines of the log were dropped\n")
            for record in kept.kept:
                one.handle(record)


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
