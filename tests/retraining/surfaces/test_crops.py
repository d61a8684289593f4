"""Random crops, their labels, and folders of patches."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retraining.classifiers.validation import recipe_at
from retraining.data.rendered_parts import station_windows
from retraining.errors import DatasetError
from retraining.surfaces import (
    Surfaces,
    join_surfaces,
    load_surfaces,
    resize_mask,
    save_surfaces,
)
from retraining.surfaces.crops import CropRules, PatchFolder, RandomCrops
from station.patching import cut_surface, patch_boxes
from station.recipe import PatchGrid, load_recipe

COMMUTATOR = load_recipe(Path(__file__).parents[3] / "recipes" / "commutator.yaml")


def test_half_of_the_crops_are_sound_and_the_classes_share_the_rest(toy_surfaces: Surfaces) -> None:
    windows = RandomCrops(toy_surfaces, PatchGrid(size=128)).draw(np.random.default_rng(0), 40)
    assert np.bincount(windows[:, 3]).tolist() == [20, 10, 10]


def test_a_crop_is_labelled_by_what_its_mask_shows(toy_surfaces: Surfaces) -> None:
    crops = RandomCrops(toy_surfaces, PatchGrid(size=128))
    for surface, top, left, label in crops.draw(np.random.default_rng(1), 60):
        mask = toy_surfaces.masks[surface, top : top + 128, left : left + 128]
        assert set(np.unique(mask)) <= {0, label}
        assert (label == 0) == (not mask.any())


def test_a_defect_that_only_peeks_in_is_never_used(toy_surfaces: Surfaces) -> None:
    crops = RandomCrops(
        toy_surfaces, PatchGrid(size=128), CropRules(min_visible=0.9, min_extent=2.0, aligned_share=0.0)
    )
    for surface, top, left, label in crops.draw(np.random.default_rng(2), 60):
        if label:
            whole = np.count_nonzero(toy_surfaces.masks[surface] == label)
            seen = np.count_nonzero(toy_surfaces.masks[surface, top : top + 128, left : left + 128] == label)
            assert seen >= 0.9 * whole


def test_aligned_crops_lie_on_the_stations_grid(toy_surfaces: Surfaces) -> None:
    crops = RandomCrops(toy_surfaces, PatchGrid(size=128), CropRules(aligned_share=1.0))
    windows = crops.draw(np.random.default_rng(3), 40)
    assert set(np.unique(windows[:, 1:3])) <= {0, 128}


def test_aligned_crops_of_overlapping_patches_are_patches_that_the_station_cuts(
    toy_surfaces: Surfaces,
) -> None:
    patch = PatchGrid(size=128, overlap_px=64)
    crops = RandomCrops(toy_surfaces, patch, CropRules(aligned_share=1.0))
    windows = crops.draw(np.random.default_rng(3), 120)
    height, width = toy_surfaces.masks.shape[1:]
    stations = {(box.y, box.x) for box in patch_boxes(height, width, patch)}
    drawn = {(int(top), int(left)) for _, top, left, _ in windows}
    assert drawn <= stations
    assert any(top % 128 or left % 128 for top, left in drawn), "those between two others are drawn too"


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 31), st.integers(16, 40))
@settings(deadline=None)
def test_patches_of_a_first_stage_fill_the_surface_whatever_their_size(
    rows: int, columns: int, overlap: int, patch_px: int
) -> None:
    patch = PatchGrid(size=40, overlap_px=overlap)
    height, width = 40 + (rows - 1) * patch.stride, 40 + (columns - 1) * patch.stride
    size = COMMUTATOR.surface.model_copy(update={"height": height, "width": width})
    recipe = recipe_at(COMMUTATOR.model_copy(update={"surface": size, "patch": patch}), patch_px)
    patches = cut_surface(np.zeros((height, width, 1), np.uint8), recipe.patch)
    assert patches.shape == (recipe.patch_count, patch_px, patch_px, 1)
    assert len(station_windows(recipe)) == recipe.patch_count


def test_the_pixels_of_a_batch_are_those_of_its_windows(toy_surfaces: Surfaces) -> None:
    crops = RandomCrops(toy_surfaces, PatchGrid(size=128))
    batch = crops.cut(crops.draw(np.random.default_rng(4), 8))
    surface, top, left, label = batch.windows[5]
    np.testing.assert_array_equal(
        batch.pixels[5], toy_surfaces.pixels[surface, top : top + 128, left : left + 128]
    )
    assert batch.labels[5] == label


def test_the_same_generator_draws_the_same_crops(toy_surfaces: Surfaces) -> None:
    crops = RandomCrops(toy_surfaces, PatchGrid(size=128))
    first, second = (crops.draw(np.random.default_rng([5, 6]), 12) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_class_without_any_defect_is_named(toy_surfaces: Surfaces) -> None:
    with pytest.raises(DatasetError, match="no surface shows line"):
        RandomCrops(toy_surfaces.select([0, 1]), PatchGrid(size=128))


def test_patches_larger_than_the_surface_are_refused(toy_surfaces: Surfaces) -> None:
    with pytest.raises(DatasetError, match="do not fit"):
        RandomCrops(toy_surfaces, PatchGrid(size=384))


def test_a_one_pixel_scratch_stays_in_the_reduced_mask() -> None:
    mask = np.zeros((3584, 1575), np.uint8)
    mask[:, 800] = 4
    mask[100:140, 200:240] = 2
    reduced = resize_mask(mask, 2048, 512)
    assert (reduced == 4).any(axis=1).all()
    assert set(np.unique(reduced)) == {0, 2, 4}


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 300)] * 2), st.tuples(*[st.integers(1, 60)] * 2), st.data())
def test_no_defect_vanishes_from_a_mask_whatever_the_sizes(
    size: tuple[int, int], to_size: tuple[int, int], data: st.DataObject
) -> None:
    mask = np.zeros(size, np.uint8)
    row, column = (data.draw(st.integers(0, side - 1)) for side in size)
    kind = data.draw(st.sampled_from(["row", "column", "pixel"]))
    mask[row if kind != "column" else slice(None), column if kind != "row" else slice(None)] = 3
    reduced = resize_mask(mask, *to_size)
    assert set(np.unique(reduced)) - {0} == {3}
    if kind == "row":
        assert (reduced == 3).any(axis=0).all()
    if kind == "column":
        assert (reduced == 3).any(axis=1).all()


def test_of_many_spots_none_is_lost() -> None:
    mask = np.zeros((400, 400), np.uint8)
    mask[5::40, 5::40] = 1
    assert (resize_mask(mask, 50, 50) == 1).sum() == 100


def test_surfaces_come_back_from_disk_as_they_were(toy_surfaces: Surfaces, tmp_path: Path) -> None:
    save_surfaces(toy_surfaces, tmp_path / "set")
    again = load_surfaces(tmp_path / "set")
    np.testing.assert_array_equal(again.pixels, toy_surfaces.pixels)
    np.testing.assert_array_equal(again.masks, toy_surfaces.masks)
    assert (again.classes, again.names) == (toy_surfaces.classes, toy_surfaces.names)
    assert len(join_surfaces(again, toy_surfaces)) == 18


def test_an_interrupted_set_is_not_taken_for_a_whole_one(toy_surfaces: Surfaces, tmp_path: Path) -> None:
    save_surfaces(toy_surfaces, tmp_path / "set")
    (tmp_path / "set" / "surfaces.json").unlink()
    with pytest.raises(DatasetError, match="not hold a complete set"):
        load_surfaces(tmp_path / "set")


def test_the_class_of_a_part_is_that_of_its_largest_defect(toy_surfaces: Surfaces) -> None:
    assert [toy_surfaces.part_class(n) for n in range(6)] == [0, 1, 2, 0, 1, 2]


def test_a_folder_of_patches_is_drawn_by_class(tmp_path: Path) -> None:
    for value, name in enumerate(("good", "spot", "line")):
        (tmp_path / name).mkdir()
        for number in range(2):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.full((128, 128), value * 50, np.uint8))
    source = PatchFolder(tmp_path, ("good", "spot", "line"), 128, 1)
    batch = source.cut(source.draw(np.random.default_rng(0), 8))
    assert np.bincount(batch.labels).tolist() == [4, 2, 2]
    np.testing.assert_array_equal(batch.pixels[:, 0, 0, 0], batch.labels * 50)


def test_patches_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("good", "spot"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(DatasetError, match=r"a\.png is 64 x 64, but the recipe's patches are 128"):
        PatchFolder(tmp_path, ("good", "spot"), 128, 1)
