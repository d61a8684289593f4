"""An engine that came home judges by its own numbers and the recipe's bins, and by nothing in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from station.engines.adapted import recipe_for
from station.engines.contents import CONTENTS, contents_from
from station.engines.interface import EngineError
from station.engines.manifest import EngineRules
from station.engines.store import Installed, Store
from station.recipe import Recipe, load_recipe
from tests.conftest import TINY_RECIPE
from tests.station.engines.engine_store import installed


@pytest.fixture
def newcomer(tiny_engine: Path, tmp_path: Path) -> Installed:
    digest = installed(tiny_engine.parent, tiny_engine, tmp_path)
    return Store(tiny_engine.parent, "tiny").find(digest)


def with_rules(engine: Installed, **rules: object) -> None:
    """Write other rules into an installed engine's bundle.json."""
    file = engine.folder / CONTENTS
    contents = contents_from(file.read_bytes())
    file.write_bytes(contents.model_copy(update={"rules": EngineRules(**rules)}).to_json())  # type: ignore[arg-type]


def test_the_factory_engine_judges_by_the_recipe_as_it_is_written(
    tiny_recipe: Recipe, tiny_engine: Path
) -> None:
    factory = Store(tiny_engine.parent, "tiny").active()
    assert recipe_for(tiny_recipe, factory) is tiny_recipe


def test_thresholds_and_temperature_are_the_engines_and_bins_are_the_recipes(
    tiny_recipe: Recipe, newcomer: Installed
) -> None:
    with_rules(newcomer, temperature=1.5, thresholds={"dark": 0.3}, release_below={"bright": 0.1})
    adapted = recipe_for(tiny_recipe, newcomer)
    assert adapted.decision.temperature == 1.5
    assert [(one.name, one.bin, one.threshold, one.release_below) for one in adapted.classes] == [
        ("good", 1, 0.0, 0.0),
        ("bright", 2, 0.0, 0.1),
        ("dark", 3, 0.3, 0.0),
    ]
    assert adapted.digest != tiny_recipe.digest
    assert newcomer.digest in adapted.text
    assert recipe_for(tiny_recipe, newcomer) == adapted, "the same digest each time"


def test_a_threshold_of_the_recipe_does_not_stay_with_an_engine_that_has_none(
    newcomer: Installed, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY_RECIPE.replace("bin: 3}", "bin: 3, threshold: 0.4}"))
    assert load_recipe(file).classes[2].threshold == 0.4
    assert recipe_for(load_recipe(file), newcomer).classes[2].threshold == 0.0


def test_a_class_that_only_the_engine_knows_goes_to_the_reject_side(
    newcomer: Installed, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY_RECIPE.replace("  - {name: dark, bin: 3}\n", ""))
    adapted = recipe_for(load_recipe(file), newcomer)
    assert [(one.name, one.bin) for one in adapted.classes] == [("good", 1), ("bright", 2), ("dark", 9)]


def test_an_engine_that_does_not_know_a_class_of_the_recipe_is_refused(
    newcomer: Installed, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY_RECIPE.replace("fault_bin", "  - {name: burr, bin: 4}\nfault_bin"))
    with pytest.raises(EngineError, match="does not know the class 'burr' of recipe 'tiny'"):
        recipe_for(load_recipe(file), newcomer)


def test_numbers_that_need_a_persons_risk_are_refused(tiny_recipe: Recipe, newcomer: Installed) -> None:
    with_rules(newcomer, temperature=19.0)
    assert json.loads((newcomer.folder / CONTENTS).read_text())["rules"]["temperature"] == 19.0
    with pytest.raises(EngineError, match=r"brings numbers that recipe .* \(decision.temperature: outside"):
        recipe_for(tiny_recipe, newcomer)
