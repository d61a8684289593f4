"""``station journal summary``: the counts of an hour, a shift, a day, a recipe or a lot."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from station.cli.journal_options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JournalOption,
    SinceOption,
    UntilOption,
    errors,
    journal_path,
    selection,
)
from station.cli.rows import console_for_tables

if TYPE_CHECKING:
    from station.journal.summary import Group

PARETO_SHOWN = 4


class By(StrEnum):
    """What parts are grouped by."""

    HOUR = "hour"
    SHIFT = "shift"
    DAY = "day"
    RECIPE = "recipe"
    LOT = "lot"


def summary(
    by: Annotated[
        By, typer.Option("--by", "-b", help="One row per hour, shift, day, recipe or lot.")
    ] = By.DAY,
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """Count parts: yield, rejected parts per million, defects, first and last part.

    Yield is accepted / (accepted + rejected + faulted). PPM is rejected parts per million of accepted +
    rejected. Faulted parts do not count there: nobody knows whether they have a defect.

    Examples:
        station journal summary --by hour --since 8h

        station journal summary --by lot --since 2031-03-01 --csv > march.csv

    """
    from station.journal.reading import JournalReader
    from station.journal.summary import plain, summarise

    with errors():
        if as_json and as_csv:
            raise typer.BadParameter("use --json or --csv, not both")
        path = journal_path(journal, config)
        with JournalReader(path) as reader:
            groups = summarise(reader, str(by), selection(since, until, None, None, None))
    if as_json:
        print(json.dumps(plain(groups), indent=1))
    elif as_csv:
        rows = plain(groups)
        writer = csv.DictWriter(sys.stdout, list(rows[0]))
        writer.writeheader()
        for row in rows:
            pareto = " ".join(f"{name}={count}" for name, count in row["pareto"].items())
            key = "all" if row["group"] is None else row["group"]
            writer.writerow(row | {"group": key, "pareto": pareto})
    else:
        _print(str(by), groups)


def _print(by: str, groups: list[Group]) -> None:
    from rich.table import Table

    from station.cli.journal_tables import local
    from station.cli.text import told

    table = Table(box=None, padding=(0, 1))
    left = (by, "defects", "first part", "last part")
    for column in (
        by,
        "parts",
        "accepted",
        "rejected",
        "faulted",
        "yield",
        "ppm",
        "defects",
        "first part",
        "last part",
    ):
        table.add_column(column, justify="left" if column in left else "right", no_wrap=column != "defects")
    for group in groups:
        shown = [f"{name} {count}" for name, count in group.pareto[:PARETO_SHOWN]]
        others = sum(count for _, count in group.pareto[PARETO_SHOWN:])
        table.add_row(
            "all" if group.key is None else told(group.key or "not given"),
            str(group.triggers),
            str(group.accepted),
            str(group.rejected),
            str(group.faulted),
            "" if group.yield_share is None else f"{group.yield_share:.2%}",
            "" if group.ppm is None else f"{group.ppm:.0f}",
            told(", ".join([*shown, *([f"others {others}"] if others else [])])),
            f"{group.first_part}\n{local(group.first_at)[5:16]}" if group.first_at else "",
            f"{group.last_part}\n{local(group.last_at)[5:16]}" if group.last_at else "",
        )
    console_for_tables().print(table)
