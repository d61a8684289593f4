"""A folder ``normal/``, ``defect/``, ``masks/`` whose labels contradict each other is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.picture_files import read_image, write_image
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.photographs import list_pictures, read_pictures
from station.recipe import load_recipe

RECIPE = load_recipe(Path(__file__).parents[3] / "recipes" / "commutator.yaml")
MASK = "kos01_Part2.png"


def everything(root: Path) -> None:
    read_pictures(list_pictures(root), RECIPE, lambda item: item == 1)


def test_a_normal_picture_whose_mask_marks_a_defect_is_refused_and_an_empty_mask_is_not(
    photographs: Path,
) -> None:
    mask = read_image(photographs / "masks" / MASK)
    for number in (1, 2):
        write_image(photographs / "masks" / f"kos0{number}_Part0_label.bmp", np.zeros_like(mask))
    assert list_pictures(photographs)
    for number in (1, 2):
        write_image(photographs / "masks" / f"kos0{number}_Part0_label.bmp", mask)
    with pytest.raises(
        BadFilesError, match=r"normal/kos01_Part0\.jpg lies in normal, but its mask .* marks a defect"
    ):
        list_pictures(photographs)


def test_a_defect_whose_mask_marks_nothing_is_refused(photographs: Path) -> None:
    write_image(photographs / "masks" / MASK, np.zeros((1260, 500), np.uint8))
    with pytest.raises(DatasetError, match=r"kos01_Part2\.jpg lies in defect, but its mask .* marks nothing"):
        everything(photographs)


def test_a_mask_made_for_another_size_is_refused(photographs: Path) -> None:
    mask = read_image(photographs / "masks" / MASK)
    write_image(photographs / "masks" / MASK, np.asarray(cv2.rotate(mask, cv2.ROTATE_90_CLOCKWISE), np.uint8))
    with pytest.raises(DatasetError, match=r"is 1260 x 500, but its picture .* is 500 x 1260"):
        everything(photographs)


def test_two_masks_of_one_defect_are_refused(photographs: Path) -> None:
    write_image(photographs / "masks" / "kos01_Part2_label.png", np.zeros((1260, 500), np.uint8))
    with pytest.raises(DatasetError, match=r"kos01_Part2\.jpg fits .*; keep one of these files"):
        list_pictures(photographs)
