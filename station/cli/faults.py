"""``station faults``: what a fault's code means, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer


def faults(
    codes: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]...", help="Codes such as F101, or a reason.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print all codes as the tables of docs/faults.md.")
    ] = False,
) -> None:
    """Explain the codes of faults: meaning, cause, and what to do.

    A code stands at the beginning of a reason: on the screen of the cell, in the log, in the journal, in
    `station status`. Without a code, the command lists all of them.

    Examples:

        station faults

        station faults F101

        station faults F606 F901
    """
    from rich.console import Console

    from station.cli.rows import Column, Row, console_for_tables, print_rows
    from station.cli.text import styled, told
    from station.faults import BY_CODE, Code, FaultsError, code_of, markdown

    if as_markdown:
        if codes:
            raise FaultsError("--markdown prints all codes: leave the codes out")
        print(markdown(), end="")
        return
    if not codes:
        rows = [Row(cells=(one.code,), styles=("bold",), remark=one.meaning) for one in Code]
        print_rows(console_for_tables(), [Column("CODE")], rows, "MEANING")
        return
    found = [(given, code_of(given.strip().upper())) for given in codes]
    unknown = [given for given, one in found if one is None]
    if unknown:
        raise FaultsError(
            f"no code of a fault: {', '.join(unknown)}; write F and three digits, "
            f"from {min(BY_CODE)} to {max(BY_CODE)}; `station faults` lists all"
        )
    console = Console()
    for _, one in found:
        if one is None:
            continue
        console.print(styled("[bold]{}[/] {}", one.code, one.meaning))
        for name, text in (("group", one.group), ("cause", one.cause), ("remedy", one.remedy)):
            console.print(told(f"  {name + ':':8}{text}"))
