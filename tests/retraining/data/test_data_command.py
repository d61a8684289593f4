"""``retrain data``."""

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from retraining.cli import app
from retraining.data.dataset import load_dataset
from retraining.errors import DatasetError


def _run(*words: object) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def pictures(tmp_path: Path, noise) -> Path:
    for number in range(24):
        noise(tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png", number, 64)
    return tmp_path / "pictures"


def test_folders_become_a_manifest_and_a_sheet(pictures: Path, tmp_path: Path) -> None:
    said = _run(
        "from-folders", pictures, "--out", tmp_path / "set", "--rename", "a=good", "--classes", "good,b"
    )
    assert "24 pictures, labelled by person" in said
    dataset = load_dataset(tmp_path / "set")
    assert dataset.count() == {"good": 12, "b": 12}
    sheet = cv2.imread(str(tmp_path / "set" / "contact-sheet.png"))
    assert sheet.shape[0] == 2 * 100
    assert (
        json.loads((tmp_path / "set" / "dataset.json").read_text(encoding="utf-8"))["root"] == "../pictures"
    )


def test_a_set_is_split_shown_and_checked(pictures: Path, tmp_path: Path) -> None:
    _run("from-folders", pictures, "--out", tmp_path / "set")
    said = _run("split", tmp_path / "set", "--train", 0.75, "--test", 0.25, "--seed", 3)
    assert "train" in said
    assert load_dataset(tmp_path / "set").count("test") == {"a": 3, "b": 3}
    assert "no faults" in _run("check", tmp_path / "set")
    _run("split", tmp_path / "set", "--count", "--train", 4, "--test", 2, "--out", tmp_path / "few")
    assert load_dataset(tmp_path / "few").count("train") == {"a": 4, "b": 4}
    assert "few.png" in _run("show", tmp_path / "few", "--sheet", tmp_path / "few.png")


def test_a_check_that_finds_a_fault_ends_with_exit_code_1(pictures: Path, tmp_path: Path, noise) -> None:
    _run("from-folders", pictures, "--out", tmp_path / "set")
    noise(pictures / "a" / "0.png", 99)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "set")])
    assert result.exit_code == 1
    assert "fault: a/0.png is not the picture that was labelled" in result.output


def test_what_cannot_be_done_is_a_sentence(pictures: Path, tmp_path: Path) -> None:
    _run("from-folders", pictures, "--out", tmp_path / "set")
    with pytest.raises(DatasetError, match="LABEL=CLASS"):
        _run("from-folders", pictures, "--out", tmp_path / "set", "--rename", "a")
    with pytest.raises(DatasetError, match="whole numbers of pictures"):
        _run("split", tmp_path / "set", "--count", "--train", 0.7, "--test", 3)


def test_boxes_and_masks_have_their_commands(pictures: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    (boxes / "0.xml").write_text(
        "<annotation><size><width>64</width><height>64</height></size><object><name>a</name><bndbox><xmin>5"
        "</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>",
        encoding="utf-8",
    )
    _run("from-voc", pictures, boxes, "--out", tmp_path / "voc")
    assert len(load_dataset(tmp_path / "voc")) == 1
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = cv2.imread(str(pictures / "b" / "1.png"), cv2.IMREAD_GRAYSCALE) * 0
    mask[10:20, 10:20] = 255
    cv2.imwrite(str(masks / "1.png"), mask)
    _run("from-masks", pictures, masks, "--sound", "a", "--side", 32, "--out", tmp_path / "masked")
    assert load_dataset(tmp_path / "masked").count()["b"] == 1


def test_a_test_that_is_declared_by_names_is_kept_and_the_rest_is_split_by_group(
    pictures: Path, tmp_path: Path
) -> None:
    _run("from-folders", pictures, "--out", tmp_path / "set", "--join", "none")
    _run("split", tmp_path / "set", "--test-where", r"/(1[89]|2[0-9])\.", "--validation", 0.25)
    dataset = load_dataset(tmp_path / "set")
    assert dataset.count("test") == {"a": 3, "b": 3}
    assert {int(Path(p.path).stem) for p in dataset.pictures if p.split == "test"} == set(range(18, 24))
    assert dataset.count("train") == {"a": 7, "b": 7}
    assert dataset.count("validation") == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("[", "no regular expression"),
        ("nothing", "matches 0 of 24 pictures"),
        (".", "matches 24 of 24 pictures"),
        ("/1[0-5]", "parts 6 groups"),
    ],
)
def test_a_declared_test_that_cannot_be_is_refused(
    pictures: Path, tmp_path: Path, where: str, says: str
) -> None:
    table = [f"{'ab'[n % 2]}/{n}.png,part {n % 6}" for n in range(24)]
    (tmp_path / "groups.csv").write_text("path,group\n" + "\n".join(table), encoding="utf-8")
    _run("from-folders", pictures, "--out", tmp_path / "set", "--groups", tmp_path / "groups.csv")
    with pytest.raises(DatasetError, match=says):
        _run("split", tmp_path / "set", "--test-where", where)


def test_shares_are_refused_where_the_test_is_declared(pictures: Path, tmp_path: Path) -> None:
    _run("from-folders", pictures, "--out", tmp_path / "set")
    words = ["data", "split", str(tmp_path / "set"), "--test-where", "/2", "--test", "0.5"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--test" in result.output
