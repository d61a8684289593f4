"""One turn out of a picture of more than one: the overlap is found, and a defect on the seam stays whole."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.rendering.parts import render_part
from station.patching import cut
from station.patching.geometry import PatchingError, Reason
from station.patching.learning import look_at
from station.patching.seam import find_turn
from station.recipe import load_recipe

ROOT = Path(__file__).parents[3]
TURN, WIDTH, MARGIN = 3584, 385, 20
METAL = render_part(3, width=WIDTH).surface


def pictured(surface: np.ndarray, start: int, lines: int, seed: int = 0) -> np.ndarray:
    """What the camera sees from a place of the turn on: beside it black, and noise of its own."""
    rng = np.random.default_rng(seed)
    rows = surface[(start + np.arange(lines)) % len(surface)].astype(np.float32)
    seen = np.pad(rows, ((0, 0), (MARGIN, MARGIN)), constant_values=3)
    return np.clip(seen + rng.normal(0, 2.0, seen.shape), 0, 255).astype(np.uint8)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, TURN - 1), st.integers(76, 200), st.integers(0, 9))
def test_the_turn_is_found_wherever_it_begins_and_however_far_it_overlaps(
    start: int, more: int, seed: int
) -> None:
    found = find_turn(pictured(METAL, start, TURN + more, seed), TURN, 12, 64)
    assert found.lines == TURN
    assert 0 <= found.start <= more
    assert found.match > 0.4


@settings(max_examples=15, deadline=None)
@given(st.integers(0, TURN - 1), st.integers(4, 30), st.integers(-10, 120))
def test_a_defect_on_the_seam_lies_whole_in_the_turn_and_once(start: int, size: int, place: int) -> None:
    surface = METAL.copy()
    rows = (start + place + np.arange(size)) % TURN
    surface[rows, 100:130] = 20
    mark = np.zeros(TURN, dtype=int)
    mark[rows] = 1
    found = find_turn(pictured(surface, start, TURN + 130, 1), TURN, 12, 110)
    assert found.lines == TURN
    lines = mark[(start + found.start + np.arange(found.lines)) % TURN]
    edges = int(np.abs(np.diff(lines)).sum())
    assert lines.sum() == size
    # One piece: it begins and ends once, and a defect is cut into two only beyond the overlap.
    assert edges == 2 or (edges == 1 and place < 0) or place < 0 or place + size > 110


@pytest.mark.parametrize("lines", [TURN, TURN + 40])
def test_a_picture_that_is_too_short_is_an_incomplete_turn(lines: int) -> None:
    with pytest.raises(PatchingError, match=r"turn incomplete: the picture has \d+ lines") as caught:
        find_turn(pictured(METAL, 0, lines), TURN, 12, 64)
    assert caught.value.reason is Reason.TURN_INCOMPLETE


def test_a_jig_that_stood_still_or_turned_at_another_speed_is_an_incomplete_turn() -> None:
    whole = pictured(METAL, 0, TURN + 100)
    stopped = whole.copy()
    stopped[3000:] = stopped[2999]
    slow = pictured(METAL[np.arange(TURN) * 9 // 10], 0, TURN + 100)
    slow[3500:] = pictured(METAL, 1000, len(slow) - 3500, 5)
    flat = np.full_like(whole, 90)
    for picture in (stopped, slow, flat):
        with pytest.raises(PatchingError) as caught:
            find_turn(picture, TURN, 12, 64)
        assert caught.value.reason is Reason.TURN_INCOMPLETE


def test_a_picture_of_more_than_a_turn_is_cut_to_the_patches_of_one_turn() -> None:
    recipe = load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")
    turning = recipe.product.model_copy(update={"turn_overlap_px": 64, "texture": None})
    recipe = recipe.model_copy(update={"product": turning})
    seen = np.pad(pictured(METAL, 1000, TURN + 120), ((0, 0), (200, 200)), constant_values=3)
    patches = cut(seen, recipe)
    assert len(patches.pixels) == recipe.patch_count
    assert abs(patches.surface.region.height - TURN) <= turning.height_tolerance_px
    with pytest.raises(PatchingError, match="turn incomplete"):
        cut(seen[: TURN - 100], recipe)


def test_limits_of_the_texture_are_learnt_from_one_turn_of_a_good_part() -> None:
    recipe = load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")
    turning = recipe.product.model_copy(update={"turn_overlap_px": 64})
    recipe = recipe.model_copy(update={"product": turning})
    seen = np.pad(pictured(METAL, 1000, TURN + 120), ((0, 0), (200, 200)), constant_values=3)
    good = look_at("a turn and more", seen, recipe)
    assert good.found is not None
    assert not good.refused
    short = look_at("less than a turn", seen[: TURN - 100], recipe)
    assert short.found is None
    assert "turn incomplete" in short.refused
