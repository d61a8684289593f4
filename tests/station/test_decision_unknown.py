"""Parts far from what the engine was trained on: reported or rejected, never accepted because of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from station.decision import FAULT_CLASS, UNKNOWN_CLASS, Rules, decide, decide_by
from station.recipe import Recipe, RecipeError, load_recipe
from tests.station.test_decision import HOUSING, Scores, patches, some_scores, with_rules

BIN = 7


def rejecting(recipe: Recipe) -> Recipe:
    """The recipe, with unknown parts rejected to bin 7."""
    decision = recipe.decision.model_copy(update={"unknown": "reject", "unknown_bin": BIN})
    return recipe.model_copy(update={"decision": decision})


STRICT = rejecting(HOUSING)
ONE_CLASS = STRICT.model_copy(update={"classes": STRICT.classes[:1]})
Novelty = NDArray[np.float32]


def novelties(highest: float = 1e6) -> st.SearchStrategy[Novelty]:
    """The novelty of sixteen patches."""
    return arrays.arrays(np.float32, 16, elements=st.floats(0, highest, width=32))


@given(some_scores(), novelties(), st.floats(0, 1), st.floats(0, 0.99))
@settings(deadline=None)
def test_rejecting_unknown_parts_changes_no_verdict_but_an_accept(
    scores: Scores, novelty: Novelty, threshold: float, release: float
) -> None:
    lenient = with_rules(HOUSING, scratches={"threshold": threshold, "release_below": release})
    without, found = decide(scores, lenient), decide(scores, rejecting(lenient), novelty)
    if without.outcome is not Outcome.ACCEPT or not (novelty > 1).any():
        assert found == without
    else:
        assert (found.outcome, found.class_index, found.bin) == (Outcome.REJECT, UNKNOWN_CLASS, BIN)
        assert found.class_name == "unknown"
        assert found.patch == int(np.argmax(novelty))
        assert [label > 0 for label in found.labels] == (novelty > 1).tolist()
        assert 0 < found.confidence <= 1
        assert found.reason.isascii()
        assert len(found.reason) <= 64


@given(some_scores(), st.none() | novelties() | st.just(np.full(16, np.nan, np.float32)))
@settings(deadline=None)
def test_reporting_changes_no_verdict_whatever_the_novelty(scores: Scores, novelty: Novelty | None) -> None:
    assert decide(scores, HOUSING, novelty) == decide(scores, HOUSING)


@pytest.mark.parametrize(
    "novelty",
    [
        None,
        np.zeros(15, np.float32),
        np.zeros((16, 1), np.float32),
        np.zeros(16, np.int64),
        np.array([np.nan] + [0.0] * 15, np.float32),
        np.array([np.inf] + [0.0] * 15, np.float32),
        np.array([-0.1] + [0.0] * 15, np.float32),
        [0.0] * 16,
    ],
    ids=str,
)
@pytest.mark.parametrize("recipe", [STRICT, ONE_CLASS], ids=["five classes", "one class"])
def test_what_is_no_novelty_of_every_patch_is_a_fault_where_it_is_asked_for(
    novelty: Any, recipe: Recipe
) -> None:
    scores = patches() if recipe is STRICT else np.ones((16, 1), np.float32)
    verdict = decide(scores, recipe, novelty)
    assert (verdict.outcome, verdict.class_index, verdict.bin) == (Outcome.FAULT, FAULT_CLASS, 6)


@given(novelties(2.0))
@settings(deadline=None)
def test_one_class_is_decided_by_the_novelty_alone(novelty: Novelty) -> None:
    verdict = decide(np.ones((16, 1), np.float32), ONE_CLASS, novelty)
    assert verdict.outcome is (Outcome.REJECT if (novelty > 1).any() else Outcome.ACCEPT)
    assert verdict.patch == int(np.argmax(novelty))


def test_one_class_without_novelty_never_accepts() -> None:
    rules = replace(Rules.of(ONE_CLASS), reject_unknown=False)
    found = decide_by(np.ones((16, 1), np.float32), rules, np.zeros(16, np.float32))
    assert found.class_index == FAULT_CLASS


RECIPE = """
name: tiny
version: 1
product: {background: none, widths_px: [32], height_px: 64, mm_per_px_x: 0.5, mm_per_px_y: 0.25}
surface: {height: 64, width: 32}
patch: {size: 16}
engine: tiny
classes:
  - {name: good, bin: 1}
decision:
  unknown: reject
  unknown_bin: 4
fault_bin: 9
"""


def test_a_recipe_of_one_class_rejects_what_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "tiny.yaml")
    assert (recipe.decision.unknown, recipe.decision.unknown_bin) == ("reject", 4)
    assert recipe.line_of("decision.unknown") == 11


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  unknown: reject\n  unknown_bin: 4\n", "  temperature: 1.0\n", "nothing would ever be rejected"),
        ("  unknown_bin: 4\n", "", r"decision\.unknown_bin: is missing"),
        ("unknown: reject", "unknown: report", r"12: decision\.unknown_bin: is not used"),
        ("unknown_bin: 4", "unknown_bin: 1", r"12: decision\.unknown_bin: is 1, the bin of good parts"),
        ("unknown: reject", "unknown: perhaps", "'report' or 'reject'"),
        (
            "  - {name: good, bin: 1}\n",
            "  - {name: good, bin: 1}\n  - {name: unknown, bin: 2}\n",
            "another name",
        ),
    ],
)
def test_a_recipe_that_cannot_reject_what_is_unknown_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert RECIPE.count(old) == 1
    (tmp_path / "tiny.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "tiny.yaml")
