"""Every ``--help`` of the two commands shows what its author wrote."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deploy.telemetry_sink.__main__ import app as sink
from deploy.updater.__main__ import app as updater
from retraining.circle.__main__ import app as circle
from retraining.cli import app as retrain
from station.cli import app as station

APPS = {"station": station, "retrain": retrain, "telemetry-sink": sink, "updater": updater, "circle": circle}


def commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and all below it, each with the words that call it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from commands((*words, name), below)


COMMANDS = dict(
    found for name, app in APPS.items() for found in commands((name,), typer.main.get_command(app))
)


def shown(words: tuple[str, ...], columns: int) -> str:
    wide = {"COLUMNS": str(columns), "TERM": "dumb"}
    result = CliRunner().invoke(APPS[words[0]], [*words[1:], "--help"], env=wide)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_every_word_and_bracket_as_it_was_written(words: tuple[str, ...]) -> None:
    """What Markdown would take for its own, such as ``<label>``, belongs into backticks."""
    found = re.sub(r"[\s│]+", " ", shown(words, 500))
    command = COMMANDS[words]
    own = command.callback.__doc__ if command.callback and command.callback.__doc__ else command.help
    for text in (own, *(getattr(parameter, "help", "") or "" for parameter in command.params)):
        for word in re.sub(r"(?m)^\s*- |`", "", text).split():
            assert word in found, f"{word!r} of {text!r}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_keeps_each_example_on_a_line_of_its_own(words: tuple[str, ...]) -> None:
    lines = [line.strip() for line in shown(words, 100).splitlines()]
    docstring = inspect.getdoc(COMMANDS[words].callback) or ""
    for line in docstring.partition("Examples:\n")[2].splitlines():
        assert line.strip() in lines, f"{line!r} is cut or joined with another; use 94 characters at most"
