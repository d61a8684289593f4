"""``station journal``: what the station did; it can be read while the station runs."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from station.cli.journal_loss import accept_loss
from station.cli.journal_options import (
    DEFAULT_CONFIG,
    EXIT_FINDINGS,
    ClassOption,
    ConfigOption,
    EventKind,
    ExportFormat,
    JournalOption,
    OutcomeOption,
    SinceOption,
    UntilOption,
    errors,
    journal_path,
    read,
    selection,
)
from station.cli.journal_summary import summary
from station.cli.journal_tables import record_table, score_table, stage_table
from station.cli.rows import console_for_tables

app = typer.Typer(
    name="journal",
    help="Read the journal, one record per part; this works while the station runs.",
    no_args_is_help=True,
)


@app.command("list")
def list_(
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The most records to show.")] = 20,
    since: SinceOption = None,
    until: UntilOption = None,
    outcome: OutcomeOption = None,
    class_name: ClassOption = None,
    part: Annotated[int | None, typer.Option(help="Only this part id.")] = None,
    lot: Annotated[str | None, typer.Option(help="Only this lot, as `station mark` gave it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
) -> None:
    """List the latest parts, newest first.

    A narrow terminal leaves out columns, and gives the reason of a reject or fault a line of its own. In a
    pipe or a file, each record is one line, nothing is cut, and an empty value is `-`.

    Examples:
        station journal list

        station journal list --lot 4711-B --class pits --limit 100

        station journal list --outcome reject --outcome fault --since 8h

        station journal list --part 4711 --json

    """
    from rich.console import Console

    from station.cli.journal_tables import COLUMNS, line
    from station.cli.rows import print_rows
    from station.journal.export import plain
    from station.journal.reading import JournalReader

    with errors():
        path = journal_path(journal, config)
        chosen = selection(since, until, outcome, class_name, part, lot=lot, newest_first=True, limit=limit)
        with JournalReader(path) as reader:
            records = list(reader.records(chosen, scores=as_json))
            matching = reader.count(chosen) if len(records) == limit else len(records)
    if as_json:
        for record in records:
            print(json.dumps(plain(record)))
    else:
        print_rows(Console(), COLUMNS, [line(record) for record in records], "reason")
    if not records:
        print("no record matches", file=sys.stderr)
    elif matching > len(records):
        print(f"{len(records):,} of {matching:,} records; --limit N shows more", file=sys.stderr)


@app.command()
def show(
    record: Annotated[
        int | None, typer.Argument(help="The record's number; without it, the latest record.")
    ] = None,
    part: Annotated[
        int | None, typer.Option(help="The part id instead; the latest record of it is meant.")
    ] = None,
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show one record: verdict, place of the product, times of the stages, scores of every patch.

    A record's number is the journal's own, and each record has another one. A part id is the cell's number,
    which the cell may use again. If a number is both, a note on stderr says so.

    Examples:
        station journal show

        station journal show 1204

        station journal show --part 4711 --json

    """
    from station.journal import JournalError
    from station.journal.export import plain
    from station.journal.reading import JournalReader
    from station.journal.selection import Selection

    if record is not None and part is not None:
        raise typer.BadParameter("name either the record's number or --part, not both")
    with errors():
        path = journal_path(journal, config)
        with JournalReader(path) as reader:
            number = record if part is None else part
            of_part = Selection(part_id=number, newest_first=True, limit=1)
            latest = next(reader.records(of_part), None)
            found = latest if record is None else reader.record(record)
            later = [] if found is None else list(reader.station_events(record_id=found.record_id))
            others = 0 if part is None else reader.count(of_part) - 1
        if found is None:
            what = f"record {record}" if record is not None else "record" if part is None else f"part {part}"
            instead = f"; part {record} is record {latest.record_id}: use --part {record}" if latest else ""
            raise JournalError(
                f"journal {path} has no {what}{instead}: `station journal list` shows the records"
            )
    if record is not None and latest is not None and latest.record_id != record:
        note = f"record {record} is shown; part {record} is record {latest.record_id}: use --part {record}"
        print(f"note: {note}", file=sys.stderr)
    if others > 0:
        note = (
            f"part {part} has {others + 1} records, this is the latest: `station journal list --part {part}`"
        )
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        events = [{"kind": one.kind, "at": one.at, "values": one.values} for one in later]
        print(json.dumps(plain(found) | {"events": events}, indent=1))
        return
    console = console_for_tables()
    console.print(record_table(found, later))
    if found.stages_ms:
        console.print(stage_table(found))
    if found.scores is not None:
        console.print(score_table(found))


@app.command()
def export(
    target: Annotated[str, typer.Argument(help="The file to write; - is standard output.")],
    format_: Annotated[
        ExportFormat | None,
        typer.Option("--format", "-f", help="The format; by default by the file name, and CSV for -."),
    ] = None,
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    since: SinceOption = None,
    until: UntilOption = None,
    outcome: OutcomeOption = None,
    class_name: ClassOption = None,
    scores: Annotated[bool, typer.Option(help="Include the scores of every patch.")] = True,
) -> None:
    """Export records, oldest first.

    The file appears when it is complete. Parquet cannot be written to standard output.

    Examples:
        station journal export parts.parquet

        station journal export rejects.csv --outcome reject --since 2031-03-01 --until 2031-04-01

        station journal export - --format jsonl --no-scores | head

    """
    from station.journal.export import STDOUT, format_of
    from station.journal.export import export as write

    with errors():
        kind = format_of(target, None if format_ is None else str(format_))
        path = journal_path(journal, config)
        chosen = selection(since, until, outcome, class_name, None)
        count = write(read(path, chosen, scores=scores), target, kind)
    if target != STDOUT:
        print(f"{count} records written to {target}", file=sys.stderr)


