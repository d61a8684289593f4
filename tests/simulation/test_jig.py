"""The rotating jig: one surface speed for every diameter, and no robot in view of a triggered part."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.cell.feed import Feed
from simulation.cell.jig import Jig, JigRules, Phase
from simulation.place import EMPTY, Place, Seen
from simulation.rendering.parts import render_part
from simulation.spoilt_frames import SPOILT_FRAMES
from station.patching import PatchingError, cut
from station.recipe import load_recipe

MS = 1_000_000
TIMES = st.integers(0, 2_000)


@given(diameter_mm=st.floats(5.0, 500.0), speed=st.floats(1.0, 5_000.0))
def test_the_surface_passes_the_camera_at_one_speed_whatever_the_diameter(
    diameter_mm: float, speed: float
) -> None:
    rules = JigRules(300, 200, 300, speed)
    assert rules.turns_per_minute(diameter_mm) / 60 * math.pi * diameter_mm == pytest.approx(speed)
    assert rules.turn_ms(diameter_mm) * rules.turns_per_minute(diameter_mm) == pytest.approx(60_000)


@given(load=TIMES, leave=TIMES, unload=TIMES, judged=TIMES, looks=st.lists(st.integers(0, 9_000)))
def test_the_robot_is_never_in_view_between_clear_and_result(
    load: int, leave: int, unload: int, judged: int, looks: list[int]
) -> None:
    jig = Jig(JigRules(load, leave, unload, 200.0))
    jig.load(7, 0)
    result_ns = jig.clear_ns() + judged * MS
    for now in (at * MS for at in looks if at * MS < result_ns):
        turns, robot = now >= jig.set_down_ns(), now < jig.clear_ns()
        assert jig.seen(now) == Seen(7, robot=robot, turns=turns)
    jig.unload(result_ns)
    for now in (at * MS for at in looks if at * MS >= result_ns):
        assert jig.seen(now) in (Seen(EMPTY), Seen(7, robot=True, turns=False))


def test_the_phases_follow_each_other_and_each_change_is_announced() -> None:
    jig = Jig(JigRules(300, 200, 400, 200.0))
    assert jig.phase(0) is Phase.EMPTY
    jig.load(1, 0)
    found, now = [jig.phase(0)], 0
    while jig.next_ns(now) < 1 << 62:
        now = jig.next_ns(now)
        found.append(jig.phase(now))
    jig.unload(now + 80 * MS)
    found += [jig.phase(now + 80 * MS), jig.phase(jig.empty_ns())]
    assert found == [Phase.LOADING, Phase.LEAVING, Phase.TURNING, Phase.UNLOADING, Phase.EMPTY]


def test_a_second_part_is_not_laid_on_the_first() -> None:
    jig = Jig(JigRules(300, 200, 400, 200.0))
    jig.load(1, 0)
    with pytest.raises(ValueError, match="part 1 lies on the jig"):
        jig.load(2, 10 * MS)


def test_the_camera_sees_what_the_cell_shows(tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    assert place.look() == Seen(EMPTY)
    for seen in (Seen(2**40, robot=True, turns=False), Seen(3, robot=True), Seen(EMPTY)):
        place.show(seen)
        assert place.look() == seen


def test_a_feed_gives_the_parts_of_one_bin_and_waits_for_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "cell.jsonl"
    feed = Feed(log, 1)
    assert not feed.has_part()
    log.write_text('{"part_id": 4, "bin": 1}\n{"part_id": 5, "bin": 9}\n{"part_id": 6, "b')
    assert feed.has_part()
    assert feed.take() == 4
    assert not feed.has_part()
    with log.open("a") as more:
        more.write('in": 1}\n')
    assert feed.has_part()
    assert feed.take() == 6


@pytest.mark.parametrize("what", ["camera-robot", "camera-standing"])
def test_a_housing_with_the_robot_in_view_or_standing_still_is_not_cut(what: str) -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "servo-motor-housing.yaml")
    frame = render_part(5, width=690).frame()
    assert len(cut(frame, recipe).pixels) == recipe.patch_count
    for seed in range(4):
        seen = SPOILT_FRAMES[what].spoil(frame.copy(), np.random.default_rng(seed))
        with pytest.raises(PatchingError):
            cut(seen, recipe)
