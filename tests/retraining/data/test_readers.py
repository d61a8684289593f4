"""What each reader makes of its source."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from retraining.data.dataset import load_pixels
from retraining.data.folders import Folders
from retraining.data.listing import CLASS_FOLDERS
from retraining.data.readers import READERS, build, open_reader
from retraining.data.synthetic import write_synthetic
from retraining.data.windows import windows_around
from retraining.errors import DatasetError


def _write_voc(path: Path, objects: list[tuple[str, int, int, int, int]], side: int = 64) -> None:
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in objects
    )
    size = f"<size><width>{side}</width><height>{side}</height></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{size}{items}</annotation>", encoding="utf-8")


def test_class_folders_give_labels_and_each_picture_its_own_group(tmp_path: Path, noise) -> None:
    for number, name in enumerate(("pit/1.png", "pit/deep/2.png", "line/3.png")):
        noise(tmp_path / name, number)
    dataset = Folders(tmp_path).read()
    assert dataset.classes == ("line", "pit")
    assert {p.path: (p.label, p.group) for p in dataset.pictures} == {
        "pit/1.png": ("pit", "pit/1.png"),
        "pit/deep/2.png": ("pit", "pit/deep/2.png"),
        "line/3.png": ("line", "line/3.png"),
    }
    assert dataset.pictures[0].labelled_by == "person"


def test_names_in_one_folder_give_labels_and_groups_by_a_pattern(tmp_path: Path, noise) -> None:
    for number, name in enumerate(("Cr_kos1_a.png", "Cr_kos1_b.png", "Sc_kos2_a.png", "readme.png")):
        noise(tmp_path / name, number)
    pattern = r"(?P<label>[A-Z][a-z])_(?P<group>kos\d+)_"
    dataset = Folders(tmp_path, pattern, ("scratch", "crazing"), {"Cr": "crazing", "Sc": "scratch"}).read()
    assert dataset.classes == ("scratch", "crazing")
    assert [(p.label, p.group) for p in dataset.pictures] == [
        ("crazing", "kos1"),
        ("crazing", "kos1"),
        ("scratch", "kos2"),
    ]
    assert "1 pictures were left out" in dataset.notes[0]
    assert "readme.png" in dataset.notes[0]


def test_classes_that_are_not_asked_for_are_left_out_with_a_note(tmp_path: Path, noise) -> None:
    for number, name in enumerate(("a/1.png", "b/2.png")):
        noise(tmp_path / name, number)
    dataset = Folders(tmp_path, classes=("b",)).read()
    assert [p.path for p in dataset.pictures] == ["b/2.png"]
    assert "a/1.png" in dataset.notes[0]
    with pytest.raises(DatasetError, match="no picture has the class c"):
        Folders(tmp_path, classes=("c",)).read()


@pytest.mark.parametrize("pattern", ["(", "no group", r"(?P<label>x+)/never"])
def test_a_pattern_that_finds_nothing_is_told(tmp_path: Path, noise, pattern: str) -> None:
    noise(tmp_path / "a" / "1.png", 1)
    with pytest.raises(DatasetError):
        Folders(tmp_path, pattern).read()


def test_boxes_become_windows_of_their_class_and_doubtful_ones_are_left_out(tmp_path: Path, noise) -> None:
    for number, name in enumerate(("pit/p1", "line/l1")):
        noise(tmp_path / "images" / f"{name}.png", number, 64)
    _write_voc(tmp_path / "boxes" / "p1.xml", [("pit", 11, 21, 30, 30), ("line", 1, 1, 20, 20)])
    _write_voc(tmp_path / "boxes" / "l1.xml", [("line", 60, 1, 64, 64), ("line", 60, 60, 80, 64)])
    _write_voc(tmp_path / "boxes" / "lost.xml", [("pit", 1, 1, 9, 9)])
    options = {"images": tmp_path / "images", "boxes": tmp_path / "boxes", "margin": 0.0}
    dataset = open_reader("voc", **options).read()
    assert {(p.path, p.label, p.window) for p in dataset.pictures} == {
        ("pit/p1.png", "pit", (15, 10, 20, 20)),
        ("line/l1.png", "line", (0, 0, 64, 64)),
    }
    notes = "\n".join(dataset.notes)
    assert "1 boxes have another class than their picture and were left out: p1.xml box 2 (line)" in notes
    assert "l1.xml box 2" in notes
    assert "lost.xml" in notes
    believed = open_reader("voc", **options, trust_boxes=True).read()
    assert ("pit/p1.png", "line", (0, 0, 20, 20)) in {(p.path, p.label, p.window) for p in believed.pictures}


def test_windows_of_boxes_keep_their_margin_and_stay_inside(tmp_path: Path, noise) -> None:
    noise(tmp_path / "images" / "a" / "p.png", 1, 64)
    _write_voc(tmp_path / "boxes" / "p.xml", [("a", 1, 1, 4, 4), ("a", 21, 21, 40, 40)])
    dataset = open_reader("voc", images=tmp_path / "images", boxes=tmp_path / "boxes", margin=0.25).read()
    assert [p.window for p in dataset.pictures] == [(0, 0, 16, 16), (15, 15, 30, 30)]
    assert load_pixels(dataset, 16, 1).pixels.shape == (2, 16, 16, 1)


@pytest.fixture
def masked(tmp_path: Path, noise) -> Path:
    """a/1 with two marked spots, a/2 without a mask, good/3 without one."""
    for number, name in enumerate(("a/1", "a/2", "good/3")):
        noise(tmp_path / f"{name}.png", number, 64)
    mask = np.zeros((64, 64), np.uint8)
    mask[4:8, 4:8] = 255
    mask[50:60, 30:40] = 255
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "1.png"), mask)
    return tmp_path


def test_masks_give_windows_around_defects_and_away_from_them(masked: Path) -> None:
    reader = open_reader(
        "masks", images=masked, masks=masked / "masks", side=16, sound="good", sound_windows=3
    )
    dataset = reader.read()
    assert dataset.classes == ("good", "a")
    marked = {p.window for p in dataset.pictures if p.label == "a"}
    assert marked == {(0, 0, 16, 16), (47, 27, 16, 16)}
    mask = cv2.imread(str(masked / "masks" / "1.png"), cv2.IMREAD_GRAYSCALE)
    for picture in dataset.pictures:
        top, left, height, width = picture.window
        shown = mask[top : top + height, left : left + width].any()
        assert picture.path != "a/1.png" or shown == (picture.label == "a")
    assert "a/2.png" in "".join(dataset.notes)
    assert not any(p.path == "a/2.png" for p in dataset.pictures)
    assert {p.group for p in dataset.pictures} == {"a/1.png", "good/3.png"}


def test_masks_prove_whole_pictures(masked: Path) -> None:
    dataset = open_reader("masks", images=masked, masks=masked / "masks", sound="good").read()
    assert [(p.path, p.label, p.window) for p in dataset.pictures] == [
        ("a/1.png", "a", None),
        ("good/3.png", "good", None),
    ]


def test_spots_that_fit_into_one_window_share_it() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:24, 20:30] = mask[27:30, 24:26] = 1
    assert len(windows_around(mask, 32)) == 1
    assert len(windows_around(mask, 8)) == 2


def test_synthetic_pictures_are_labelled_by_nobody(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 8, 8, 1)).astype(np.uint8)
    write_synthetic(tmp_path / "made", {"b": pixels}, "run-7", ("a", "b"))
    dataset = build(open_reader("synthetic", root=tmp_path / "made"))
    assert {(p.source, p.labelled_by) for p in dataset.pictures} == {("synthetic:run-7", "synthetic")}
    assert (load_pixels(dataset, 8, 1, labelled_by=("synthetic",)).pixels == pixels).all()
    with pytest.raises(DatasetError, match="synthetic"):
        load_pixels(dataset, 8, 1)


def test_synthetic_pictures_do_not_become_pictures_labelled_by_a_person(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 8, 8, 1)).astype(np.uint8)
    write_synthetic(tmp_path / "all" / "made", {"b": pixels}, "run-7", ("a", "b"))
    for root, pattern in (
        (tmp_path / "all", CLASS_FOLDERS),
        (tmp_path / "all" / "made" / "b", "(?P<label>0)"),
    ):
        with pytest.raises(
            DatasetError, match=r"dataset\.json says .* labelled by synthetic; use that data set"
        ):
            Folders(root, pattern).read()
    assert len(Folders(tmp_path / "all" / "made", labelled_by="synthetic").read()) == 3
    (tmp_path / "all" / "made" / "dataset.json").write_text("{}")
    assert len(Folders(tmp_path / "all").read()) == 3


def test_the_synthetic_door_refuses_other_pictures(make_dataset) -> None:
    from retraining.data.dataset import save_dataset

    dataset = make_dataset()
    save_dataset(dataset, dataset.root)
    with pytest.raises(DatasetError, match="is not synthetic"):
        open_reader("synthetic", root=dataset.root).read()


def test_unknown_doors_and_options_are_refused_by_name() -> None:
    assert set(READERS) == {"folders", "voc", "coco", "yolo", "labelme", "masks", "rendered", "synthetic"}
    with pytest.raises(DatasetError, match="use folders"):
        open_reader("window")
    with pytest.raises(DatasetError, match="not colour"):
        open_reader("folders", root=Path(), colour=True)
    with pytest.raises(DatasetError, match="it needs boxes"):
        open_reader("voc", images=Path())
