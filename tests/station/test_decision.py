"""Algorithm 1 and what a recipe adds to it: a verdict for every set of scores, closed against failure."""

import math
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
from station.decision import FAULT_CLASS, decide, fault
from station.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
HOUSING = load_recipe(RECIPES / "servo-motor-housing.yaml")
COMMUTATOR = load_recipe(RECIPES / "commutator.yaml")
Scores = NDArray[np.float32]


def with_rules(recipe: Recipe, temperature: float = 1.0, **rules: dict[str, float]) -> Recipe:
    """The recipe with rules (threshold, release_below) for classes given by name."""
    classes = tuple(entry.model_copy(update=rules.get(entry.name, {})) for entry in recipe.classes)
    decision = recipe.decision.model_copy(update={"temperature": temperature})
    return recipe.model_copy(update={"classes": classes, "decision": decision})


def patches(*rows: list[float], count: int = 16) -> Scores:
    """Scores of ``count`` patches, the first ones as given, the others good."""
    good = [0.96, 0.01, 0.01, 0.01, 0.01]
    return np.array([*rows, *[good] * (count - len(rows))], np.float32)


def algorithm_1(scores: Scores) -> int:
    """The pseudo-code of the paper, line by line."""
    labels = [int(np.argmax(row)) for row in scores]
    probabilities = [float(max(row)) for row in scores]
    if all(label == 0 for label in labels):
        return 0
    ids = [i for i, label in enumerate(labels) if label != 0]
    z_max = max(ids, key=lambda i: probabilities[i])
    return labels[z_max]


@st.composite
def some_scores(draw: st.DrawFn, classes: int = 5, count: int = 16) -> Scores:
    """Probabilities without ties, good patches more likely than not."""
    logits = draw(
        arrays.arrays(np.float64, (count, classes), elements=st.floats(-6, 6), unique=True)
    ) + 1e-4 * np.arange(count * classes).reshape(count, classes)
    logits[:, 0] += draw(st.floats(0, 14))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@given(some_scores())
@settings(deadline=None)
def test_the_default_is_algorithm_1(scores: Scores) -> None:
    verdict = decide(scores, HOUSING)
    assert verdict.class_index == algorithm_1(scores)
    assert verdict.outcome is (Outcome.ACCEPT if verdict.class_index == 0 else Outcome.REJECT)
    assert verdict.bin == HOUSING.classes[verdict.class_index].bin
    assert verdict.class_name == HOUSING.classes[verdict.class_index].name


@given(some_scores(), st.integers(0, 15), st.integers(1, 4))
@settings(deadline=None)
def test_any_defective_patch_makes_the_part_defective(scores: Scores, patch: int, defect: int) -> None:
    scores[patch] = 0.1
    scores[patch, defect] = 0.6
    assert decide(scores, HOUSING).outcome is Outcome.REJECT


@given(some_scores(), st.permutations(range(16)), st.floats(0.0, 0.9), st.floats(0.0, 0.9))
@settings(deadline=None)
def test_the_order_of_the_patches_does_not_matter(
    scores: Scores, order: list[int], threshold: float, release: float
) -> None:
    rules = {"threshold": threshold, "release_below": release}
    recipe = with_rules(HOUSING, pits=rules, scratches={"threshold": release / 2})
    one, other = decide(scores, recipe), decide(scores[order], recipe)
    assert one.patch is not None
    assert other.patch is not None
    assert order[other.patch] == one.patch
    assert tuple(one.labels[place] for place in order) == other.labels
    shown = replace(other, patch=one.patch, reason=one.reason, labels=one.labels)
    assert shown == one


@given(some_scores(), st.floats(0.0, 0.9), st.floats(0.0, 0.9))
@settings(deadline=None)
def test_a_part_is_accepted_if_and_only_if_no_patch_is_labelled_defective(
    scores: Scores, threshold: float, release: float
) -> None:
    rules = {"threshold": threshold, "release_below": release}
    verdict = decide(scores, with_rules(HOUSING, pits=rules, scratches={"threshold": release / 2}))
    assert len(verdict.labels) == 16
    assert (verdict.outcome is Outcome.ACCEPT) == (not any(verdict.labels))
    if verdict.outcome is Outcome.REJECT:
        assert verdict.patch is not None
        assert verdict.labels[verdict.patch] == verdict.class_index


