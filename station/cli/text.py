"""Text from outside - names, classes, files, errors, a cell's own words - as a terminal may show it."""

from __future__ import annotations

import re

from rich.markup import escape

_TAKEN = re.compile(r"\\(?=\[(?![a-z#/@][^[]*?\]))")
"""A backslash that rich takes for the escape of a bracket where no tag follows, and leaves so itself."""


def printable(text: object) -> str:
    """``text`` without characters that would move the cursor or change the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(text))


def one_line(text: object) -> str:
    """``text`` as :func:`printable` gives it, in one line, so that a name cannot pass for a line of ours."""
    return printable(text).replace("\n", "?")


def told(text: object) -> str:
    """``text`` for rich's markup: printable, and nothing in it is taken for a style."""
    return escape(_TAKEN.sub(r"\\\\", printable(text)))
