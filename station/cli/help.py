"""The examples of ``--help``, shown as they were written."""

from __future__ import annotations

import inspect
import re

import typer


def keep_examples(app: typer.Typer) -> None:
    """Make the examples of each command's docstring a code block of its help, which Markdown leaves alone.

    Indentation alone does not make one: typer removes it where the examples follow the first paragraph, and
    Markdown then joins their lines and takes ``<label>`` for HTML.
    """
    for command in app.registered_commands:
        before, *parts = re.split(r"^(Examples?:)\n", inspect.getdoc(command.callback) or "", flags=re.M)
        if parts:
            heading, examples = parts
            command.help = f"{before}{heading}\n\n```\n{inspect.cleandoc(examples)}\n```"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            keep_examples(group.typer_instance)
