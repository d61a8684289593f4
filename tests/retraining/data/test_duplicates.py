"""Pictures that show the same are found and stay together."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from retraining.data.checks import faults, shortcuts
from retraining.data.duplicates import find_duplicates, group_duplicates
from retraining.data.folders import Folders
from retraining.data.readers import build
from retraining.data.splits import split_by_share


def _strip(seed: int, height: int = 128, width: int = 300) -> np.ndarray:
    """A long picture of fine texture, from which crops are cut."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), 2.0)
    return np.clip(120 + 40 * noise / noise.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures that have nothing in common, as ``a/NN.png`` and ``b/NN.png``."""
    for number in range(12):
        path = tmp_path / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), _strip(number)[:, :128])
    return tmp_path


def _pairs(root: Path) -> set[tuple[str, str, str]]:
    dataset = Folders(root).read()
    names = [p.path for p in dataset.pictures]
    return {(*sorted((names[p.first], names[p.second])), p.kind) for p in find_duplicates(dataset)}


def test_pictures_that_have_nothing_in_common_stay_apart(pictures: Path) -> None:
    assert _pairs(pictures) == set()


def test_the_same_pixels_in_another_format_are_one_picture(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "a" / "copy.bmp"), cv2.imread(str(pictures / "a" / "04.png")))
    assert _pairs(pictures) == {("a/04.png", "a/copy.bmp", "exact")}


def test_a_picture_stored_anew_darker_and_moved_is_found(pictures: Path) -> None:
    strip = _strip(4)
    cv2.imwrite(str(pictures / "a" / "90.jpg"), (0.7 * strip[:, 3:131]).astype(np.uint8))
    assert _pairs(pictures) == {("a/04.png", "a/90.jpg", "near")}


@pytest.mark.parametrize("way", range(1, 8))
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_mirrored_or_turned_by_quarters_is_found(pictures: Path, way: int, ending: str) -> None:
    picture = _strip(4)[:, :128]
    picture = np.rot90(picture[:, ::-1] if way > 3 else picture, way % 4)
    cv2.imwrite(str(pictures / "b" / f"90.{ending}"), np.ascontiguousarray(picture))
    assert _pairs(pictures) == {("a/04.png", f"b/90.{ending}", "mirrored")}


def test_a_mirrored_copy_in_the_test_of_what_is_trained_on_is_a_fault(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "a" / "90.jpg"), _strip(4)[:, 127::-1])
    dataset = Folders(pictures).read()
    sides = ["test" if p.path.endswith("90.jpg") else "train" for p in dataset.pictures]
    split = dataset.with_pictures(replace(p, split=s) for p, s in zip(dataset.pictures, sides, strict=True))
    found = faults(split)
    assert any(
        "a/04.png in train and a/90.jpg in test are the same picture mirrored or turned" in f for f in found
    )
    grouped = group_duplicates(dataset)
    assert any("a/04.png = a/90.jpg" in note and "mirrored" in note for note in grouped.notes)


def test_neighbours_cut_from_one_strip_are_found(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "a" / "05.png"), _strip(4)[:, 50:178])
    assert _pairs(pictures) == {("a/04.png", "a/05.png", "overlapping")}
    grouped = group_duplicates(Folders(pictures).read())
    groups = {p.path: p.group for p in grouped.pictures}
    assert groups["a/05.png"] == groups["a/04.png"]
    assert len(set(groups.values())) == 12
    assert group_duplicates(Folders(pictures).read(), reach=0).notes == ()


def test_two_scratches_on_different_steel_are_no_duplicates(tmp_path: Path) -> None:
    for number in range(2):
        picture = _strip(number)[:, :128] // 4
        picture[:, 60:66] = 250
        (tmp_path / "scratch").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "scratch" / f"{number}.png"), picture)
    assert _pairs(tmp_path) == set()


def test_groups_grow_through_a_chain_and_across_given_groups(pictures: Path) -> None:
    strip = _strip(50)
    for number, left in ((21, 0), (22, 50), (23, 100)):
        cv2.imwrite(str(pictures / "a" / f"k{number}_1.png"), strip[:, left : left + 128])
    cv2.imwrite(str(pictures / "a" / "k21_2.png"), _strip(51)[:, :128])
    pattern = r"(?P<label>[ab])/(?P<group>(k\d+)|\d+)"
    grouped = group_duplicates(Folders(pictures, pattern).read())
    assert {p.group for p in grouped.pictures if "k2" in p.path} == {"k21"}


def test_the_same_picture_under_two_labels_is_told(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "b" / "99.png"), cv2.imread(str(pictures / "a" / "04.png")))
    notes = "\n".join(build(Folders(pictures)).notes)
    assert "a/04.png (a) = b/99.png (b)" in notes


def test_a_class_with_a_file_format_of_its_own_is_told(pictures: Path) -> None:
    for path in sorted((pictures / "b").glob("*.png"))[:3]:
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)))
        path.unlink()
    cv2.imwrite(str(pictures / "a" / "90.png"), _strip(70)[:, :100])
    notes = "\n".join(shortcuts(Folders(pictures).read()))
    assert "3 of 6 pictures of b have the file format jpg, of the other classes 0 of 7" in notes
    assert "128 x 100" not in notes  # one of seven tells nothing


def test_a_check_finds_duplicates_across_a_split_and_changed_files(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "a" / "copy.png"), cv2.imread(str(pictures / "a" / "04.png")))
    careless = split_by_share(Folders(pictures).read(), {"train": 0.5, "test": 0.5}, 1)
    sides = {p.path: p.split for p in careless.pictures}
    seed = 1
    while sides["a/copy.png"] == sides["a/04.png"]:
        seed += 1
        careless = split_by_share(Folders(pictures).read(), {"train": 0.5, "test": 0.5}, seed)
        sides = {p.path: p.split for p in careless.pictures}
    assert ["are the same picture" in fault for fault in faults(careless)] == [True]
    careful = split_by_share(build(Folders(pictures)), {"train": 0.5, "test": 0.5}, 1)
    assert faults(careful) == []
    cv2.imwrite(str(pictures / "a" / "04.png"), _strip(99)[:, :128])
    assert ["digest differs" in fault for fault in faults(careful)] == [True]
