"""Changes outside a mask, and how a defect goes under opposite lamps."""

from __future__ import annotations

import numpy as np

from retraining.experiments.twin_windows import opposite_lights, outside_cells


def test_a_change_is_counted_in_the_ring_or_farther_out_and_never_inside_the_mask() -> None:
    clean = np.full((2, 64, 64, 1), 100, np.uint8)
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[:, 28:36, 28:36] = 1
    made = clean.copy()
    made[masks > 0] = 200
    assert [cell.value for cell in outside_cells("a", clean, made, masks)] == [0.0, 0.0]
    made[0, 24:40, 24:40] = 110
    ring, far = outside_cells("a", clean, made, masks)
    assert (ring.column, far.column) == ("ring", "far")
    assert 0 < ring.value < 5
    assert far.value == 0
    made[1, :2] = 120
    assert outside_cells("a", clean, made, masks)[1].value > 0
    masks[:] = 1
    assert outside_cells("a", clean, made, masks) == (), "a mask over everything leaves nothing outside"


def test_relief_is_told_from_paint_by_opposite_lamps() -> None:
    rng = np.random.default_rng(1)
    clean = np.full((2, 32, 32, 4), 120, np.uint8)
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[:, 8:24, 8:24] = 1
    slope = rng.normal(0, 20, (2, 2, 32, 32))
    relief, paint = clean.astype(np.float64), clean.astype(np.float64)
    for lamp, sign in enumerate((1, 1, -1, -1)):
        relief[..., lamp] += sign * slope[:, lamp % 2]
        paint[..., lamp] += slope[:, lamp % 2]
    assert opposite_lights(clean, relief.astype(np.uint8), masks) < -0.95
    assert opposite_lights(clean, paint.astype(np.uint8), masks) > 0.95
    assert opposite_lights(clean, clean, masks) == 0
