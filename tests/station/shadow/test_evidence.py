"""A candidate that is worse too often is hardly ever found good enough, however often one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.shadow.evidence import Evidence, Finding, log_evidence_above, log_evidence_below

LIMITS = st.floats(0.001, 0.3)
COUNTS = st.integers(0, 3000).flatmap(lambda parts: st.tuples(st.integers(0, parts), st.just(parts)))


@given(counts=COUNTS, limit=LIMITS, beyond=st.floats(0.0, 1.0))
def test_one_more_part_raises_no_evidence_on_average_where_the_claim_is_false(
    counts: tuple[int, int], limit: float, beyond: float
) -> None:
    """The supermartingale that Ville's inequality needs, exactly, from any state and for any true share."""
    worse, parts = counts
    for evidence, true in (
        (log_evidence_below, limit + beyond * (1 - limit)),  # not below the limit
        (log_evidence_above, limit * beyond),  # not above it
    ):
        now = evidence(worse, parts, limit)
        if now == -math.inf or now > 600:
            continue
        after = true * math.exp(evidence(worse + 1, parts + 1, limit) - now) + (1 - true) * math.exp(
            evidence(worse, parts + 1, limit) - now
        )
        assert after <= 1 + 1e-9


def _ever_found(true: float, limit: float, risk: float, finding: Finding) -> float:
    """The share of 600 candidates that come to the finding at any of 4,000 looks."""
    rng = np.random.default_rng(12)
    worse = np.cumsum(rng.random((600, 4000)) < true, axis=1)
    evidence = log_evidence_below if finding is Finding.BETTER else log_evidence_above
    looks = range(50, 4001, 50)
    table = {
        (parts, count): evidence(count, parts, limit) >= -math.log(risk)
        for parts in looks
        for count in {int(one) for one in worse[:, parts - 1]}
    }
    return float(np.mean([any(table[parts, int(row[parts - 1])] for parts in looks) for row in worse]))


def test_the_error_rate_holds_over_any_number_of_looks_and_a_good_candidate_is_found() -> None:
    margin = 3 * math.sqrt(0.05 * 0.95 / 600)
    assert _ever_found(0.01, 0.01, 0.05, Finding.BETTER) <= 0.05 + margin
    assert _ever_found(0.01, 0.01, 0.05, Finding.WORSE) <= 0.05 + margin
    assert _ever_found(0.001, 0.01, 0.05, Finding.BETTER) > 0.95
    assert _ever_found(0.04, 0.01, 0.05, Finding.WORSE) > 0.99


@given(counts=COUNTS, limit=LIMITS)
def test_a_part_that_a_person_takes_back_never_lowers_the_evidence(
    counts: tuple[int, int], limit: float
) -> None:
    worse, parts = counts
    fewer = max(worse - 1, 0)
    assert log_evidence_below(fewer, parts, limit) >= log_evidence_below(worse, parts, limit)
    assert log_evidence_above(fewer, parts, limit) <= log_evidence_above(worse, parts, limit)


def test_no_part_is_no_evidence() -> None:
    nothing = Evidence(0, 0, 0.005, 0.05)
    assert log_evidence_below(0, 0, 0.005) == log_evidence_above(0, 0, 0.005) == 0.0
    assert (nothing.finding, nothing.at_most) == (Finding.OPEN, 1.0)


@pytest.mark.parametrize("worse", [0, 1, 5])
def test_the_parts_still_needed_are_exactly_enough(worse: int) -> None:
    now = Evidence(100, worse, 0.01, 0.05)
    assert Evidence(100 + now.still_needed, worse, 0.01, 0.05).finding is Finding.BETTER
    assert Evidence(100 + now.still_needed - 1, worse, 0.01, 0.05).finding is Finding.OPEN


def test_the_sentence_says_how_far_the_proof_is() -> None:
    assert "more parts without a worse one" in Evidence(100, 0, 0.005, 0.05).in_words()
    assert Evidence(2000, 0, 0.005, 0.05).in_words().endswith("it may be promoted")
    assert "more than the 0.50% that are allowed" in Evidence(2000, 60, 0.005, 0.05).in_words()
