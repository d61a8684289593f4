"""A recipe with the numbers of the engine that judges: they belong together and change together.

The factory engine judges by the recipe as it is written. An engine that came home brings the thresholds and
the temperature that it was measured with (``rules`` of its bundle.json), and perhaps classes that the recipe
does not know yet. What it is used with is a recipe of its own, with its own digest, which the journal keeps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from station.engines.contents import read_contents
from station.engines.folder import load_manifest
from station.engines.interface import EngineError
from station.engines.manifest import EngineRules
from station.engines.store import Installed
from station.recipe import Recipe, RecipeError, check_recipe


def recipe_for(recipe: Recipe, engine: Installed) -> Recipe:
    """The recipe by which ``engine`` judges. Raises :class:`EngineError`.

    Bins are the recipe's, by class. A class that only the engine knows goes to ``decision.unknown_bin``, or
    to the bin of faults without one: both are on the reject side. An engine that does not know a class of the
    recipe is refused: it would not see it.
    """
    if engine.entry is None:
        return recipe
    classes, rules = load_manifest(engine.folder, engine.name).classes, read_contents(engine.folder).rules
    return recipe_by(recipe, classes, rules, engine.digest)


def recipe_by(recipe: Recipe, classes: tuple[str, ...], rules: EngineRules, engine: str) -> Recipe:
    """The recipe with the classes and numbers of an engine; ``engine``: what messages call it.

    Raises :class:`EngineError`, as :func:`recipe_for`.
    """
    label = engine if "/" in engine else engine[:12]
    own = [entry.name for entry in recipe.classes]
    unseen = [name for name in own if name not in classes]
    if unseen or classes[0] != own[0]:
        what = f"the class {unseen[0]!r}" if unseen else f"{own[0]!r} as the good class"
        raise EngineError(
            f"engine {label} does not know {what} of recipe {recipe.name!r}: train it with this "
            "class, or remove the class from the recipe"
        )
    content: dict[str, Any] = yaml.safe_load(recipe.text)
    _adapt(content, recipe, classes, rules)
    text = f"# {recipe.name} as engine {engine} judges by it\n" + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True
    )
    try:
        return check_recipe(Path(f"{recipe.name}.yaml"), text.encode())
    except RecipeError as error:
        wrong = "; ".join(f"{one.key}: {one.problem}" for one in error.mistakes)
        raise EngineError(
            f"engine {label} brings numbers that recipe {recipe.name!r} cannot have ({wrong}): "
            "ship it with others"
        ) from None


def _adapt(content: dict[str, Any], recipe: Recipe, classes: tuple[str, ...], rules: EngineRules) -> None:
    """Write the engine's classes and numbers into a recipe's document."""
    written = {one["name"]: one for one in content["classes"]}
    decision = recipe.decision
    new_bin = recipe.fault_bin if decision.unknown_bin is None else decision.unknown_bin
    content["classes"] = [
        {key: value for key, value in written.get(name, {"bin": new_bin}).items() if key not in _NUMBERS}
        | {"name": name}
        | ({"threshold": rules.thresholds[name]} if name in rules.thresholds else {})
        | ({"release_below": rules.release_below[name]} if name in rules.release_below else {})
        for name in classes
    ]
    changed = dict(content.get("decision") or {}) | {"temperature": rules.temperature}
    if rules.unknown == "reject" and decision.unknown != "reject":
        changed |= {"unknown": "reject", "unknown_bin": recipe.fault_bin}
    content["decision"] = changed


_NUMBERS = ("threshold", "release_below")
