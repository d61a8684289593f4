"""Rendered parts: reproducible, with a truth that is the difference a defect makes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from simulation.rendering.defects import KIND_FACTOR, LEVEL_SHARES, LEVELS, DefectSpec
from simulation.rendering.optics import grown, photograph
from simulation.rendering.parts import render_part
from simulation.rendering.stains import draw_stains
from simulation.rendering.visibility import visibility
from simulation.truth import (
    CLASS_NAMES,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    PRODUCT_HEIGHT,
    PRODUCT_WIDTHS,
    SimulationError,
)

KINDS = CLASS_NAMES[1:]


def test_the_same_arguments_give_the_same_pixels_and_truth():
    first = render_part(11, width=385, kind="mixed", defects_per_part=(2, 4))
    render_part(12, width=570)
    again = render_part(11, width=385, kind="mixed", defects_per_part=(2, 4))
    assert np.array_equal(first.surface, again.surface)
    assert np.array_equal(first.mask, again.mask)
    assert np.array_equal(first.frame(), again.frame())
    assert first.framed_truth() == again.framed_truth()


def test_another_seed_gives_another_part(rendered):
    assert rendered(3).framed_truth().fingerprint != rendered(4).framed_truth().fingerprint
    assert not np.array_equal(rendered(3).surface, rendered(4).surface)


def test_a_part_without_a_kind_is_defect_free(rendered):
    part = rendered()
    assert part.truth.is_good
    assert part.truth.label == "defect-free"
    assert part.truth.labels == ("defect-free",)
    assert not part.mask.any()
    assert np.array_equal(part.surface, part.clean)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", ["clear", "marginal"])
def test_outside_the_mask_a_defect_changes_nothing(rendered, kind, level):
    part = rendered(21, 690, kind, level)
    near = cv2.dilate((part.mask > 0).astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    change = part.surface.astype(int) - part.clean
    assert np.abs(change[~near]).max() <= 2
    assert set(np.unique(part.mask)) == {0, CLASS_NAMES.index(kind)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", ["clear", "marginal"])
def test_contrast_and_visibility_are_what_can_be_measured(rendered, kind, level):
    part = rendered(21, 690, kind, level)
    (defect,) = part.truth.defects
    change = (part.surface.astype(float) - part.clean)[part.mask > 0]
    assert defect.area_px == change.size
    assert defect.contrast == pytest.approx(change.mean(), abs=0.02)
    assert defect.swing == pytest.approx(np.abs(change).mean(), abs=0.02)
    box = grown(defect.box, 60, 690, PRODUCT_HEIGHT)
    rows, cols = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    measured = visibility(part.clean[rows, cols], part.surface[rows, cols], 690)
    assert measured == pytest.approx(defect.visibility, rel=0.3)  # another window, another bit of texture


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [385, 1575])
def test_even_a_marginal_defect_stands_out_of_the_texture(rendered, kind, width):
    (defect,) = rendered(31, width, kind, "marginal").truth.defects
    floor = LEVELS["marginal"][0] * KIND_FACTOR[kind]
    assert defect.visibility >= 0.9 * floor
    assert defect.level in ("marginal", "moderate")
    assert abs(defect.swing) > 3


def test_an_obvious_defect_has_more_contrast_than_a_marginal_one():
    at = {"class_name": "imprinted", "x": 300, "y": 1500}
    faint, strong = (
        render_part(5, width=690, defects=[DefectSpec(**at, level=level)])
        for level in ("marginal", "obvious")
    )
    assert strong.truth.defects[0].swing > 2 * faint.truth.defects[0].swing
    assert np.array_equal(faint.clean, strong.clean)


def test_an_imprint_has_light_and_dark_flanks(rendered):
    part = rendered(21, 690, "imprinted", "clear")
    change = (part.surface.astype(int) - part.clean)[part.mask > 0]
    assert change.max() > 12
    assert change.min() < -12


def test_a_pit_is_dark_with_a_bright_rim():
    part = render_part(8, width=690, defects=[DefectSpec("pits", level="obvious")])
    change = part.surface.astype(float) - part.clean
    dark = (change < -25).astype(np.uint8)
    assert dark.sum() > 20
    around = (cv2.dilate(dark, np.ones((9, 9), np.uint8)) > 0) & (part.mask > 0) & (dark == 0)
    assert np.percentile(change[around], 90) > 8


def test_roll_marks_repeat_at_a_constant_pitch(rendered):
    part = rendered(21, 690, "roll-marks", "clear")
    rows = (part.mask > 0).any(axis=1).astype(int)
    starts = np.flatnonzero(np.diff(rows) == 1)
    assert len(starts) >= 5
    pitch = np.diff(starts)
    assert pitch.max() - pitch.min() <= 2
    assert 40 <= pitch.mean() <= 150


def test_a_scratch_is_long_and_thin(rendered):
    (defect,) = rendered(21, 690, "scratches", "clear").truth.defects
    assert 80 <= defect.size_px <= 800
    assert defect.area_px / defect.size_px < 6


def test_most_defects_cover_less_than_one_per_cent():
    shares = []
    for seed in range(3):
        part = render_part(100 + seed, width=935, kind="mixed", defects_per_part=6)
        shares += [defect.area_px / part.mask.size for defect in part.truth.defects]
    assert np.mean(np.array(shares) < 0.01) >= 0.8


def test_several_kinds_on_one_part_are_all_named():
    specs = [DefectSpec("pits", x=200, y=500), DefectSpec("scratches", x=600, y=2500, level="obvious")]
    part = render_part(41, width=935, defects=specs)
    assert part.truth.labels == ("pits", "scratches")
    assert part.truth.label in part.truth.labels
    assert set(np.unique(part.mask)) == {0, 2, 4}


def test_a_training_part_carries_as_many_defects_as_asked_without_touching_each_other():
    part = render_part(51, width=935, kind="pits", defects_per_part=(5, 7))
    assert 5 <= len(part.truth.defects) <= 7
    assert sum(defect.area_px for defect in part.truth.defects) == np.count_nonzero(part.mask)


@pytest.mark.parametrize("width", PRODUCT_WIDTHS)
def test_the_frame_shows_the_product_on_black_exactly_where_the_truth_says(rendered, width):
    part = rendered(61, width)
    frame, box = part.frame(), part.truth.region
    assert frame.shape == (FRAME_HEIGHT, FRAME_WIDTH)
    assert frame.dtype == np.uint8
    assert (box.width, box.height) == (width, PRODUCT_HEIGHT)
    assert np.array_equal(frame[box.y : box.y + box.height, box.x : box.x + box.width], part.surface)
    outside = np.ones(frame.shape, bool)
    outside[box.y : box.y + box.height, box.x : box.x + box.width] = False
    assert frame[outside].max() < 14
    assert 0 < frame[outside].mean() < 6
    assert part.surface.min(axis=0).min() >= 20
    assert 80 < part.surface.mean() < 190
    assert np.mean(part.surface == 255) < 0.001


def test_a_tilted_product_stays_whole_in_the_frame():
    part = render_part(71, width=1575, tilt_deg=1.0)
    box = part.truth.region
    assert box.y >= 0
    assert box.y + box.height <= FRAME_HEIGHT
    assert box.width > 1575 + 50
    lit = part.frame()[:, box.x + 2 :].max(axis=1) > 30
    assert int(lit.sum()) == pytest.approx(box.height, abs=2)


def test_brightness_swings_over_the_turn_and_across_the_width(rendered):
    surface = rendered(61, 1575).surface.astype(float)
    over_turn = cv2.blur(surface.mean(axis=1).reshape(-1, 1), (1, 201)).ravel()
    across = cv2.blur(surface.mean(axis=0).reshape(1, -1), (61, 1)).ravel()
    assert np.ptp(over_turn) > 2
    assert np.ptp(across) > 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "negative"),
        ({"seed": 1, "width": 20}, "200 to 2400"),
        ({"seed": 1, "kind": "dents"}, "no kind is called 'dents'"),
        ({"seed": 1, "kind": "pits", "level": "huge"}, "no level"),
        ({"seed": 1, "kind": "pits", "defects_per_part": 99}, "defects_per_part"),
        ({"seed": 1, "kind": "pits", "defects_per_part": (4, 2)}, "defects_per_part"),
        ({"seed": 1, "kind": "defect-free", "defects_per_part": 2}, "defect-free part"),
        ({"seed": 1, "kind": "pits", "defects": []}, "not both"),
        ({"seed": 1, "tilt_deg": 9.0}, "tilt"),
        ({"seed": 1, "width": 2400, "tilt_deg": 2.0}, "reduce the tilt"),
    ],
)
def test_nonsense_is_refused_with_a_remedy(arguments, words):
    with pytest.raises(SimulationError, match=words):
        render_part(**arguments)


def test_a_defect_of_no_class_is_refused():
    with pytest.raises(SimulationError, match="no defect is called"):
        DefectSpec("defect-free")
    with pytest.raises(SimulationError, match="no level"):
        DefectSpec("pits", level="faint")
    with pytest.raises(SimulationError, match="visibility"):
        DefectSpec("pits", visibility=1000)


def test_a_second_defect_on_the_same_spot_is_refused():
    spec = DefectSpec("imprinted", x=280, y=900)
    with pytest.raises(SimulationError, match="ask for fewer defects or another position"):
        render_part(1, width=570, defects=[spec, spec])


def test_about_one_defect_in_seven_is_marginal():
    assert sum(LEVEL_SHARES.values()) == pytest.approx(1)
    assert LEVEL_SHARES["marginal"] == pytest.approx(0.15)


def lamps(slant_deg: float = 7.4) -> np.ndarray:
    """Four lamps around the camera's axis, at azimuth 0, 90, 180 and 270 degrees."""
    s, c = np.sin(np.radians(slant_deg)), np.cos(np.radians(slant_deg))
    return np.array([(s, 0, c), (0, s, c), (-s, 0, c), (0, -s, c)])


