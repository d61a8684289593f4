"""The fault campaign itself: its quickest kinds, once each, against a real station."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation.campaign.kinds import KINDS
from simulation.campaign.report import problems, put_between, quantile, table
from simulation.campaign.run import run_campaign

QUICK = [kind for kind in KINDS.values() if kind.quick]


def test_there_are_at_least_forty_kinds_and_each_says_what_happens() -> None:
    assert len(KINDS) >= 40
    assert all(len(kind.says) > 10 for kind in KINDS.values())


@pytest.mark.timeout(280)
def test_the_quickest_kinds_break_no_law(tmp_path: Path) -> None:
    campaign = run_campaign(tmp_path, QUICK, times=1, seed=7)
    assert problems(campaign) == []
    assert len(campaign.injections) == len(QUICK)
    assert len(table(campaign)) == len(QUICK) + 3


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 21)], 0.95) == 19.0
    assert quantile([5.0], 0.95) == 5.0


def test_a_table_is_put_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- faults -->\nold\n<!-- /faults -->\nafter\n")
    put_between(page, "faults", ["new"])
    assert page.read_text() == "before\n<!-- faults -->\nnew\n<!-- /faults -->\nafter\n"
    with pytest.raises(ValueError, match="soak"):
        put_between(page, "soak", ["new"])