@app.command()
def audit(
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    expect_head: Annotated[
        str | None, typer.Option(help="The head of an earlier audit; it must still be in the chain.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Check also the closed files that passed an earlier audit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Prove that every trigger has one end and that no record was changed since it was written.

    Exit code: 0 no findings, 1 findings, 2 the file is not a journal that can be read.

    Examples:
        station journal audit

        station journal audit --journal copy-of-march.sqlite --json

        station journal audit --expect-head 3f9c...e1

    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from station.cli.text import styled, told
    from station.journal.audit import audit as check

    with errors():
        path, status = journal_path(journal, config), Console(stderr=True)
        with Progress(console=status, transient=True, disable=not status.is_terminal) as bar:
            task = bar.add_task("auditing", total=None)
            report = check(
                path,
                expect_head=expect_head,
                again=again,
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
        counts = Table(title=told(path), title_justify="left", show_header=False, box=None)
        sums = f"{report.accepted} accepted + {report.rejected} rejected + {report.faulted} faulted"
        sums += f" + {report.open} open" if report.open else ""
        counts.add_row("triggers", f"{report.triggers} {'=' if report.conserved else '!='} {sums}")
        counts.add_row("events", f"{report.events}, chained")
        same = f", {report.remembered} unchanged since an earlier audit" if report.remembered else ""
        counts.add_row("files", f"{report.segments}{same}")
        counts.add_row("head", told(report.head))
        console.print(counts, highlight=False)
        for note in report.notes:
            console.print(told(f"note: {note}"))
        for finding in report.findings:
            console.print(styled("[red]{}[/]", finding), soft_wrap=True)
        findings = styled("[bold red]{} findings[/]", report.findings_total)
        console.print(styled("[green]passed[/]") if report.passed else findings)
    if not report.passed:
        raise typer.Exit(EXIT_FINDINGS)


app.command()(summary)
app.command()(accept_loss)


@app.command()
def events(
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    kind: Annotated[
        list[EventKind] | None,
        typer.Option("--kind", "-k", help="Only this kind; can be given several times."),
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Print all events after this number, also those of parts.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="The most events to print.")
    ] = None,
) -> None:
    """Print the events of the station, one JSON line per event.

    They are starts, stops, halts, changeovers, changed configurations, reviews, pictures, degraded states,
    engines that failed their golden parts (canary) and acknowledged losses.

    Examples:
        station journal events --kind changeover --kind configuration

        station journal events --after 0 > everything.jsonl

    """
    from itertools import islice

    from station.journal.events import SHOWN_EVENTS
    from station.journal.packing import scores_to_json
    from station.journal.reading import JournalReader

    with errors(), JournalReader(journal_path(journal, config)) as reader:
        chosen = tuple(map(str, kind or SHOWN_EVENTS))
        found = reader.station_events(chosen) if after is None else reader.events(after)
        for one in islice(found, limit):
            row = {"seq": one.seq, "at": one.at, "kind": one.kind, "record_id": one.record_id}
            scores = {} if one.scores is None else {"scores": scores_to_json(one.scores)}
            print(json.dumps(row | {"values": one.values | scores}))


@app.command()
def text(
    digest: Annotated[
        str | None, typer.Argument(help="The digest of a recipe or configuration, or its first digits.")
    ] = None,
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Print a recipe or configuration that was used for parts, in its text of that time.

    Without a digest, list all of them.

    Examples:
        station journal text

        station journal text 6c60a73e > recipe-of-march.yaml

    """
    from station.journal.reading import JournalReader

    with errors(), JournalReader(journal_path(journal, config)) as reader:
        if digest is not None:
            sys.stdout.write(reader.text(digest)[1])
            return
        for whole, what, content in reader.texts():
            print(f"{whole}  {what}, {len(content.splitlines())} lines")


@app.command()
def cursors(
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    delete: Annotated[
        str | None, typer.Option(help="Delete this cursor; the journal then no longer keeps files for it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
) -> None:
    """List the cursors of the journal: who reads its events, and up to which one.

    The journal removes no closed file that a cursor still needs.

    Examples:
        station journal cursors

        station journal cursors --delete telemetry

    """
    from rich.table import Table

    from station.cli.text import told
    from station.journal.cursors import cursors as all_cursors
    from station.journal.cursors import delete_cursor
    from station.journal.reading import JournalReader

    with errors():
        path = journal_path(journal, config)
        if delete is not None:
            delete_cursor(path, delete)
            print(f"deleted the cursor {delete}", file=sys.stderr)
            return
        with JournalReader(path) as reader:
            head = reader.head().seq
        found = all_cursors(path)
    if as_json:
        for one in found:
            print(json.dumps({"name": one.name, "seq": one.seq, "behind": head - one.seq}))
        return
    table = Table(title=told(f"{path}: {head} events"), title_justify="left")
    for column in ("cursor", "last event read", "events behind", "moved"):
        table.add_column(column, justify="right" if "event" in column else "left")
    for one in found:
        table.add_row(told(one.name), str(one.seq), str(head - one.seq), one.moved_at)
    console_for_tables().print(table)
