"""Folders of photographs with masks are read by item, and what cannot be read is named."""

from pathlib import Path

import pytest

from retraining.errors import DatasetError
from retraining.surfaces.photographs import item_number, list_pictures, read_pictures
from station.recipe import Recipe, load_recipe


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(Path(__file__).parents[3] / "recipes" / "commutator.yaml")


def test_pictures_are_listed_with_items_and_masks(photographs: Path) -> None:
    pictures = list_pictures(photographs)
    assert len(pictures) == 15
    assert sum(p.mask is not None for p in pictures) == 5
    assert {p.item for p in pictures} == set(range(1, 6))


def test_a_defect_without_its_mask_is_named(photographs: Path) -> None:
    (photographs / "masks" / "kos03_Part2.png").unlink()
    with pytest.raises(DatasetError, match=r"kos03_Part2\.jpg has no mask"):
        list_pictures(photographs)


def test_a_file_that_is_no_picture_is_named(photographs: Path, recipe: Recipe) -> None:
    (photographs / "normal" / "kos01_Part0.jpg").write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match=r"kos01_Part0\.jpg: not a picture"):
        read_pictures(list_pictures(photographs), recipe, lambda item: True)


def test_a_name_without_a_number_belongs_to_no_item() -> None:
    assert item_number(Path("kos07_Part3.jpg")) == 7
    with pytest.raises(DatasetError, match="does not say which item"):
        item_number(Path("strip.jpg"))


def test_the_split_is_by_item(photographs: Path, recipe: Recipe) -> None:
    surfaces = read_pictures(list_pictures(photographs), recipe, lambda item: item <= 3)
    assert len(surfaces) == 9
    assert {int(name[3:5]) for name in surfaces.names} == {1, 2, 3}
    assert surfaces.pixels.shape[1:] == (recipe.surface.height, recipe.surface.width, 1)
    assert [surfaces.part_class(n) for n in range(9)].count(1) == 3
