"""Disturbed frames: what they show, and whether there is still a product to judge."""

from __future__ import annotations

import numpy as np
import pytest

from simulation.rendering.faulty_frames import FAULTS, make_faulty
from simulation.truth import SimulationError


@pytest.mark.parametrize("name", FAULTS)
def test_every_disturbance_is_a_frame_that_differs_and_says_what_is_to_be_found(rendered, name):
    part = rendered()
    before = part.frame().copy()
    faulty = make_faulty(part, name)
    assert faulty.pixels.shape == before.shape
    assert faulty.pixels.dtype == np.uint8
    assert not np.array_equal(faulty.pixels, before)
    assert np.array_equal(part.frame(), before)
    assert faulty.must_fault == (faulty.region is None)
    if faulty.region is not None:
        box = faulty.region
        inside = faulty.pixels[box.y : box.y + box.height, box.x : box.x + box.width]
        assert inside.shape == (box.height, box.width)
        assert inside.mean() > 60


def test_the_same_seed_disturbs_the_same_way(rendered):
    one, two, other = (make_faulty(rendered(), "truncated", seed).pixels for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_what_must_be_faulted_is_what_its_name_says(rendered):
    part = rendered()
    assert make_faulty(part, "no-product").pixels.max() < 20
    assert make_faulty(part, "black").pixels.max() < 20
    box = part.truth.region
    saturated = make_faulty(part, "saturated").pixels[box.y : box.y + box.height, box.x : box.x + box.width]
    assert np.mean(saturated == 255) > 0.95
    lit_rows = (make_faulty(part, "truncated").pixels > 60).any(axis=1)
    assert lit_rows.sum() < 0.95 * box.height


def test_an_unknown_disturbance_is_refused_with_the_list(rendered):
    with pytest.raises(SimulationError, match="no-product"):
        make_faulty(rendered(), "meteorite")
