"""Lists are readable on every terminal, and whole in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from station.cli.rows import Column, Row, print_rows

COLUMNS = (
    Column("record", right=True),
    Column("part", right=True),
    Column("triggered"),
    Column("verdict"),
    Column("class", spare=1),
    Column("ms", right=True, spare=2),
)
WHY = "no product: no product brighter than the background (levels 114 to 120); check that a part is in place"
ROWS = [
    Row(("1", "4711", "2031-03-01T06:00:00", "accept", "defect-free", "25"), ("",) * 6, "all good", False),
    Row(("2", "4712", "2031-03-01T06:00:01", "fault", "", ""), ("",) * 6, WHY),
]


def printed(width: int, *, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_rows(console, COLUMNS, ROWS, "reason")
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 119])
def test_a_narrow_terminal_has_at_most_two_lines_per_row_and_none_is_too_long(width: int) -> None:
    lines = printed(width, terminal=True)
    assert len(lines) == 1 + 1 + 2
    assert max(map(len, lines)) <= width
    assert lines[3].strip().startswith("no product: no")


def test_a_wide_terminal_has_one_line_per_row_with_its_reason() -> None:
    lines = printed(220, terminal=True)
    assert len(lines) == 3
    assert lines[2].endswith(WHY)


def test_a_terminal_leaves_out_the_columns_that_are_needed_least() -> None:
    assert "class" in printed(80, terminal=True)[0]
    assert "ms" not in printed(58, terminal=True)[0]
    assert "class" not in printed(40, terminal=True)[0]
    assert "verdict" in printed(48, terminal=True)[0]


@pytest.mark.parametrize("width", [20, 80])
def test_a_pipe_gets_whole_lines_with_the_same_columns_in_each(width: int) -> None:
    lines = printed(width, terminal=False)
    assert len(lines) == 3
    assert lines[2].endswith(WHY)
    assert [line.split()[:6] for line in lines] == [
        ["record", "part", "triggered", "verdict", "class", "ms"],
        ["1", "4711", "2031-03-01T06:00:00", "accept", "defect-free", "25"],
        ["2", "4712", "2031-03-01T06:00:01", "fault", "-", "-"],
    ]
