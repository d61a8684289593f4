"""A list for people and for other programs: one line per row, or two where the terminal is narrow.

On a terminal the remark of a row goes to a line of its own where it does not fit beside the row, and what is
still too long is cut with an ellipsis. Anywhere else - a pipe, a file - nothing is cut: each row is one line
with every column, and an empty cell is ``-``, so that ``awk '{print $2}'`` finds the same thing in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from station.cli.text import printable

_GAP = "  "
_INDENT = "    "
_UNCUT = 2000


@dataclass(frozen=True, slots=True)
class Column:
    """One column; a narrow terminal leaves out the columns with the highest ``spare`` first."""

    name: str
    right: bool = False
    spare: int = 0
    """0: never left out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a text per column, and a remark of any length."""

    cells: tuple[str, ...]
    styles: tuple[str, ...]
    remark: str = ""
    important: bool = True
    """Whether a narrow terminal gives the remark a line of its own; without it, the remark is left out."""


def console_for_tables() -> Console:
    """A console as wide as its terminal; where there is none, so wide that nothing is wrapped or cut."""
    console = Console()
    return console if console.is_terminal else Console(width=_UNCUT)


def print_rows(console: Console, columns: Sequence[Column], rows: Sequence[Row], remark: str) -> None:
    """Print the rows under their headings; ``remark`` is the heading of the remarks."""
    for line in _lines(columns, rows, remark, console.width if console.is_terminal else None):
        console.print(line, no_wrap=True, soft_wrap=not console.is_terminal, highlight=False)


def _lines(columns: Sequence[Column], rows: Sequence[Row], remark: str, width: int | None) -> Iterator[Text]:
    texts = [[printable(cell).replace("\n", " ") or "-" for cell in row.cells] for row in rows]
    widths = [
        max([cell_len(column.name), *(cell_len(line[index]) for line in texts)])
        for index, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    while width is not None and sum(widths[i] + len(_GAP) for i in shown) - len(_GAP) > width:
        spare = max(shown, key=lambda index: (columns[index].spare, index))
        if not columns[spare].spare:
            break
        shown.remove(spare)
    taken = sum(widths[i] + len(_GAP) for i in shown)
    longest = max((cell_len(row.remark) for row in rows if row.important), default=0)
    beside = width is None or taken + min(longest, 60) <= width

    def line(cells: Sequence[str], styles: Sequence[str], end: str) -> Text:
        text = Text()
        for index in shown:
            padding = " " * (widths[index] - cell_len(cells[index]))
            text.append(padding if columns[index].right else "")
            text.append(cells[index], style=styles[index])
            text.append(_GAP if columns[index].right else padding + _GAP)
        text.append(end if beside else "")
        text.rstrip()
        return _cut(text, width)

    yield line([column.name for column in columns], ["bold"] * len(columns), remark)
    for row, cells in zip(rows, texts, strict=True):
        said = printable(row.remark).replace("\n", " ")
        yield line(cells, row.styles, said)
        if not beside and said and row.important:
            yield _cut(Text(f"{_INDENT}{said}", style="dim"), width)


def _cut(text: Text, width: int | None) -> Text:
    if width is not None:
        text.truncate(width, overflow="ellipsis")
    return text
