"""What a message tells a person to do can be done: its options, commands and keys exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from deploy.telemetry_sink.__main__ import app as sink
from deploy.updater.__main__ import app as updater
from retraining.cli import app as retrain
from retraining.gpu.__main__ import app as gpu
from station.cli import app as station
from station.config import config_model
from station.engines.manifest import EngineDocument
from station.recipe import Recipe

ROOT = Path(__file__).parents[1]
ROOMS = ("station", "drivers", "simulation", "deploy", "retraining", "models", "calibration")
ELSEWHERE = {"--nproc-per-node", "--no-python", "--version", "--help"}
"""Options of other programs, and those of every command."""


def messages() -> Iterator[tuple[str, str]]:
    """Where, and every text of our code that is no docstring and no name; the parts of an f-string joined."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            parents = {below: node for node in ast.walk(tree) for below in ast.iter_child_nodes(node)}
            for node in ast.walk(tree):
                text = _text(node)
                if text is None or isinstance(parents.get(node), ast.Expr | ast.JoinedStr):
                    continue
                yield f"{file.relative_to(ROOT)}:{node.lineno}", text  # type: ignore[attr-defined]


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


SAID = [(where, text) for where, text in messages() if " " in text]


def commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(f"{words} {name}", below)


COMMANDS = dict(
    one
    for name, app in (
        ("station", station),
        ("retrain", retrain),
        ("sink", sink),
        ("updater", updater),
        ("gpu", gpu),
    )
    for one in commands(name, typer.main.get_command(app))
)


def test_options_that_messages_name_exist() -> None:
    known = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    wrong = [
        f"{where}: {option}"
        for where, text in SAID
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
        if option not in known | ELSEWHERE
        and not where.startswith("simulation/")  # it has commands of its own
    ]
    assert not wrong, "\n".join(wrong)


def test_commands_that_messages_name_exist() -> None:
    wrong = []
    for where, text in SAID:
        for words in re.findall(r"`((?:station|retrain) [a-z][a-z -]*)", text):
            first, *rest = words.split()
            name = f"{first} {rest[0]}"
            group = COMMANDS.get(name)
            if group is not None and getattr(group, "commands", None) and len(rest) > 1:
                name = f"{name} {rest[1]}"
            if name not in COMMANDS:
                wrong.append(f"{where}: {words}")
    assert not wrong, "\n".join(wrong)


def keys_of(model: type[BaseModel], place: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{place}{name}"
        for below in sections(field.annotation):
            yield from keys_of(below, f"{place}{name}.")


def sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for argument in get_args(annotation) for one in sections(argument)]


def test_keys_that_messages_name_can_be_set() -> None:
    known = {key for model in (config_model(), Recipe, EngineDocument) for key in keys_of(model)}
    tops = {key.split(".")[0] for key in known if "." in key}
    wrong = [
        f"{where}: {key}"
        for where, text in SAID
        for key in re.findall(
            rf"(?<![\w./-])(?:{'|'.join(sorted(tops))})(?:\.[a-z][a-z0-9_]*)+\b(?!\()", text
        )
        if key not in known and not re.search(r"\.(yaml|json|db|csv|png|py)$", key) and not is_module(key)
    ]
    assert not wrong, "\n".join(wrong)


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("word", ["sixteen_bit_white", "accept_risk", "segment_mb", "grab_timeout_ms"])
def test_the_search_sees_the_messages_that_it_judges(word: str) -> None:
    assert any(word in text for _, text in SAID)