def test_the_scene_of_a_part_is_what_its_pixels_are_a_photograph_of():
    part = render_part(11, width=385, kind="mixed", defects_per_part=(2, 4))
    assert np.array_equal(photograph(part.scene()), part.surface)
    assert np.array_equal(photograph(part.scene(defects=False)), part.clean)


def test_a_part_under_lamps_is_the_same_each_time_and_differs_from_its_twin_at_its_defects_alone():
    part = render_part(21, width=385, kind="imprinted", level="clear")
    lit, clean = part.under(lamps()), part.under(lamps(), defects=False)
    assert lit.shape == (4, *part.surface.shape)
    assert np.array_equal(lit, render_part(21, width=385, kind="imprinted", level="clear").under(lamps()))
    near = cv2.dilate((part.mask > 0).astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    change = np.abs(lit.astype(int) - clean)
    assert change[:, ~near].max() <= 2
    assert change[:, near].max() > 10


def test_a_stain_darkens_a_part_under_every_lamp_and_has_no_flanks():
    part = render_part(3, width=385)
    stains = draw_stains(3, *part.surface.shape, count=4)
    assert np.array_equal(stains, draw_stains(3, *part.surface.shape, count=4))
    assert 0.5 < stains.min() < 0.86
    assert stains.max() == 1
    lit, clean = part.under(lamps(), stains=stains).astype(float), part.under(lamps())
    change = (lit - clean)[:, stains < 0.95]
    assert (change.mean(axis=1) < -8).all()
    assert np.ptp(change.mean(axis=1)) < 1
    assert np.abs(lit - clean)[:, stains == 1].mean() < 0.2


def test_a_flank_is_bright_under_one_lamp_and_dark_under_the_lamp_opposite():
    part = render_part(21, width=385, kind="imprinted", level="obvious")
    lit, clean = part.under(lamps()).astype(float), part.under(lamps(), defects=False)
    right, down, left, up = (lit - clean)[:, part.mask > 0]
    assert np.corrcoef(right, left)[0, 1] < -0.5
    assert np.corrcoef(down, up)[0, 1] < -0.5
    assert 100 < lit.mean() < 165


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.ones((4, 3)), "unit vectors"),
        (lamps()[0], "unit vectors"),
        (np.zeros((0, 3)), "unit vectors"),
        (-lamps(), "behind"),
    ],
)
def test_lamps_that_are_none_are_refused(rendered, given, words):
    with pytest.raises(SimulationError, match=words):
        rendered(3, 385).under(given)
