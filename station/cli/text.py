"""Text from outside - names, classes, files, errors, a cell's own words - as a terminal may show it.

rich reads a string that it is given: ``[red]`` is a style there, ``:smile:`` a picture, and a number gets a
colour. So it is given a :class:`~rich.text.Text` of this file wherever a word of others is in it.
"""

from __future__ import annotations

from rich.text import Span, Text

_HOLE = "\ufffc"
"""The place of a text from outside in markup of ours; the character stands for "an object" in Unicode."""


def printable(text: object) -> str:
    """``text`` without characters that would move the cursor or change the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(text))


def one_line(text: object) -> str:
    """``text`` as :func:`printable` gives it, in one line, so that a name cannot pass for a line of ours."""
    return printable(text).replace("\n", "?")


def told(text: object) -> Text:
    """``text`` for rich: printable, and nothing in it is taken for a style or a picture."""
    return Text(printable(text))


def styled(markup: str, *outside: object) -> Text:
    """``markup`` of ours for rich, in which each ``{}`` becomes a text from outside, as :func:`told` has it.

    Raises ``ValueError`` where there are not as many texts as places.
    """
    shown = Text.from_markup(markup.replace("{}", _HOLE), emoji=False)
    plain, spans = shown.plain, shown.spans
    holes = [at for at, character in enumerate(plain) if character == _HOLE]
    for at, one in zip(reversed(holes), reversed(outside), strict=True):
        text = printable(one)
        longer = len(text) - 1
        plain = plain[:at] + text + plain[at + 1 :]
        moved = [(start + longer * (start > at), end + longer * (end > at)) for start, end, _ in spans]
        spans = [Span(*place, span.style) for place, span in zip(moved, spans, strict=True)]
    return Text(plain, spans=spans)
