"""An engine in trial goes back when it does worse than the one before, and not because of chance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from station.engines.health import GROUP, IN_A_ROW, Baseline, Beside, Health, Judged, chart_of, health_of


def parts(
    count: int, reject: float, seed: int = 1, *, fault: float = 0.0, slow: float = 0.0, disagree: float = -1.0
) -> list[Judged]:
    dice = random.Random(seed)
    return [
        Judged(
            faulted=dice.random() < fault,
            slow=dice.random() < slow,
            rejected=dice.random() < reject,
            disagrees=None if disagree < 0 else dice.random() < disagree,
        )
        for _ in range(count)
    ]


def found_after(
    baseline: Sequence[Judged], trial: Sequence[Judged], said: Sequence[Beside] = ()
) -> tuple[int, Health]:
    """After how many parts the trial ends, and how; ``said``: by the engine in trial, in the shadow."""
    usual = Baseline.of(baseline, said)
    for count in range(GROUP, len(trial) + 1, GROUP):
        health = health_of(usual, trial[:count], 300)
        if health.problem or health.enough:
            return count, health
    raise AssertionError("the trial never ends")


def test_an_engine_like_the_one_before_ends_its_trial_well() -> None:
    count, health = found_after(parts(1000, 0.08), parts(400, 0.08, 2))
    assert (count, health.is_good) == (300, True)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"reject": 0.6}, "rejected parts"),
        ({"reject": 0.08, "fault": 0.4}, "without scores in time"),
        ({"reject": 0.08, "slow": 0.4}, "close to the deadline"),
        ({"reject": 0.08, "disagree": 0.4}, "judges otherwise"),
    ],
)
def test_an_engine_that_is_far_worse_goes_back_after_two_groups(what: dict[str, float], words: str) -> None:
    count, health = found_after(parts(1000, 0.08, disagree=0.01), parts(400, seed=2, **what))
    assert count == IN_A_ROW * GROUP
    assert words in health.problem
    assert not health.is_good


def test_one_that_becomes_worse_goes_back_within_three_groups_of_it() -> None:
    for after in range(40, 90, 7):
        trial = parts(after, 0.02, after) + parts(400, 0.9, 3)
        count, health = found_after(parts(1000, 0.02), trial)
        assert health.problem
        assert count <= after + 3 * GROUP


def test_an_engine_that_rejects_nothing_any_more_is_not_good() -> None:
    count, health = found_after(parts(1000, 0.15), parts(400, 0.0, 2))
    assert not health.is_good
    assert count <= 300
    assert "rejected parts: 0 of" in health.problem


def beside(of_rejected: float, of_accepted: float, accepted: int = 300) -> list[Beside]:
    """What the engine in trial said in the shadow, of many rejected parts and of some accepted ones."""
    dice = random.Random(7)
    rejected = [Beside(False, dice.random() < of_rejected, True) for _ in range(300)]
    return rejected + [Beside(False, dice.random() < of_accepted, False) for _ in range(accepted)]


def test_an_engine_that_rejects_no_less_than_in_the_shadow_ends_its_trial_well() -> None:
    trial = parts(400, 0.3, 2)
    assert not found_after(parts(1000, 0.5), trial)[1].is_good
    for accepted in (300, 30):  # the shadow leaves out accepted parts first
        assert found_after(parts(1000, 0.5), trial, beside(0.6, 0.0, accepted))[1].is_good
    assert not found_after(parts(1000, 0.5), trial, beside(0.6, 0.0, 20))[1].is_good  # too few to say


def test_an_engine_that_rejects_less_on_the_line_than_in_the_shadow_goes_back() -> None:
    count, health = found_after(parts(1000, 0.5), parts(400, 0.02, 2), beside(0.6, 0.0))
    assert count == IN_A_ROW * GROUP
    assert "rejected parts" in health.problem


def test_an_engine_that_rejected_too_much_in_the_shadow_is_excused_for_nothing_by_it() -> None:
    count, health = found_after(parts(1000, 0.1), parts(400, 0.6, 2), beside(1.0, 0.6))
    assert (count, health.is_good) == (IN_A_ROW * GROUP, False)


def test_a_reject_rate_that_moves_from_lot_to_lot_is_no_finding_where_it_always_did() -> None:
    """An ordinary p chart would send this engine back; Laney's has learnt how the rate moves."""
    dice = random.Random(5)

    def lots(count: int, seed: int) -> list[Judged]:
        return [
            one
            for lot in range(count)
            for one in parts(GROUP, 0.05 if dice.random() < 0.7 else 0.5, seed * 1000 + lot)
        ]

    baseline = lots(40, 1)
    assert chart_of([bool(one.rejected) for one in baseline]).sigma_z > 1.8
    assert all(found_after(baseline, lots(14, seed))[1].is_good for seed in range(2, 12))


def test_chance_alone_sends_few_engines_back() -> None:
    back = sum(
        not found_after(parts(1000, reject, seed), parts(400, reject, seed + 1000))[1].is_good
        for reject in (0.01, 0.05, 0.2)
        for seed in range(8)
    )
    assert back <= 0.05 * 24


def test_without_parts_of_the_engine_before_it_is_said_what_is_not_compared() -> None:
    health = health_of(Baseline.of(parts(30, 0.1)), parts(300, 0.9), 300)
    assert health.is_good
    assert health.not_compared == ("rejected parts: the engine before judged 30 parts",)
    assert health_of(Baseline.of([]), parts(60, 0.0, fault=0.5), 300).problem


def test_parts_of_a_class_that_the_engine_before_did_not_know_send_nobody_back() -> None:
    """One part in five shows what the engine before took for good, or for unknown."""
    dice = random.Random(9)

    def trial(excused: bool) -> list[Judged]:
        return [
            replace(one, rejected=True, excused=excused) if dice.random() < 0.2 else one
            for one in parts(400, 0.05, 2)
        ]

    baseline = parts(1000, 0.05)
    assert found_after(baseline, trial(excused=True))[1].is_good
    assert "rejected parts" in found_after(baseline, trial(excused=False))[1].problem
    was_unknown = parts(1000, 0.25)
    assert found_after(was_unknown, trial(excused=True))[1].is_good, "it does not reject too little either"
