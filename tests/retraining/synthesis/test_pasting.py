"""Crop and paste: real defects, real sound places, no seam, nothing moved, nothing left to chance."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from retraining.cli import app
from retraining.data.manifest import Dataset, Picture, file_digest, load_dataset, save_dataset
from retraining.data.pixels import PictureSet, load_pixels
from retraining.data.synthetic import write_png
from retraining.errors import DatasetError
from retraining.surfaces import Surfaces
from retraining.synthesis.paste_sets import paste_set
from retraining.synthesis.pasting import (
    PasteRules,
    has_direction,
    paste,
    paste_from_pictures,
    paste_from_surfaces,
    paste_marked,
    paste_on_each,
    paste_whole_parts,
)

STILL = PasteRules(scale=(1.0, 1.0), contrast=(1.0, 1.0), quarter_turns=False, mixed_share=0.0)


def grey(value: int, side: int = 64) -> np.ndarray:
    return np.full((1, side, side, 1), value, np.uint8)


def spot(side: int = 64, radius: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a bright spot in its middle, and its mask."""
    y, x = np.mgrid[:side, :side] - side // 2
    mask = (np.hypot(x, y) <= radius)[None]
    return np.where(mask, 160, 100).astype(np.uint8)[..., None], mask


@pytest.mark.parametrize(("label", "name"), [(1, "spot"), (2, "line")])
def test_pasted_defects_are_as_bright_as_the_real_ones(toy_surfaces: Surfaces, label: int, name: str) -> None:
    made = paste_from_surfaces(toy_surfaces, 6, label, 64, 3)
    assert made.shape == (6, 64, 64, 1)
    assert toy_surfaces.classes[label] == name
    for patch in made:  # sound metal is 120 +- 6, a defect 70 brighter
        assert 15 < np.count_nonzero(patch > 155) < 1500
        assert 110 < np.median(patch) < 130


def test_a_whole_good_part_gets_one_defect_and_nothing_else_of_it_changes(toy_surfaces: Surfaces) -> None:
    good = [i for i in range(len(toy_surfaces)) if not toy_surfaces.masks[i].any()]
    made = list(paste_whole_parts(toy_surfaces, 5, 1, 3))
    assert len(made) == 5
    for pixels, mask in made:
        assert pixels.shape == toy_surfaces.pixels.shape[1:]
        assert mask.any()
        far = cv2.dilate(mask, np.ones((41, 41), np.uint8)) == 0
        assert any((pixels[far] == toy_surfaces.pixels[i][far]).all() for i in good)
        below = next(
            toy_surfaces.pixels[i] for i in good if (pixels[far] == toy_surfaces.pixels[i][far]).all()
        )
        changed = pixels[mask > 0].astype(int) - below[mask > 0]
        assert changed.mean() > 20, "a spot is 70 brighter than the metal"
    again = list(paste_whole_parts(toy_surfaces, 2, 1, 3))
    assert all((a[0] == b[0]).all() for a, b in zip(again, made, strict=False))
    with pytest.raises(DatasetError, match="no part is without a defect"):
        list(
            paste_whole_parts(
                toy_surfaces.select([i for i in range(len(toy_surfaces)) if i not in good]), 1, 1, 1
            )
        )


def test_the_nth_picture_depends_on_the_seed_and_n_alone(toy_surfaces: Surfaces) -> None:
    few = paste_from_surfaces(toy_surfaces, 2, 1, 64, 3)
    more = paste_from_surfaces(toy_surfaces, 4, 1, 64, 3)
    other = paste_from_surfaces(toy_surfaces, 2, 1, 64, 4)
    np.testing.assert_array_equal(few, more[:2])
    assert not np.array_equal(few, other)
    pictures = more.copy()
    np.testing.assert_array_equal(
        paste_from_pictures(pictures, None, 3, 5), paste_from_pictures(pictures, None, 5, 5)[:3]
    )


@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_a_defect_takes_on_the_brightness_of_its_new_place_and_leaves_no_seam(mixed: float) -> None:
    pixels, masks = spot()
    rules = PasteRules(mixed_share=mixed)
    for patch in paste(pixels, masks, grey(60), 8, 1, rules=rules)[..., 0]:
        raised = patch.astype(int) - 60
        assert raised.max() > 25  # 60 grey levels above 100 became about as many above 60
        far = np.abs(raised) <= 2
        assert far.mean() > 0.9, "what is not the spot stays as it was"


