"""What the commands of ``station journal`` share: their options, and how they find and read the journal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from station.journal.record import PartRecord
    from station.journal.selection import Selection

EXIT_FINDINGS = 1
EXIT_ERROR = 2


class Shown(StrEnum):
    """Which records."""

    ACCEPT = "accept"
    REJECT = "reject"
    FAULT = "fault"
    OPEN = "open"


class EventKind(StrEnum):
    """Kinds of events of the station."""

    START = "start"
    STOP = "stop"
    HALT = "halt"
    RESUME = "resume"
    CHANGEOVER = "changeover"
    CONFIGURATION = "configuration"
    MARKS = "marks"
    REVIEW = "review"
    PICTURE = "picture"
    DEGRADED = "degraded"
    CANARY = "canary"
    OPINION = "opinion"
    NOVELTY = "novelty"
    STORE = "store"
    SHADOW = "shadow"
    DRIFT = "drift"
    FRAMES = "frames"
    LOSS = "loss"


class ExportFormat(StrEnum):
    """What `export` writes."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


JournalOption = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        "-j",
        envvar="STATION_JOURNAL",
        help="The journal's file; by default, that of the configuration.",
    ),
]
ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration that names the journal."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(help="From this time on: 2031-03-01, 2031-03-01T06:00 (local time); 8h or 2d ago."),
]
UntilOption = Annotated[str | None, typer.Option(help="Before this time, written like --since.")]
OutcomeOption = Annotated[
    list[Shown] | None, typer.Option("--outcome", "-o", help="Only this outcome; can be given several times.")
]
ClassOption = Annotated[
    list[str] | None, typer.Option("--class", help="Only this class; can be given several times.")
]
DEFAULT_CONFIG = Path("config/demo.yaml")


@contextmanager
def errors() -> Iterator[None]:
    """Print an error that the user can correct as one line on stderr, and exit with code 2."""
    from station.journal import JournalError
    from station.strict_yaml import DocumentError

    try:
        yield
    except (JournalError, DocumentError) as error:
        print(f"station: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_ERROR) from None


def journal_path(journal: Path | None, config: Path) -> Path:
    """The journal named, else the one of the configuration."""
    if journal is not None:
        return journal
    from station.config import load_config

    return load_config(config).paths.journal


def selection(
    since: str | None,
    until: str | None,
    outcome: list[Shown] | None,
    class_name: list[str] | None,
    part: int | None,
    *,
    lot: str | None = None,
    newest_first: bool = False,
    limit: int | None = None,
) -> Selection:
    """The records that the options name."""
    from station.journal.selection import Selection, parse_moment

    try:
        return Selection(
            since=None if since is None else parse_moment(since),
            until=None if until is None else parse_moment(until),
            outcomes=tuple(map(str, outcome or ())),
            class_names=tuple(class_name or ()),
            part_id=part,
            lot=lot,
            newest_first=newest_first,
            limit=limit,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def read(path: Path, chosen: Selection, *, scores: bool) -> Iterator[PartRecord]:
    """The records of a journal, read one batch after the other."""
    from station.journal.reading import JournalReader

    with JournalReader(path) as reader:
        yield from reader.records(chosen, scores=scores)
