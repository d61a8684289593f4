"""COCO, YOLO and LabelMe: what each door makes of its files, and what it does not believe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from retraining.cli import app
from retraining.data.boxes import CocoBoxes, LabelMeBoxes, YoloBoxes
from retraining.data.coco_files import read_coco
from retraining.data.dataset import load_dataset
from retraining.data.labelme_files import read_labelme
from retraining.data.windows import overlap
from retraining.data.yolo_files import read_names, read_yolo
from retraining.errors import DatasetError

WriteNoise = Callable[..., Path]
Rows = list[dict[str, Any]]
SQUARE = [20, 20, 40, 20, 40, 40, 20, 40]
BOX = (18, 18, 24, 24)
"""The window of a box from 20 to 40 px with a margin of a tenth."""
KEYS = ("id", "shapes", "label", "points", "bbox", "imageWidth")


def coco_of(count: int) -> dict[str, Rows]:
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 100} for n in range(count)],
        "categories": [{"id": 7, "name": "pits"}, {"id": 9, "name": "scratch"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 7, "bbox": [20, 20, 20, 20]} for n in range(count)
        ],
    }


@pytest.fixture
def images(tmp_path: Path, noise: WriteNoise) -> Path:
    """Three pictures of 100 x 100."""
    for number in range(3):
        noise(tmp_path / "images" / f"{number}.png", number, 100)
    return tmp_path / "images"


@pytest.fixture
def coco(images: Path) -> tuple[CocoBoxes, dict[str, Rows], Callable[[], None]]:
    """A door, the content of its file, and what writes it."""
    file = images.parent / "coco.json"
    content = coco_of(3)

    def write() -> None:
        file.write_text(json.dumps(content))

    write()
    return CocoBoxes(images, file), content, write


def windows(dataset: Any) -> set[tuple[str, str, Any]]:
    return {(p.path, p.label, p.window) for p in dataset.pictures}


def notes(dataset: Any) -> str:
    return "\n".join(dataset.notes)


def test_coco_gives_windows_of_each_box_and_sound_ones_away_from_it(coco: Any) -> None:
    door, content, write = coco
    content["annotations"][1] |= {"segmentation": [SQUARE], "bbox": [0, 0, 1, 1]}
    content["annotations"][2] |= {"segmentation": {"size": [100, 100], "counts": runs(20, 20, 40, 40)}}
    write()
    dataset = door.read()
    assert dataset.classes == ("sound", "pits")
    assert {w for w in windows(dataset) if w[1] == "pits"} == {
        (f"{n}.png", "pits", (18, 18, 24, 24)) for n in range(3)
    }
    sound = [p for p in dataset.pictures if p.label == "sound"]
    assert len(sound) == 3
    for picture in sound:
        assert picture.window is not None
        assert picture.window[2:] == (24, 24)
        assert not overlap(picture.window, (20, 20, 20, 20))


def runs(left: int, top: int, right: int, bottom: int, side: int = 100) -> list[int]:
    mask = np.zeros((side, side), np.uint8)
    mask[top:bottom, left:right] = 1
    flat = np.concatenate([[0], mask.T.ravel(), [0]])
    edges = np.flatnonzero(np.diff(flat))
    lengths = np.diff([0, *edges, side * side]).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def packed(counts: list[int]) -> str:
    """As pycocotools packs counts: differences to the count before the last, six bits a character."""
    text = ""
    for at, count in enumerate(counts):
        value = count - counts[at - 2] if at > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | (32 if more else 0)))
    return text


@given(st.tuples(st.integers(0, 29), st.integers(0, 29), st.integers(1, 30), st.integers(1, 30)))
def test_runs_packed_or_not_have_the_box_that_was_drawn(
    tmp_path_factory: pytest.TempPathFactory, given_box: tuple[int, int, int, int]
) -> None:
    left, top, width, height = given_box
    right, bottom = min(left + width, 30), min(top + height, 30)
    file = tmp_path_factory.getbasetemp() / "runs.json"
    content = coco_of(1)
    content["images"][0] |= {"width": 30, "height": 30}
    counts = runs(left, top, right, bottom, 30)
    for form in (counts, packed(counts)):
        content["annotations"][0]["segmentation"] = {"size": [30, 30], "counts": form}  # type: ignore[assignment]
        file.write_text(json.dumps(content))
        assert read_coco(file)[0].boxes[0].corners() == (left, top, right, bottom)


def test_coco_entries_without_a_picture_and_pictures_without_an_entry_are_named(coco: Any) -> None:
    door, content, write = coco
    content["images"][0]["file_name"] = "../../etc/passwd"
    content["images"][1]["file_name"] = "C:\\export\\1.png"
    write()
    dataset = door.read()
    assert {p.path for p in dataset.pictures} == {"1.png", "2.png"}
    assert "1 entries of the file have no picture and were left out: ../../etc/passwd" in notes(dataset)
    assert "pictures have no entry in the file and were left out: 0.png" in notes(dataset)
    content["images"] = [image | {"file_name": f"gone{n}.png"} for n, image in enumerate(content["images"])]
    write()
    with pytest.raises(DatasetError, match=r"none of the 3 pictures that .*coco\.json lists"):
        door.read()


def test_a_coco_entry_without_a_mark_is_sound_only_where_that_is_trusted(coco: Any) -> None:
    door, content, write = coco
    del content["annotations"][0]
    write()
    dataset = door.read()
    assert "0.png" not in {p.path for p in dataset.pictures}
    assert "--trust-unmarked" in notes(dataset)
    trusted = CocoBoxes(door.images, door.boxes, trust_unmarked=True).read()
    assert [p.label for p in trusted.pictures if p.path == "0.png"] == ["sound"]


def test_a_picture_with_a_doubtful_or_crowded_mark_gives_no_window_of_it(coco: Any) -> None:
    door, content, write = coco
    content["annotations"][0]["bbox"] = [90, 20, 20, 20]
    content["annotations"][1]["iscrowd"] = 1
    content["images"][2] |= {"width": 200}
    write()
    with pytest.raises(DatasetError, match="no box is left"):
        door.read()
    content["images"][2] |= {"width": 100}
    write()
    dataset = door.read()
    assert {p.path for p in dataset.pictures if p.label == "pits"} == {"2.png"}
    assert {p.path for p in dataset.pictures if p.label == "sound"} == {"1.png", "2.png"}
    assert "reach beyond the stated size" in notes(dataset)
    assert "mark a crowd (iscrowd)" in notes(dataset)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c["images"].append(c["images"][0]), "images 4: the id 0 is given twice"),
        (lambda c: c["images"][1].update(file_name="0.png"), "'0.png' is the picture of image 0, too"),
        (lambda c: c["images"][1].update(file_name=""), "image 1: file_name is ''"),
        (lambda c: c["images"][1].update(width=-3), "image 1: the size -3 x 100"),
        (lambda c: c["categories"].append(c["categories"][0]), "categories 3: the id 7 is given twice"),
        (lambda c: c["categories"][0].update(name=None), "category 7: the name of the class is None"),
        (lambda c: c["annotations"][1].update(image_id=99), "annotation 2: no image has the id 99"),
        (lambda c: c["annotations"][1].update(category_id=99), "annotation 2: no category has the id 99"),
        (lambda c: c["annotations"][1].update(category_id=[]), "category_id is '\\[\\]', which is no id"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3]), "neither a segmentation nor a bbox"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3, "4"]), "bbox is '4', which is no number"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3, float("nan")]), "it holds NaN"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4]]), "no list of three or more x, y"),
        (lambda c: c["annotations"][1].update(iscrowd="no"), "iscrowd is 'no'"),
        (lambda c: c["annotations"][1].update(score=0.5), "a network made it"),
        (
            lambda c: c["annotations"][1].update(segmentation={"size": [100, 100], "counts": [5, 5]}),
            "do not fill the picture",
        ),
        (
            lambda c: c["annotations"][1].update(segmentation={"size": [9, 9], "counts": [81]}),
            "are for (a size of )?9 x 9",
        ),
        (
            lambda c: c["annotations"][1].update(segmentation={"size": [100, 100], "counts": "o" * 9}),
            "not packed as COCO",
        ),
        (lambda c: c.pop("images"), "images is no list of objects"),
    ],
)
def test_a_coco_file_whose_marks_nobody_can_assign_is_refused(
    coco: Any, change: Callable[[Any], object], fault: str
) -> None:
    door, content, write = coco
    change(content)
    write()
    with pytest.raises(DatasetError, match=rf"coco\.json is not a COCO file: .*{fault}"):
        door.read()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a": 1, "a": 2}', "9" * 5000, '"', "\x00"])
def test_hostile_json_is_refused_and_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.json"
    file.write_text(text)
    with pytest.raises(DatasetError, match=r"any\.json is not a COCO file"):
        read_coco(file)
    with pytest.raises(DatasetError, match=r"any\.json is not a LabelMe file"):
        read_labelme(file)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(values, values)
def test_no_json_ends_a_run_otherwise_than_by_naming_its_file(
    tmp_path_factory: pytest.TempPathFactory, one: Any, other: Any
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps({"images": [one], "categories": [other], "annotations": [one, other]}))
    with pytest.raises(DatasetError, match=r"any\.json is not a COCO file"):
        read_coco(file)
    file.write_text(json.dumps({"shapes": [{"label": "a", "points": one}, other]}))
    with pytest.raises(DatasetError, match=r"any\.json is not a LabelMe file"):
        read_labelme(file)


@pytest.fixture
def yolo(images: Path) -> YoloBoxes:
    """A box, a polygon, and an empty file."""
    labels = images.parent / "labels"
    labels.mkdir()
    (labels / "0.txt").write_text("1 0.3 0.3 0.2 0.2\n")
    (labels / "1.txt").write_text("0 .2 .2 .4 .2 .4 .4 .2 .4\n\n")
    (labels / "2.txt").write_text("")
    names = images.parent / "data.yaml"
    names.write_text("path: ../x\nnc: 2\nnames:\n  0: pits\n  1: scratch\n")
    return YoloBoxes(images, labels, names=names)


def test_yolo_gives_windows_of_boxes_and_polygons_and_sound_ones_of_empty_files(yolo: YoloBoxes) -> None:
    dataset = yolo.read()
    assert dataset.count() == {"sound": 3, "pits": 1, "scratch": 1}
    marked = {w for w in windows(dataset) if w[1] != "sound"}
    assert marked == {("0.png", "scratch", (18, 18, 24, 24)), ("1.png", "pits", (18, 18, 24, 24))}
    assert dataset.notes == ()


def test_sound_pictures_alone_need_a_size_of_their_windows(yolo: YoloBoxes) -> None:
    for file in yolo.boxes.iterdir():
        file.write_text("")
    with pytest.raises(DatasetError, match=r"no box is left: .* by --side"):
        yolo.read()
    dataset = YoloBoxes(yolo.images, yolo.boxes, side=32, sound_windows=2, names=yolo.names).read()
    assert dataset.count() == {"sound": 6}


def test_classes_that_are_not_asked_for_are_left_out_with_a_note_of_their_windows(yolo: YoloBoxes) -> None:
    dataset = YoloBoxes(yolo.images, yolo.boxes, classes=("sound", "pits"), names=yolo.names).read()
    assert dataset.classes == ("sound", "pits")
    assert "because --classes does not name their classes: 0.png" in notes(dataset)


def test_a_picture_without_a_yolo_file_is_not_labelled_and_never_sound(yolo: YoloBoxes) -> None:
    (yolo.boxes / "2.txt").unlink()
    dataset = yolo.read()
    assert "2.png" not in {p.path for p in dataset.pictures}
    assert "have no box file and were left out: 2.png" in notes(dataset)


@pytest.mark.parametrize("layout", ["{kind}/train", "train/{kind}"])
def test_yolo_files_lie_in_labels_where_their_pictures_lie_in_images(
    tmp_path: Path, noise: WriteNoise, layout: str
) -> None:
    for split in ("train", "val"):
        here = layout.replace("train", split)
        noise(tmp_path / here.format(kind="images") / "1.png", 1, 100)
        labels = tmp_path / here.format(kind="labels")
        labels.mkdir(parents=True)
        (labels / "1.txt").write_text("0 0.5 0.5 0.2 0.2" if split == "train" else "")
    (tmp_path / "classes.txt").write_text("pits\n")
    dataset = YoloBoxes(tmp_path, tmp_path, names=tmp_path / "classes.txt").read()
    assert [p.label for p in dataset.pictures if "val" in p.path] == ["sound"]
    assert {p.label for p in dataset.pictures if "train" in p.path} == {"pits", "sound"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("2 .5 .5 .1 .1", "no class has the number 2"),
        ("-1 .5 .5 .1 .1", "the class '-1' is no whole number"),
        ("pits .5 .5 .1 .1", "the class 'pits' is no whole number"),
        ("0 .5 .5 .1", "it has 4 numbers"),
        ("0 .5 .5 .1 .1 .9", "a network's confidence"),
        ("0 .5 .5 .1 nan", "'nan' is no number"),
        ("0 .5 .5 .1 1e999", "is no number"),
        ("0 50 50 10 10", "may be a number of pixels"),
    ],
)
def test_a_line_of_yolo_that_cannot_be_meant_is_refused_by_its_number(
    yolo: YoloBoxes, line: str, fault: str
) -> None:
    (yolo.boxes / "0.txt").write_text(f"0 .5 .5 .1 .1\n{line}\n")
    with pytest.raises(DatasetError, match=rf"0\.txt is not a YOLO file: line 2: .*{fault}"):
        yolo.read()


def test_a_yolo_box_outside_its_picture_is_left_out_and_one_at_the_edge_is_not(yolo: YoloBoxes) -> None:
    (yolo.boxes / "0.txt").write_text("1 0.95 0.5 0.2 0.2\n")
    (yolo.boxes / "1.txt").write_text("0 0.900001 0.5 0.2 0.2\n")
    dataset = yolo.read()
    assert {p.path for p in dataset.pictures} == {"1.png", "2.png"}
    assert "0.txt box 1 (x 85 to 105, y 40 to 60 of 100 x 100)" in notes(dataset)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.yaml", "names: [pits, pits]", "one name to two classes"),
        ("a.yaml", "names: [pits, no]", "class 1: the name of the class is False.*put it in quotes"),
        ("a.yaml", "nc: 3\nnames: [a, b]", "nc is 3 and there are 2"),
        ("a.yaml", "names: {x: a}", "the class 'x' of names"),
        ("a.yaml", "names: []", "it names no class"),
        ("a.yaml", "- a", "no list `names`"),
        ("a.yaml", "names: [a\n", "it is not YAML"),
        ("a.yaml", "kpt_shape: [17, 3]\nnames: [a]", "key points"),
        ("a.yaml", "!!python/object/apply:os.system [ls]", "it is not YAML"),
        ("a.txt", "a\n\nb\n", "line 2 is blank"),
        ("a.txt", "", "it names no class"),
    ],
)
def test_a_file_of_class_names_that_cannot_be_meant_is_refused(
    tmp_path: Path, name: str, text: str, fault: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=f"{name} is not a file of class names: .*{fault}"):
        read_names(tmp_path / name)


@given(
    st.binary(max_size=200).filter(lambda data: data.strip(bytes(range(33))) not in (b"", b"\xef\xbb\xbf"))
)
def test_no_bytes_of_a_yolo_file_end_a_run_otherwise_than_by_naming_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.txt"
    file.write_bytes(data)
    with pytest.raises(DatasetError, match=r"any\.txt is not a YOLO file"):
        read_yolo(file, {})


def labelme(file: Path, *shapes: Any, **fields: Any) -> None:
    stated = {"imagePath": f"{file.stem}.png", "imageWidth": 100, "imageHeight": 100, "imageData": "!" * 99}
    file.write_text(json.dumps(stated | fields | {"shapes": list(shapes)}))


def shape(kind: str, *points: tuple[float, float], label: Any = "pits") -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points}


@pytest.fixture
def shapes(images: Path) -> LabelMeBoxes:
    """LabelMe's files beside their pictures, as it writes them."""
    labelme(images / "0.json", shape("rectangle", (40, 40), (20, 20)))
    labelme(images / "1.json", shape("circle", (30, 30), (30, 40)))
    labelme(images / "2.json")
    return LabelMeBoxes(images, images)