def test_nothing_moves_whatever_the_size_of_the_mask() -> None:
    for radius in (1, 2, 3, 4, 5):
        pixels, masks = spot(65, radius)
        # On itself a defect must come out as it went in, up to where its anchor was put.
        made = paste(pixels, masks, np.full((1, 65, 65, 1), 100, np.uint8), 5, radius, rules=STILL)
        for patch in made[..., 0]:
            ys, xs = np.nonzero(patch > 130)
            if ys.min() > 0 and xs.min() > 0 and ys.max() < 64 and xs.max() < 64:
                assert np.ptp(ys) == np.ptp(xs) == 2 * radius, "the spot kept its size and shape"


def test_a_thin_line_stays_thin_when_shrunk() -> None:
    pixels = np.full((1, 96, 96, 1), 100, np.uint8)
    pixels[0, :, 48] = 200
    masks = pixels[..., 0] > 150
    small = PasteRules(scale=(0.8, 0.8), contrast=(1.0, 1.0), quarter_turns=False, mixed_share=0.0)
    for patch in paste(pixels, masks, grey(100, 64), 4, 2, rules=small)[..., 0]:
        columns = np.flatnonzero((patch > 125).any(axis=0))
        assert 1 <= len(columns) <= 2


def test_pictures_without_masks_are_mixed_within_blobs() -> None:
    rng = np.random.default_rng(0)
    pictures = np.concatenate([np.clip(rng.normal(v, 4, (1, 48, 48, 1)), 0, 255) for v in (90, 91)])
    pictures = pictures.astype(np.uint8)
    made = paste_from_pictures(pictures, None, 4, 1)
    assert made.shape == (4, 48, 48, 1)
    for picture in made:
        assert not (picture == pictures).all(axis=(1, 2, 3)).any()
        changed = np.minimum.reduce([np.abs(picture.astype(int) - p.astype(int)) > 2 for p in pictures])
        assert 0.05 < changed.mean() < 0.9
    alone = paste_from_pictures(pictures[:1], None, 1, 1)
    assert alone.shape == (1, 48, 48, 1)


def test_the_middle_of_a_picture_goes_onto_a_clean_one_in_colour() -> None:
    pixels = np.repeat(spot(64, 8)[0], 3, axis=3)
    clean = np.full((2, 64, 64, 3), 50, np.uint8)
    made = paste_from_pictures(pixels, clean, 3, 1)
    assert made.shape == (3, 64, 64, 3)
    assert (made[:, 24:40, 24:40].max(axis=(1, 2, 3)) > 70).all()
    assert (np.abs(made[:, :2].astype(int) - 50) <= 3).all()


def test_what_cannot_be_pasted_is_said_with_the_remedy(toy_surfaces: Surfaces) -> None:
    sound = toy_surfaces.select([0, 3])
    with pytest.raises(DatasetError, match="no surface shows spot"):
        paste_from_surfaces(sound, 1, 1, 64, 1)
    with pytest.raises(DatasetError, match="not a defect class"):
        paste_from_surfaces(toy_surfaces, 1, 0, 64, 1)
    with pytest.raises(DatasetError, match="do not fit on surfaces"):
        paste_from_surfaces(toy_surfaces, 1, 1, 512, 1)
    pixels, masks = spot()
    with pytest.raises(DatasetError, match="every mask is empty"):
        paste(pixels, masks & False, grey(60), 1, 1)
    with pytest.raises(DatasetError, match="give one mask per picture"):
        paste(pixels, masks[:, :5], grey(60), 1, 1)
    with pytest.raises(DatasetError, match="differ in channels"):
        paste_from_pictures(pixels, np.repeat(grey(60), 3, axis=3), 1, 1)
    assert paste_from_surfaces(toy_surfaces, 0, 1, 64, 1).shape == (0, 64, 64, 1)


def test_only_pictures_without_a_direction_are_turned_by_a_quarter() -> None:
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 255, (3, 48, 48, 1)).astype(np.uint8)
    drawn = np.repeat(grain[:, :, :1], 48, axis=2)
    assert not has_direction(grain)
    assert has_direction(drawn)
    for picture in paste_from_pictures(drawn, None, 6, 2):
        across, down = (np.abs(np.diff(picture.astype(int), axis=axis)).mean() for axis in (1, 0))
        assert across < down, "lines still run across"


