"""``station journal``: what the station did, read while it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from station.journal.reading import Selection
    from station.journal.record import PartRecord

EXIT_FINDINGS = 1
EXIT_ERROR = 2

app = typer.Typer(
    name="journal",
    help="Read the journal: one record a part, trigger to acknowledged bin; also while the station runs.",
    no_args_is_help=True,
)


class Shown(StrEnum):
    """Which records."""

    ACCEPT = "accept"
    REJECT = "reject"
    FAULT = "fault"
    OPEN = "open"


class ExportFormat(StrEnum):
    """What `export` writes."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


JournalOption = Annotated[
    Path | None,
    typer.Option("--journal", "-j", envvar="STATION_JOURNAL", help="The journal's file; else the config's."),
]
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="STATION_CONFIG", help="station.yaml that names the journal.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(help="From then on: 2031-03-01, 2031-03-01T06:00 (local), or 8h, 2d for ago."),
]
UntilOption = Annotated[str | None, typer.Option(help="Before then; written as --since.")]
OutcomeOption = Annotated[
    list[Shown] | None, typer.Option("--outcome", "-o", help="Only these; may be given several times.")
]
ClassOption = Annotated[
    list[str] | None, typer.Option("--class", help="Only verdicts of this class; may be given several times.")
]
DEFAULT_CONFIG = Path("config/demo.yaml")


@app.command("list")
def list_(
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="So many records at most.")] = 20,
    since: SinceOption = None,
    until: UntilOption = None,
    outcome: OutcomeOption = None,
    class_name: ClassOption = None,
    part: Annotated[int | None, typer.Option(help="Only this part id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of a table.")] = False,
) -> None:
    """List the latest parts, newest first.

    Examples:
        station journal list

        station journal list --outcome reject --outcome fault --since 8h

        station journal list --part 4711 --json

    """
    from rich.console import Console
    from rich.table import Table

    from station.journal.export import plain

    with _errors():
        path = _path(journal, config)
        chosen = _selection(since, until, outcome, class_name, part, newest_first=True, limit=limit)
        records = list(_read(path, chosen, scores=as_json))
    if as_json:
        for record in records:
            print(json.dumps(plain(record)))
        return
    table = Table(title=str(path), title_justify="left")
    for column in ("record", "part", "triggered", "verdict", "class", "sure", "bin", "put into", "ms", "why"):
        right = column in ("record", "part", "sure", "bin", "ms")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for record in records:
        table.add_row(*_line(record))
    console = Console()
    console.print(table)
    if not records:
        console.print("no such record")


