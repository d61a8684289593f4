"""``station metrics``: every series that Prometheus can read."""

from __future__ import annotations

from typing import Annotated

import typer


def metrics(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/metrics.md.")
    ] = False,
) -> None:
    """List the series that Prometheus can read of a station, with their labels and meaning.

    A station serves them where its configuration has the section `metrics`.

    Examples:

        station metrics

        curl http://127.0.0.1:9464/metrics
    """
    from station.cli.rows import Column, Row, console_for_tables, print_rows
    from station.metrics.series import SERIES, markdown

    if as_markdown:
        print(markdown(), end="")
        return
    columns = [Column("SERIES"), Column("KIND", spare=1), Column("LABELS", spare=2)]
    rows = [
        Row(cells=(one.name, one.kind, ",".join(one.labels)), styles=("bold", "", ""), remark=one.meaning)
        for one in SERIES
    ]
    print_rows(console_for_tables(), columns, rows, "MEANING")