@pytest.fixture
def whole_surfaces(toy_surfaces: Surfaces, tmp_path: Path) -> Path:
    """A data set of whole surfaces with their masks, as the reader of rendered parts leaves it."""
    root = tmp_path / "whole"
    pictures = []
    for folder in ("surfaces", "masks"):
        (root / folder).mkdir(parents=True)
    for index, name in enumerate(toy_surfaces.names):
        path = f"surfaces/{name}.png"
        write_png(root / path, toy_surfaces.pixels[index])
        write_png(root / "masks" / f"{name}.png", toy_surfaces.masks[index])
        label = toy_surfaces.classes[toy_surfaces.part_class(index)]
        digest = file_digest(root / path)
        pictures.append(Picture(path, digest, label, name, "rendered", "renderer", "train"))
    save_dataset(Dataset(root, toy_surfaces.classes, tuple(pictures)), root)
    return root


def test_the_command_makes_a_set_of_patches_from_surfaces_with_masks(
    whole_surfaces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pasted"
    arguments = ["paste", str(whole_surfaces), "--size", "64", "--count", "3", "--out", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    made = load_dataset(out, verify=True)
    assert made.count() == {"good": 0, "spot": 3, "line": 3}
    assert {p.labelled_by for p in made.pictures} == {"synthetic"}
    assert all(p.source.startswith("synthetic:crop-paste-") for p in made.pictures)
    assert (out / "contact-sheet.png").is_file()
    assert load_pixels(made, 64, 1, labelled_by=("synthetic",)).pixels.shape == (6, 64, 64, 1)


def test_the_command_mixes_pictures_of_a_class_or_pastes_them_onto_clean_ones(
    toy_surfaces: Surfaces, tmp_path: Path
) -> None:
    labels = np.array([toy_surfaces.part_class(n) for n in range(len(toy_surfaces))])
    small = np.stack([cv2.resize(p, (48, 48), interpolation=cv2.INTER_AREA) for p in toy_surfaces.pixels])
    pictures = PictureSet(
        small[..., None], labels, toy_surfaces.classes, toy_surfaces.names, toy_surfaces.names
    )
    mixed = paste_set(pictures, tmp_path / "mixed", count=2, seed=1)
    assert mixed.count() == {"good": 2, "spot": 2, "line": 2}
    onto_good = paste_set(pictures, tmp_path / "onto", count=2, seed=1, clean="good", only=("line",))
    assert onto_good.count() == {"good": 0, "spot": 0, "line": 2}
    with pytest.raises(DatasetError, match="can be made of spot, line, not of good"):
        paste_set(pictures, tmp_path / "none", count=2, seed=1, clean="good", only=("good",))
    with pytest.raises(DatasetError, match="to paste onto"):
        paste_set(pictures, tmp_path / "none", count=2, seed=1, clean="spotless")


def test_a_marked_paste_keeps_the_marks_of_the_picture_below_and_adds_its_own() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(100, 120, (3, 48, 48, 1)).astype(np.uint8)
    masks = np.zeros((3, 48, 48), np.uint8)
    for row in range(3):
        masks[row, 10 * row : 10 * row + 14, 4:18] = 1
    pixels[masks > 0] = 20
    made, marked = paste_marked(pixels, masks, 6, seed=2)
    assert (made.shape, marked.shape) == ((6, 48, 48, 1), (6, 48, 48))
    assert set(np.unique(marked)) == {0, 1}
    kept = [[(mask[own > 0] > 0).all() for own in masks] for mask in marked]
    assert all(any(row) for row in kept), "one picture's own marks are all there"
    assert (marked.sum((1, 2)) > 14 * 14).sum() >= 4, "and mostly more is marked than before"
    again, _ = paste_marked(pixels, masks, 3, seed=2)
    assert np.array_equal(again, made[:3])


def test_each_clean_picture_gets_one_defect_and_changes_nowhere_else() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(100, 120, (3, 48, 48, 1)).astype(np.uint8)
    masks = np.zeros((3, 48, 48), np.uint8)
    masks[:, 20:28, 20:28] = 1
    pixels[masks > 0] = 20
    clean = rng.integers(100, 120, (4, 48, 48, 1)).astype(np.uint8)
    made, marked = paste_on_each(pixels, masks, clean, seed=3)
    assert made.shape == clean.shape
    assert marked.reshape(4, -1).any(1).all()
    near = np.stack([cv2.dilate(mask, np.ones((15, 15), np.uint8)) for mask in marked]) > 0
    assert np.array_equal(made[~near], clean[~near])
    again, _ = paste_on_each(pixels, masks, clean[:2], seed=3)
    assert np.array_equal(again, made[:2])