def test_every_patch_is_labelled_by_the_rule_that_decides_on_it() -> None:
    recipe = with_rules(HOUSING, pits={"release_below": 0.6}, scratches={"threshold": 0.3})
    scores = patches(
        [0.45, 0.0, 0.55, 0.0, 0.0],  # released
        [0.2, 0.0, 0.8, 0.0, 0.0],  # most probable
        [0.6, 0.0, 0.0, 0.05, 0.35],  # over a threshold
        [0.5, 0.5, 0.0, 0.0, 0.0],  # a tie
    )
    assert decide(scores, recipe).labels == (0, 2, 4, 1, *[0] * 12)
    assert decide(scores[:3], recipe).labels == ()


def test_equal_patches_report_the_first_and_equal_classes_the_lower() -> None:
    scores = patches()
    scores[7] = scores[3] = [0.2, 0.0, 0.0, 0.0, 0.8]
    assert decide(scores, HOUSING).patch == 3
    scores[9] = [0.2, 0.0, 0.8, 0.0, 0.0]
    assert (decide(scores, HOUSING).class_name, decide(scores, HOUSING).patch) == ("pits", 9)


def test_a_tie_with_defect_free_goes_to_the_defect() -> None:
    assert decide(patches([0.5, 0.0, 0.5, 0.0, 0.0]), HOUSING).class_name == "pits"


@given(some_scores(), st.floats(0.05, 20.0))
@settings(deadline=None)
def test_a_temperature_does_not_change_the_most_probable_class(scores: Scores, temperature: float) -> None:
    before = decide(scores, HOUSING)
    after = decide(scores, with_rules(HOUSING, temperature))
    assert (before.outcome is Outcome.ACCEPT) == (after.outcome is Outcome.ACCEPT)


def test_a_temperature_divides_the_log_probabilities() -> None:
    scores = patches([0.2, 0.0, 0.8, 0.0, 0.0])
    softer = decide(scores, with_rules(HOUSING, temperature=2.0))
    assert softer.confidence == pytest.approx(math.sqrt(0.8) / (math.sqrt(0.8) + math.sqrt(0.2)), rel=1e-6)


@given(some_scores(), st.integers(1, 4), st.floats(0.001, 1.0), st.floats(0.001, 1.0))
@settings(deadline=None)
def test_a_lower_threshold_never_lets_more_parts_pass(scores: Scores, c: int, one: float, two: float) -> None:
    name = HOUSING.classes[c].name
    low, high = (with_rules(HOUSING, **{name: {"threshold": t}}) for t in sorted((one, two)))
    passes = [decide(scores, recipe).outcome is Outcome.ACCEPT for recipe in (low, high, HOUSING)]
    assert passes == sorted(passes)


