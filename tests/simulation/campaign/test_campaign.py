"""The fault campaign itself: its quickest kinds, once each, against a real station."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.cameras import FAMILIES
from simulation.campaign.envelope import judge
from simulation.campaign.kinds import KINDS
from simulation.campaign.plant import Setup
from simulation.campaign.report import notes, problems, put_between, quantile, table
from simulation.campaign.run import run_campaign
from simulation.campaign.soak import Sample, chart, trends

QUICK = [kind for kind in KINDS.values() if kind.quick and kind.fits("serial", "simulated")]


def test_there_are_at_least_forty_kinds_and_each_says_what_happens() -> None:
    assert len(KINDS) >= 40
    assert all(len(kind.says) > 10 for kind in KINDS.values())


@pytest.mark.timeout(280)
def test_the_quickest_kinds_break_no_law(tmp_path: Path) -> None:
    campaign = run_campaign(tmp_path, QUICK, times=1, seed=7)
    assert problems(campaign) == []
    assert len(campaign.injections) == len(QUICK)
    assert len(table(campaign)) == len(QUICK) + 3
    assert any(f"{len(QUICK)} injections" in line for line in notes(campaign))


@pytest.mark.skipif(bool(FAMILIES.entry("harvesters").missing), reason="harvesters is not installed")
@pytest.mark.timeout(280)
def test_a_camera_and_a_plc_by_their_real_libraries_come_back_and_break_no_law(tmp_path: Path) -> None:
    kinds = [KINDS["camera-restarts"], KINDS["link-reset"]]
    setup = Setup(pictures=4, defective=1, wire="opcua", family="harvesters")
    campaign = run_campaign(tmp_path, kinds, times=1, seed=7, setup=setup)
    assert problems(campaign) == []
    assert len(campaign.injections) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", ["aravis", "harvesters"])
def test_the_quickest_kinds_of_a_camera_break_no_law(tmp_path: Path, family: str) -> None:
    if FAMILIES.entry(family).missing:
        pytest.skip(f"the library of {family} is not installed")
    kinds = [kind for kind in KINDS.values() if kind.quick and kind.fits("serial", family)]
    campaign = run_campaign(tmp_path, kinds, times=1, seed=7, setup=Setup(family=family))
    assert problems(campaign) == []
    assert {"camera-restarts", "library-crashes"} <= {one.kind for one in campaign.injections}


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_quickest_kinds_of_a_broker_break_no_law(tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS.values() if kind.quick and kind.fits("mqtt", "simulated")]
    campaign = run_campaign(tmp_path, kinds, times=1, seed=7, setup=Setup(wire="mqtt"))
    assert problems(campaign) == []
    assert len(campaign.injections) == len(kinds)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("wire", ["modbus", "opcua"])
def test_the_quickest_kinds_of_a_plc_break_no_law(tmp_path: Path, wire: str) -> None:
    kinds = [kind for kind in KINDS.values() if kind.quick and kind.fits(wire, "simulated")]
    campaign = run_campaign(tmp_path, kinds, times=1, seed=7, setup=Setup(wire=wire))
    assert problems(campaign) == []
    assert len(campaign.injections) == len(kinds)


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


def _line(
    part_id: int, outcome: str | None, latency_ms: float = 100.0, **values: object
) -> dict[str, object]:
    line = {"part_id": part_id, "outcome": outcome, "latency_ms": latency_ms, "refusals": 0}
    return {**line, "reason": "", "why": "verdict", **values}


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        (["accept"] * 10, "stable"),
        (["accept"] * 8 + ["fault"] * 2, "degrades"),
        (["accept"] * 4 + [None] * 6, "fails"),
    ],
)
def test_a_step_of_the_envelope_has_the_state_that_its_good_parts_show(
    outcomes: list[str | None], state: str
) -> None:
    parts = [_line(number, outcome) for number, outcome in enumerate(outcomes, 1)]
    found = judge("light", "1", parts, ["defect-free"], seconds=1.0, rate_hz=10.0)
    assert (found.state, found.escapes) == (state, 0)


def test_a_defective_part_that_is_accepted_is_counted_as_an_escape_of_its_step() -> None:
    found = judge("light", "1", [_line(1, "accept"), _line(2, "accept")], ["defect-free", "pits"], 1.0, 0.0)
    assert found.escapes == 1


def _samples(**slopes: float) -> list[Sample]:
    """An hour of one process, with a growth per hour."""
    grow = {"rss_mb": 500.0, "pss_mb": 480.0, "threads": 20.0, "descriptors": 30.0, "files": 3.0}
    return [
        Sample(
            at_s=float(at),
            process="station",
            rss_mb=grow["rss_mb"] + slopes.get("rss_mb", 0.0) * at / 3600,
            pss_mb=grow["pss_mb"],
            threads=int(grow["threads"]),
            descriptors=int(grow["descriptors"] + slopes.get("descriptors", 0.0) * at / 3600),
            files=int(grow["files"] + slopes.get("files", 0.0) * at / 3600),
        )
        for at in range(0, 3600, 30)
    ]


def test_what_grows_in_a_soak_is_not_flat_and_all_else_is() -> None:
    assert all(one.flat for one in trends(_samples()))
    leaking = {one.quantity for one in trends(_samples(rss_mb=60.0, descriptors=10.0)) if not one.flat}
    assert leaking == {"rss_mb", "descriptors"}


def test_the_chart_of_a_soak_is_a_picture_with_a_line_per_process() -> None:
    picture = chart(_samples())
    assert picture.startswith("<svg")
    assert picture.count("<polyline") == 3