def test_labelme_gives_windows_of_shapes_and_sound_ones_of_files_without_any(shapes: LabelMeBoxes) -> None:
    dataset = shapes.read()
    assert {w for w in windows(dataset) if w[1] == "pits"} == {
        (f"{n}.png", "pits", (18, 18, 24, 24)) for n in (0, 1)
    }
    assert dataset.count() == {"sound": 3, "pits": 2}
    assert dataset.notes == ()


def test_every_shape_of_labelme_has_a_box(shapes: LabelMeBoxes) -> None:
    file = shapes.images / "0.json"
    labelme(
        file,
        shape("polygon", (1, 1), (9, 2), (4, 8)),
        shape("linestrip", (1, 5), (9, 5)),
        shape("point", (3, 4)),
        shape("mask", (1, 1), (3, 3)),
        {"label": "old", "points": [[1, 1], [5, 1], [5, 5]]},
    )
    corners = [mark.corners() for mark in read_labelme(file).boxes]
    assert corners == [(1, 1, 9, 8), (1, 5, 9, 6), (3, 4, 4, 5), (1, 1, 4, 4), (1, 1, 5, 5)]


def test_a_labelme_file_for_another_picture_or_size_is_not_believed(shapes: LabelMeBoxes) -> None:
    labelme(shapes.images / "0.json", shape("rectangle", (20, 20), (40, 40)), imagePath="..\\img\\2.png")
    dataset = shapes.read()
    assert "0.png" not in {p.path for p in dataset.pictures}
    assert "name another picture of the set in imagePath" in notes(dataset)
    labelme(shapes.images / "0.json", shape("rectangle", (20, 20), (40, 40)), imageWidth=200)
    dataset = shapes.read()
    assert "0.png" not in {p.path for p in dataset.pictures}
    assert "0.json box 1 (states 200 x 100, the file is 100 x 100)" in notes(dataset)


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (shape("cuboid", (1, 1), (2, 2)), "shape_type is 'cuboid'"),
        (shape("polygon", (1, 1), (2, 2)), "a polygon has 2 points; it needs 3"),
        (shape("rectangle", (1, 1), (2, 2), label=" "), "the name of the class is ' '"),
        (shape("rectangle", (1, 1), (2, 2), label=5), "the name of the class is 5"),
        ({"label": "a", "points": [[1, 2, 3]]}, "a point is no list of x and y"),
        ({"label": "a", "points": {}}, "points is no list"),
        ([], "it is no object"),
    ],
)
def test_a_shape_of_labelme_that_cannot_be_meant_is_refused_by_its_number(
    shapes: LabelMeBoxes, bad: Any, fault: str
) -> None:
    labelme(shapes.images / "0.json", shape("point", (1, 1)), bad)
    with pytest.raises(DatasetError, match=rf"0\.json is not a LabelMe file: shape 2: {fault}"):
        shapes.read()