@given(some_scores(), st.integers(1, 4), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(deadline=None)
def test_a_lower_release_never_lets_more_parts_pass(scores: Scores, c: int, one: float, two: float) -> None:
    name = HOUSING.classes[c].name
    low, high = (with_rules(HOUSING, **{name: {"release_below": t}}) for t in sorted((one, two)))
    passes = [decide(scores, recipe).outcome is Outcome.ACCEPT for recipe in (HOUSING, low, high)]
    assert passes == sorted(passes)


def test_a_threshold_rejects_where_defect_free_is_more_probable_and_says_so() -> None:
    scores = patches([0.65, 0.0, 0.0, 0.0, 0.35])
    assert decide(scores, HOUSING).outcome is Outcome.ACCEPT
    verdict = decide(scores, with_rules(HOUSING, scratches={"threshold": 0.3}))
    assert (verdict.class_name, verdict.patch, verdict.confidence) == ("scratches", 0, pytest.approx(0.35))
    assert "threshold 0.3" in verdict.reason


def test_a_release_lets_pass_only_what_is_hardly_defective_at_all() -> None:
    recipe = with_rules(HOUSING, pits={"release_below": 0.6})
    assert decide(patches([0.45, 0.0, 0.55, 0.0, 0.0]), recipe).outcome is Outcome.ACCEPT
    assert "1 released" in decide(patches([0.45, 0.0, 0.55, 0.0, 0.0]), recipe).reason
    # The sum of all defects counts, not the one class.
    assert decide(patches([0.3, 0.1, 0.4, 0.1, 0.1]), recipe).outcome is Outcome.REJECT


def test_no_release_however_high_passes_a_patch_that_is_certainly_defective_of_several_kinds() -> None:
    everywhere = {entry.name: {"release_below": 0.8} for entry in HOUSING.classes[1:]}
    scores = patches([0.1, 0.24, 0.22, 0.22, 0.22])
    assert decide(scores, with_rules(HOUSING, **everywhere)).outcome is Outcome.REJECT


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@settings(deadline=None)
def test_with_two_classes_threshold_and_release_together_cut_the_score_at_one_place(
    score: float, cut: float
) -> None:
    recipe = with_rules(COMMUTATOR, crack={"threshold": cut, "release_below": cut})
    scores = np.tile(np.array([1.0, 0.0]), (COMMUTATOR.patch_count, 1))
    scores[5] = [1 - score, score]
    defective = decide(scores, recipe).outcome is Outcome.REJECT
    assert defective == (score >= cut)


def test_an_accept_is_as_sure_as_its_least_sure_patch() -> None:
    scores = patches([0.9, 0.1, 0.0, 0.0, 0.0], [0.7, 0.1, 0.1, 0.1, 0.0])
    verdict = decide(scores, HOUSING)
    assert (verdict.outcome, verdict.patch) == (Outcome.ACCEPT, 1)
    assert verdict.confidence == pytest.approx(0.7)


@given(some_scores(), st.integers(0, 15), st.integers(0, 4), st.sampled_from((math.nan, math.inf, -math.inf)))
@settings(deadline=None)
def test_a_score_that_is_no_number_faults_whatever_else(
    scores: Scores, patch: int, column: int, value: float
) -> None:
    scores[patch, column] = value
    verdict = decide(scores, with_rules(HOUSING, 3.0, pits={"threshold": 0.01}))
    assert verdict == fault(verdict.reason, HOUSING)
    assert f"patch {patch}" in verdict.reason


@pytest.mark.parametrize(
    "scores",
    [
        patches()[:15],
        patches(count=17),
        patches()[:, :4],
        patches().ravel(),
        np.zeros((0, 5), np.float32),
        patches() * 1.01,
        patches() * 0.99,
        np.zeros((16, 5), np.float32),
        patches([1.2, -0.2, 0.0, 0.0, 0.0]),
        np.ones((16, 5), np.int64),
        np.array([["a"] * 5] * 16),
        None,
        [[1.0, 0, 0, 0, 0]] * 16,
    ],
    ids=lambda value: str(getattr(value, "shape", type(value).__name__)),
)
def test_what_is_not_a_full_set_of_probabilities_is_a_fault(scores: Any) -> None:
    verdict = decide(scores, HOUSING)
    assert (verdict.outcome, verdict.class_index, verdict.bin) == (Outcome.FAULT, FAULT_CLASS, 6)
    assert verdict.reason


def test_sums_within_a_thousandth_of_one_are_probabilities() -> None:
    assert decide(patches() * np.float32(1.0009), HOUSING).outcome is Outcome.ACCEPT


@given(some_scores(), st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 20))
@settings(deadline=None)
def test_reasons_fit_the_wire(scores: Scores, threshold: float, release: float, temperature: float) -> None:
    rules = {"threshold": round(threshold, 3), "release_below": release}
    reason = decide(scores, with_rules(HOUSING, temperature, scratches=rules)).reason
    assert reason.isascii()
    assert len(reason) <= 64