@app.command()
def show(
    record: Annotated[int | None, typer.Argument(help="The record's number; left out: the latest.")] = None,
    part: Annotated[int | None, typer.Option(help="The latest record of this part id instead.")] = None,
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show one record whole: verdict, where the product was, times of the stages, scores of every patch.

    Examples:
        station journal show

        station journal show 1204

        station journal show --part 4711 --json

    """
    from rich.console import Console

    from station.journal import JournalError
    from station.journal.export import plain
    from station.journal.reading import JournalReader, Selection

    with _errors():
        path = _path(journal, config)
        with JournalReader(path) as reader:
            if record is not None:
                found = reader.record(record)
            else:
                latest = Selection(part_id=part, newest_first=True, limit=1)
                found = next(reader.records(latest), None)
        if found is None:
            what = f"record {record}" if record is not None else "record" if part is None else f"part {part}"
            raise JournalError(f"journal {path} has no {what}: `station journal list` shows what there is")
    if as_json:
        print(json.dumps(plain(found), indent=1))
        return
    console = Console()
    console.print(_record_table(found))
    if found.stages_ms:
        console.print(_stage_table(found))
    if found.scores is not None:
        console.print(_score_table(found))


@app.command()
def export(
    target: Annotated[str, typer.Argument(help="The file to write; - is standard output (CSV, JSON).")],
    format_: Annotated[
        ExportFormat | None, typer.Option("--format", "-f", help="Else the name's ending says it; - is CSV.")
    ] = None,
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    since: SinceOption = None,
    until: UntilOption = None,
    outcome: OutcomeOption = None,
    class_name: ClassOption = None,
    scores: Annotated[bool, typer.Option(help="With the scores of every patch.")] = True,
) -> None:
    """Export records, oldest first; the file appears when it is complete.

    Examples:
        station journal export parts.parquet

        station journal export rejects.csv --outcome reject --since 2031-03-01 --until 2031-04-01

        station journal export - --format jsonl --no-scores | head

    """
    from station.journal.export import STDOUT, format_of
    from station.journal.export import export as write

    with _errors():
        kind = format_of(target, None if format_ is None else str(format_))
        path = _path(journal, config)
        chosen = _selection(since, until, outcome, class_name, None)
        count = write(_read(path, chosen, scores=scores), target, kind)
    if target != STDOUT:
        print(f"{count} records written to {target}", file=sys.stderr)


@app.command()
def audit(
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    expect_head: Annotated[
        str | None, typer.Option(help="A head noted after an earlier audit; it must still be in the chain.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Prove that every trigger has one end and that no record was changed since it was written.

    Exit code: 0 nothing is wrong, 1 there are findings, 2 the file cannot be read as a journal.

    Examples:
        station journal audit

        station journal audit --journal copy-of-march.sqlite --json

        station journal audit --expect-head 3f9c...e1

    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress
    from rich.table import Table

    from station.journal.audit import audit as check

    with _errors():
        path, status = _path(journal, config), Console(stderr=True)
        with Progress(console=status, transient=True, disable=not status.is_terminal) as bar:
            task = bar.add_task("auditing", total=None)
            report = check(
                path,
                expect_head=expect_head,
                progress=lambda done, of: bar.update(task, completed=done, total=of),
            )
    if as_json:
        names = [name for name in type(report).__dataclass_fields__ if name not in ("path", "findings")]
        document: dict[str, Any] = {"journal": str(path), "passed": report.passed}
        document |= {name: getattr(report, name) for name in names}
        document["findings"] = [
            {"kind": one.kind, "record_id": one.record_id, "text": one.text} for one in report.findings
        ]
        print(json.dumps(document, indent=1))
    else:
        console = Console()
        counts = Table(title=str(path), title_justify="left", show_header=False, box=None)
        sums = f"{report.accepted} accepted + {report.rejected} rejected + {report.faulted} faulted"
        sums += f" + {report.open} open" if report.open else ""
        counts.add_row("triggers", f"{report.triggers} {'=' if report.conserved else '!='} {sums}")
        counts.add_row("events", f"{report.events}, chained")
        counts.add_row("head", report.head)
        console.print(counts, highlight=False)
        for note in report.notes:
            console.print(f"note: {note}", highlight=False)
        for finding in report.findings:
            console.print(f"[red]{escape(str(finding))}[/]", highlight=False, soft_wrap=True)
        verdict = "[green]passed[/]" if report.passed else f"[bold red]{report.findings_total} findings[/]"
        console.print(verdict, highlight=False)
    if not report.passed:
        raise typer.Exit(EXIT_FINDINGS)


@contextmanager
def _errors() -> Iterator[None]:
    """What a person can mend is one line on stderr and exit code 2."""
    from station.journal import JournalError
    from station.strict_yaml import DocumentError

    try:
        yield
    except (JournalError, DocumentError) as error:
        print(f"station: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_ERROR) from None


def _path(journal: Path | None, config: Path) -> Path:
    """The journal named, else the one of the configuration."""
    if journal is not None:
        return journal
    from station.config import load_config

    return load_config(config).paths.journal


def _selection(
    since: str | None,
    until: str | None,
    outcome: list[Shown] | None,
    class_name: list[str] | None,
    part: int | None,
    *,
    newest_first: bool = False,
    limit: int | None = None,
) -> Selection:
    from station.journal.reading import Selection, parse_moment

    try:
        return Selection(
            since=None if since is None else parse_moment(since),
            until=None if until is None else parse_moment(until),
            outcomes=tuple(map(str, outcome or ())),
            class_names=tuple(class_name or ()),
            part_id=part,
            newest_first=newest_first,
            limit=limit,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _read(path: Path, chosen: Selection, *, scores: bool) -> Iterator[PartRecord]:
    from station.journal.reading import JournalReader

    with JournalReader(path) as reader:
        yield from reader.records(chosen, scores=scores)


def _line(record: PartRecord) -> list[str]:
    """One record as a row of the list."""
    from rich.markup import escape

    sure = "" if record.confidence is None or record.outcome == "fault" else f"{record.confidence:.3f}"
    decided = record.stages_ms.get("decided")
    return [
        str(record.record_id),
        str(record.part_id),
        _local(record.opened_at),
        _verdict(record),
        escape(record.class_name or ""),
        sure,
        "" if record.bin is None else str(record.bin),
        _put(record),
        "" if decided is None else f"{decided:.0f}",
        escape(record.reason or ""),
    ]


def _record_table(record: PartRecord) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"record {record.record_id}", title_justify="left", show_header=False, box=None)
    mode = record.mode + (", simulated" if record.is_simulated else "")
    rows = [
        ("part", f"{record.part_id}"),
        ("station", f"{escape(record.station)} ({escape(mode)})"),
        ("triggered", f"{_local(record.opened_at)} local, {record.opened_at}"),
        ("recipe", f"{escape(record.recipe)} version {record.recipe_version}, {record.recipe_digest}"),
    ]
    if record.requested_recipe:
        rows.append(("asked for", escape(record.requested_recipe)))
    if record.outcome is None:
        rows.append(("verdict", "none yet: in hand, or in doubt after a crash"))
    else:
        sure = "" if record.outcome == "fault" else f", {record.class_name} {record.confidence:.4f}"
        patch = "" if record.patch is None else f", patch {record.patch}"
        rows.append(("verdict", f"{_verdict(record)}{escape(sure)}{patch}, to bin {record.bin}"))
        rows.append(("why", escape(record.reason or "")))
        rows.append(("put into", _put(record)))
    if record.frame_id is not None:
        whole = "complete" if record.frame_complete else "INCOMPLETE"
        rows.append(("frame", f"{record.frame_id}, {whole}, {record.lost_before} lost before it"))
    if record.region is not None:
        x, y, width, height = record.region
        lean = f", leaning {record.region_lean_x} x {record.region_lean_y} px" if record.region_lean_x else ""
        rows.append(("product", f"x {x} y {y}, {width} x {height} px{lean}"))
    if record.engine_digest is not None:
        rows.append(("engine", f"{record.engine_digest} on {record.backend} {record.precision}"))
    if record.recovered:
        rows.append(("closed", "at a start of the station, after it had ended too early"))
    for name, value in rows:
        table.add_row(f"[dim]{name}[/]", value)
    return table


def _stage_table(record: PartRecord) -> Table:
    from rich.table import Table

    table = Table(title="stages", title_justify="left", box=None)
    table.add_column("")
    table.add_column("ms after the trigger", justify="right")
    table.add_column("ms since the stage before", justify="right")
    before = 0.0
    for stage, at_ms in sorted(record.stages_ms.items(), key=lambda entry: entry[1]):
        table.add_row(stage, f"{at_ms:.2f}", f"{at_ms - before:.2f}")
        before = at_ms
    return table


def _score_table(record: PartRecord) -> Table:
    """Patches down, classes across; the class that the decision gave each patch stands out.

    A record of a fault, or of a release that did not write them yet, has no labels: nothing stands out.
    """
    from rich.table import Table

    assert record.scores is not None
    scores = record.scores if record.scores.ndim == 2 else record.scores.reshape(-1, 1)
    names = record.classes.split(",") if record.classes else []
    if len(names) != scores.shape[1]:
        names = [f"class {index}" for index in range(scores.shape[1])]
    labels = record.patch_labels
    table = Table(title="scores", title_justify="left", box=None)
    for name in ("patch", *names, ""):
        table.add_column(name, justify="right")
    for index, row in enumerate(scores):
        label = labels.get(index, 0) if record.labels is not None else -1
        cells = []
        for column, value in enumerate(row):
            style = ("green" if column == 0 else "bold red") if column == label else "dim"
            cells.append(f"[{style}]{value:.4f}[/]")
        decided = index == record.patch
        remark = "< decided" if decided else "< defective" if label > 0 else ""
        table.add_row(str(index), *cells, remark, style="reverse" if decided else None)
    return table


def _verdict(record: PartRecord) -> str:
    style = {"accept": "green", "reject": "red", "fault": "yellow"}.get(record.outcome or "", "dim")
    return f"[{style}]{record.outcome or 'open'}[/]"


def _put(record: PartRecord) -> str:
    from rich.markup import escape

    if record.acknowledged is None:
        return "no answer yet"
    if record.acknowledged:
        return f"bin {record.ack_bin}"
    return f"[yellow]{escape(record.ack_problem or 'not acknowledged')}[/]"


def _local(utc: str) -> str:
    from datetime import datetime

    return datetime.fromisoformat(utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")
