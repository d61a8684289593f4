"""Thresholds and temperature in the form that a recipe takes, and put into a copy of one."""

from __future__ import annotations

from pathlib import Path

import yaml

from retraining.errors import DatasetError
from station.files import write_file
from station.recipe import ProductClass, Recipe, check_recipe, load_recipe


def recipe_lines(recipe: Recipe) -> str:
    """The ``classes`` and ``decision`` of a recipe as YAML."""
    classes = "\n".join(f"  - {_flow(entry)}" for entry in recipe.classes)
    return f"classes:\n{classes}\n\ndecision:\n  temperature: {recipe.decision.temperature:g}\n"


def write_recipe(original: Path, target: Path, recipe: Recipe) -> Recipe:
    """Copy the recipe file with the thresholds and the temperature of ``recipe`` in it, the version one up.

    Everything else stays as it is, comments too. Returns the copy as the station reads it. Raises
    :class:`DatasetError` rather than replace a file, :class:`station.recipe.RecipeError` for a bad original.
    """
    if target.exists():
        raise DatasetError(
            f"{target} exists already; name a new file, and compare both before the line uses it"
        )
    before = load_recipe(original)
    text = original.read_text(encoding="utf-8")
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode), "load_recipe has read it"
    keys = {key.value: value for key, value in root.value}
    version = keys["version"]
    changes = [(version.start_mark.index, version.end_mark.index, str(before.version + 1))]
    for node, entry in zip(keys["classes"].value, recipe.classes, strict=True):
        changes.append((node.start_mark.index, _end(node), _flow(entry)))
    temperature = f"{recipe.decision.temperature:g}"
    if "decision" in keys and keys["decision"].value:
        rules = keys["decision"]
        own = [value for key, value in rules.value if key.value == "temperature"]
        if own:
            changes.append((own[0].start_mark.index, _end(own[0]), temperature))
        else:
            first = rules.value[0][0].start_mark
            between = ", " if rules.flow_style else "\n" + " " * first.column
            changes.append((first.index, first.index, f"temperature: {temperature}{between}"))
    elif "decision" in keys:
        node = keys["decision"]
        changes.append((node.start_mark.index, _end(node), f"{{temperature: {temperature}}}"))
    else:
        text = f"{text.rstrip()}\n\ndecision:\n  temperature: {temperature}\n"
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    written = check_recipe(target, text.encode())
    write_file(target, text)
    return written


def _flow(entry: ProductClass) -> str:
    """One class in one line, without the keys that it does not use."""
    values = {key: value for key, value in entry.model_dump().items() if value or key in ("name", "bin")}
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=1_000).strip()


def _end(node: yaml.Node) -> int:
    """Where a node's text ends; a block's end mark lies behind the comments that follow it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    return int(node.end_mark.index)
