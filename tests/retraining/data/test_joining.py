"""Several data sets become one, and what they say differently is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
from retraining.cli import app as retrain
from retraining.data.joining import join_datasets
from retraining.data.manifest import Dataset, Picture, file_digest, load_dataset
from retraining.errors import DatasetError


def data_set(folder: Path, classes: tuple[str, ...], seed: int = 1, **said: str) -> Dataset:
    """Two pictures of each class, each a group of its own."""
    rng = np.random.default_rng(seed)
    pictures = []
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            path = f"{name}/{number}.png"
            write_image(folder / path, rng.integers(0, 255, (16, 16), dtype=np.uint8))
            pictures.append(
                Picture(path, file_digest(folder / path), name, said.get("group", f"{folder.name}/{path}"),
                        "folder", "person", said.get("split", ""))
            )  # fmt: skip
    return Dataset(folder, classes, tuple(pictures))


def test_own_pictures_and_those_of_a_station_become_one_set(tmp_path: Path) -> None:
    for name, kinds in (("mine", ("good", "pit")), ("received", ("good", "scratch"))):
        data_set(tmp_path / "pictures" / name, kinds, seed=len(name))
        result = CliRunner().invoke(
            retrain,
            ["data", "from-folders", str(tmp_path / "pictures" / name), "--out", str(tmp_path / name)],
        )
        assert result.exit_code == 0, result.output

    words = [
        "data",
        "join",
        str(tmp_path / "mine"),
        str(tmp_path / "received"),
        "--out",
        str(tmp_path / "all"),
    ]
    result = CliRunner().invoke(retrain, words, catch_exceptions=False)

    assert result.exit_code == 0, result.output
    joined = load_dataset(tmp_path / "all", verify=True)
    assert joined.count() == {"good": 4, "pit": 2, "scratch": 2}
    assert {p.path.split("/")[0] for p in joined.pictures} == {"mine", "received"}


def test_a_picture_that_both_list_is_listed_once(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("good", "pit"))
    joined = join_datasets({"one": one, "two": one})
    assert len(joined) == 4
    assert "4 pictures that several sets list are listed once" in joined.notes


def test_the_same_file_in_two_folders_is_one_group(tmp_path: Path) -> None:
    one, two = (data_set(tmp_path / name, ("good", "pit"), seed=3) for name in "ab")
    joined = join_datasets({"one": one, "two": two})
    assert len(joined) == 8
    assert len({p.group for p in joined.pictures}) == 4
    assert any("4 groups hold a file that another group holds" in note for note in joined.notes)


def test_one_file_with_two_labels_is_an_error_that_names_both(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("good", "pit"), seed=3)
    two = data_set(tmp_path / "b", ("good", "dent"), seed=3)
    with pytest.raises(DatasetError) as refused:
        join_datasets({"one": one, "two": two})
    text = str(refused.value)
    assert text.count("are the same file with the labels pit and dent") == 2
    assert "a/pit/0.png (one) and b/dent/0.png (two)" in text


def test_another_label_of_the_same_picture_is_an_error(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("good", "pit"))
    other = one.with_pictures(
        Picture(p.path, p.digest, "pit", p.group, p.source, "station") for p in one.pictures
    )
    with pytest.raises(DatasetError, match=r"good/0\.png: one and two differ in label, labelled_by"):
        join_datasets({"one": one, "two": other})


def test_no_good_class_becomes_a_defect_by_its_name(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("good", "pit"))
    two = data_set(tmp_path / "b", ("sound", "pit"), seed=2)
    with pytest.raises(DatasetError, match=r"begin with different classes .*--good.*--rename"):
        join_datasets({"one": one, "two": two})


def test_a_set_of_defects_alone_joins_where_the_good_class_is_named(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("pit",), seed=2)
    two = data_set(tmp_path / "b", ("good", "pit"))
    assert join_datasets({"one": one, "two": two}, good="good").classes == ("good", "pit")


def test_groups_of_one_name_are_one_group_and_named(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("good",), group="part 1")
    two = data_set(tmp_path / "b", ("good",), seed=2, group="part 1")
    joined = join_datasets({"one": one, "two": two})
    assert {p.group for p in joined.pictures} == {"part 1"}
    assert any(
        "have the same name in several sets and count as one (part 1)" in note for note in joined.notes
    )


def test_a_group_on_two_sides_of_the_sets_splits_is_an_error(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("good",), group="part 1", split="train")
    two = data_set(tmp_path / "b", ("good",), seed=2, group="part 1", split="test")
    with pytest.raises(DatasetError, match="in more than one split of the joined sets, such as part 1"):
        join_datasets({"one": one, "two": two})


def test_a_split_set_and_one_without_a_split_are_not_joined(tmp_path: Path) -> None:
    one = data_set(tmp_path / "a", ("good",), split="train")
    two = data_set(tmp_path / "b", ("good",), seed=2)
    with pytest.raises(DatasetError, match="only one is split"):
        join_datasets({"one": one, "two": two})