def test_windows_of_one_side_are_shared_by_boxes_of_a_class_and_never_by_two_classes(
    shapes: LabelMeBoxes,
) -> None:
    labelme(
        shapes.images / "0.json",
        shape("rectangle", (10, 10), (16, 16)),
        shape("rectangle", (18, 10), (24, 16)),
        shape("rectangle", (80, 80), (86, 86), label="scratch"),
    )
    labelme(
        shapes.images / "1.json",
        shape("rectangle", (50, 50), (56, 56)),
        shape("rectangle", (60, 50), (66, 56), label="scratch"),
    )
    dataset = LabelMeBoxes(shapes.images, shapes.images, side=32, sound_windows=0).read()
    assert sorted((p.path, p.label) for p in dataset.pictures) == [("0.png", "pits"), ("0.png", "scratch")]
    assert {p.window[2:] for p in dataset.pictures if p.window} == {(32, 32)}
    assert "windows show boxes of several classes and were left out: 1.png" in notes(dataset)
    with pytest.raises(DatasetError, match="smaller than a window of 128 px"):
        LabelMeBoxes(shapes.images, shapes.images, side=128).read()


def test_each_format_has_its_command(coco: Any, yolo: YoloBoxes, shapes: LabelMeBoxes) -> None:
    out = yolo.images.parent
    for words, count in (
        (("from-coco", coco[0].images, coco[0].boxes), 6),
        (("from-yolo", yolo.images, yolo.boxes, yolo.names), 5),
        (("from-labelme", shapes.images, shapes.boxes, "--side", 24, "--sound", "good"), 5),
    ):
        named = [str(word) for word in ("data", *words, "--out", out / str(words[0]))]
        done = CliRunner().invoke(app, named, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert len(load_dataset(out / str(words[0]))) == count
