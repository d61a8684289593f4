"""The protocol for photographs: split by item, threshold from training items, the station's verdict."""

from pathlib import Path

import numpy as np
import pytest

from retraining.classifiers.loop import TrainingPlan
from retraining.errors import DatasetError
from retraining.experiments.commutators import (
    average_precision,
    choose_threshold,
    commutator_table,
    inspect_commutators,
    inspect_pictures,
    with_threshold,
)
from retraining.surfaces.photographs import item_number, list_pictures, read_pictures
from station.decision import decide
from station.recipe import Recipe, load_recipe


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(Path(__file__).parents[3] / "recipes" / "commutator.yaml")


def bright_share(patches: np.ndarray) -> np.ndarray:
    """Scores that rise with the share of bright pixels, as a trained network's would."""
    p = np.clip((patches > 160).mean(axis=(1, 2, 3)) * 60, 0.02, 0.98).astype(np.float32)
    return np.stack([1 - p, p], axis=1)


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


def test_scores_that_separate_the_pictures_miss_none(photographs: Path, recipe: Recipe) -> None:
    pictures = list_pictures(photographs)
    threshold = choose_threshold([p for p in pictures if p.item <= 3], recipe, bright_share)
    found = inspect_pictures([p for p in pictures if p.item > 3], recipe, bright_share, threshold, seed=1)
    assert (found.average_precision, found.escapes, found.overkill) == (1.0, 0, 0)
    assert (found.defective, found.good) == (2, 4)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_a_patch_is_rejected_from_the_threshold_on(recipe: Recipe, threshold: float) -> None:
    tuned = with_threshold(recipe, threshold)
    for p, rejected in ((threshold - 0.01, False), (threshold + 0.01, True)):
        scores = np.tile(np.float32([0.99, 0.01]), (recipe.patch_count, 1))
        scores[3] = (1 - p, p)
        assert (decide(scores, tuned).outcome == "reject") == rejected


def test_average_precision_is_that_of_the_textbook() -> None:
    assert average_precision([True, True, False, False], [0.9, 0.8, 0.2, 0.1]) == 1.0
    assert average_precision([False, True, False, True], [0.9, 0.8, 0.2, 0.1]) == pytest.approx(0.5)
    assert average_precision([True, False], [0.5, 0.5]) == pytest.approx(0.5)


def test_one_command_trains_and_inspects(photographs: Path, recipe: Recipe, tmp_path: Path) -> None:
    plan = TrainingPlan(steps=2, batch=4, precision="fp32")
    results = inspect_commutators(
        photographs, recipe, tmp_path / "run", seeds=1, last_training_item=4, plan=plan
    )
    assert [(r.seed, r.defective, r.good) for r in results] == [(1, 1, 2)]
    table = commutator_table(results)
    assert "| 1 | " in table
    assert "| mean | " in table


def test_a_side_of_the_split_without_defects_is_refused(photographs: Path, recipe: Recipe) -> None:
    with pytest.raises(DatasetError, match="split at another item"):
        inspect_commutators(photographs, recipe, photographs / "run", last_training_item=5)
