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
from retraining.errors import DatasetError


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
    grouped = group_duplicates(Folders(pictures).read())
    assert {p.group for p in grouped.pictures if "k2" in p.path} == {"a/k21_1.png"}


def test_declared_groups_are_never_joined_and_what_looks_alike_in_them_is_reported(pictures: Path) -> None:
    strip = _strip(50)
    for number, left in ((21, 0), (22, 50)):
        cv2.imwrite(str(pictures / "a" / f"k{number}_1.png"), strip[:, left : left + 128])
    cv2.imwrite(str(pictures / "a" / "loose.png"), strip[:, :128])
    grouped = build(Folders(pictures), group_by=r"(?P<group>k\d+)_")
    groups = {p.path: p.group for p in grouped.pictures}
    assert (groups["a/k21_1.png"], groups["a/k22_1.png"], groups["a/loose.png"]) == ("k21", "k22", "k21")
    notes = "\n".join(grouped.notes)
    assert "are in groups that were not joined" in notes
    assert "a/k21_1.png = a/k22_1.png" in notes


def test_pictures_of_a_fixed_jig_are_told_when_they_become_one_group_and_declared_groups_end_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").mkdir()
    random = np.random.default_rng(1)
    part = _strip(1)[:, :128].astype(np.int16)
    for number in range(10):
        noisy = np.clip(part + random.integers(-3, 4, part.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "a" / f"{number % 5}_{number}.png"), noisy)
    alike = build(Folders(tmp_path))
    assert len({p.group for p in alike.pictures}) == 1
    assert "holds 10 of 10 pictures" in "\n".join(alike.notes)
    declared = build(Folders(tmp_path), group_by=r"(?P<group>\d)_")
    assert len({p.group for p in declared.pictures}) == 5
    assert "warning" not in "\n".join(declared.notes)
    assert faults(split_by_share(declared, {"train": 0.6, "test": 0.4}, 1)) == []
    assert len({p.group for p in build(Folders(tmp_path), join="exact").pictures}) == 10
    with pytest.raises(DatasetError, match="one of all, exact, none"):
        build(Folders(tmp_path), join="some")


def test_groups_are_declared_by_folder_or_by_a_table(tmp_path: Path, noise) -> None:
    for number, name in enumerate(("a/one/1.png", "a/one/2.png", "b/3.png")):
        noise(tmp_path / "pictures" / name, number)
    folders = Folders(tmp_path / "pictures")
    assert [p.group for p in build(folders, group_by="folder").pictures] == ["a/one", "a/one", "b"]
    table = tmp_path / "groups.csv"
    table.write_text(
        "\ufeffgroup,path\nshift 1,a/one/1.png\nshift 1,b\\3.png\nx,gone.png\n", encoding="utf-8"
    )
    found = build(folders, groups=table)
    assert [p.group for p in found.pictures] == ["shift 1", "a/one/2.png", "shift 1"]
    notes = "\n".join(found.notes)
    assert "1 pictures have no declared group" in notes
    assert "1 paths of groups.csv are of no picture of the set: gone.png" in notes


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"path;group\n1.png;a\n", "needs path and group"),
        (b"", "has the columns none"),
        (b"path,group\na/0.png,\n", "line 2: the group is empty"),
        (b"path,group\na/0.png,x\na/0.png,y\n", "line 3: a/0.png is in x and in y"),
        (b"path,group\na/0.png,x\na/0.png,y\n,z\n", "2 files cannot be used|line 4"),
        (b"path,group\nother.png,x\n", "names the group of no picture"),
        (b"path,group\n\xff,x\n", "not UTF-8"),
        (b'path,group\n"a,x\n', "not a CSV file"),
        (b"path,group\na/0.png,a/0.png\n", "has the name of a picture"),
    ],
)
def test_a_table_of_groups_that_cannot_be_meant_is_refused_by_line(
    tmp_path: Path, noise, content: bytes, fault: str
) -> None:
    noise(tmp_path / "pictures" / "a" / "0.png", 1)
    table = tmp_path / "groups.csv"
    table.write_bytes(content)
    with pytest.raises(DatasetError, match=fault):
        build(Folders(tmp_path / "pictures"), groups=table)


@pytest.mark.parametrize("by", ["(", "part", r"(?P<group>xyz)"])
def test_an_expression_for_groups_that_names_none_is_refused(tmp_path: Path, noise, by: str) -> None:
    noise(tmp_path / "a" / "0.png", 1)
    with pytest.raises(DatasetError, match="--group-by"):
        build(Folders(tmp_path), group_by=by)


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
