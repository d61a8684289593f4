"""Manifests and pixels."""

import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retraining.data.dataset import Picture, join, load_dataset, load_pixels, save_dataset
from retraining.errors import DatasetError

PICTURE = {
    "path": "a.png",
    "digest": "0",
    "label": "a",
    "group": "1",
    "source": "folder",
    "labelled_by": "person",
}


def manifest(**changed: object) -> str:
    """The text of a manifest, of which some fields are changed."""
    return json.dumps({"version": 1, "root": ".", "classes": ["a"], "notes": [], "pictures": []} | changed)


def test_a_manifest_reads_back_as_it_was_written(make_dataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    windowed = replace(dataset.pictures[0], window=(1, 2, 3, 4), split="test", group="tile 7")
    dataset = dataset.with_pictures((windowed, *dataset.pictures[1:]), "one note, with an umlaut: ä")
    save_dataset(dataset, tmp_path / "set")
    again = load_dataset(tmp_path / "set", verify=True)
    assert again.pictures == dataset.pictures
    assert again.classes == dataset.classes
    assert again.notes == dataset.notes
    assert again.root == dataset.root.resolve()


def test_a_manifest_may_move_together_with_its_pictures(make_dataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    save_dataset(dataset, dataset.root)
    moved = tmp_path / "elsewhere"
    dataset.root.rename(moved)
    assert load_dataset(moved, verify=True).root == moved.resolve()


def test_a_changed_picture_is_found_when_digests_are_asked_for(make_dataset) -> None:
    dataset = make_dataset()
    save_dataset(dataset, dataset.root)
    cv2.imwrite(str(dataset.path_of(dataset.pictures[4])), np.zeros((8, 8), np.uint8))
    load_dataset(dataset.root)
    with pytest.raises(DatasetError, match="digest differs"):
        load_dataset(dataset.root, verify=True)


def test_a_missing_picture_is_found_at_once(make_dataset) -> None:
    dataset = make_dataset()
    save_dataset(dataset, dataset.root)
    dataset.path_of(dataset.pictures[0]).unlink()
    with pytest.raises(DatasetError, match="is not in"):
        load_dataset(dataset.root)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "a/../../b.png", "", "a\\b.png"])
def test_a_path_out_of_the_root_is_refused(path: str) -> None:
    with pytest.raises(DatasetError, match="not a path below"):
        Picture(path, "0", "a", "g", "folder", "person")


def test_a_link_out_of_the_root_is_refused(make_dataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    save_dataset(dataset, dataset.root)
    first = dataset.path_of(dataset.pictures[0])
    outside = tmp_path / "outside.png"
    first.rename(outside)
    first.symlink_to(outside)
    with pytest.raises(DatasetError, match="leads out"):
        load_dataset(dataset.root)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "not a manifest"),
        ("[]", "version 1"),
        (json.dumps({"version": 2}), "version 1"),
        (json.dumps({"version": 1, "root": "."}), "lacks or misspells"),
        (
            json.dumps({"version": 1, "root": ".", "classes": ["a"], "notes": [], "pictures": [{"x": 1}]}),
            "misspells",
        ),
        ("[" * 100_000, "not a manifest"),
        ("\ufeff{}", "not a manifest"),
        (manifest(classes="abc"), "misspells classes"),
        (manifest(classes=[]), "classes .* are empty"),
        (manifest(classes=["a", "a"]), "a name twice"),
        (manifest(classes=["a", "no\nname"]), "cannot be the name of a class"),
        (manifest(root="a\0b"), "misspells root"),
        (manifest(sixteen_bit_white=True), "misspells sixteen_bit_white"),
        (manifest(sixteen_bit_white=70_000), "must be a grey value of 1 to 65535"),
        (manifest(note="x"), r"misspells note \(Extra"),
        (manifest(pictures=[{**PICTURE, "label": ["a"]}]), r"misspells pictures\.0\.label"),
        (manifest(pictures=[{**PICTURE, "labels": "a"}]), r"misspells pictures\.0\.labels"),
        (manifest(pictures=[{**PICTURE, "window": [1, 2, 3]}]), r"misspells pictures\.0\.window"),
        (manifest(pictures=[{**PICTURE, "window": [0, 0, "8", 8]}]), r"misspells pictures\.0\.window"),
        (manifest(pictures=[{**PICTURE, "window": [0, 0, -8, 8]}]), "a window is top, left, height, width"),
        (manifest(pictures=[{**PICTURE, "window": [0, 0, math.nan, 8]}]), "manifest|misspells"),
        (manifest(pictures=[{**PICTURE, "path": "../a.png"}]), "is not a path below"),
        (manifest(pictures=[{**PICTURE, "path": "a\0.png"}]), "is not a path below"),
        (manifest(pictures=[{**PICTURE, "path": "a" * 5000}]), "is not in"),
    ],
)
def test_a_broken_manifest_is_one_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=complaint):
        load_dataset(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from(["root", "classes", "notes", "pictures", "version", *PICTURE]), value=JSON)
def test_whatever_stands_in_a_field_of_a_manifest_it_is_read_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: object
) -> None:
    folder = tmp_path_factory.getbasetemp()
    changed = {"pictures": [{**PICTURE, field: value}]} if field in PICTURE else {field: value}
    (folder / "dataset.json").write_text(manifest(**changed), encoding="utf-8", errors="surrogatepass")
    with suppress(DatasetError):
        load_dataset(folder)


def test_a_picture_listed_twice_is_refused_but_two_windows_of_it_are_not(make_dataset) -> None:
    dataset = make_dataset()
    first = dataset.pictures[0]
    dataset.with_pictures([first, replace(first, window=(0, 0, 8, 8))])
    with pytest.raises(DatasetError, match="twice"):
        dataset.with_pictures([first, first])


def test_labels_by_the_station_are_not_trained_on_unless_asked(make_dataset) -> None:
    dataset = make_dataset(labelled_by="station")
    with pytest.raises(DatasetError, match="let a person check"):
        load_pixels(dataset, 16, 1)
    assert len(load_pixels(dataset, 16, 1, labelled_by=("station",))) == 9


def test_pictures_left_out_for_their_label_are_told(make_dataset, caplog: pytest.LogCaptureFixture) -> None:
    dataset = make_dataset()
    doubtful = replace(dataset.pictures[0], labelled_by="station")
    pictures = load_pixels(dataset.with_pictures([doubtful, *dataset.pictures[1:]]), 16, 1)
    assert len(pictures) == 8
    assert "1 by 'station'" in caplog.text


def test_pixels_are_area_averaged_windows_in_the_order_of_the_manifest(make_dataset) -> None:
    dataset = make_dataset()
    one, other = dataset.pictures[3], dataset.pictures[0]
    windows = [replace(one, window=(8, 4, 16, 24)), other, replace(one, window=(0, 0, 8, 8))]
    pictures = load_pixels(dataset.with_pictures(windows), (8, 12), 1)
    whole = cv2.imread(str(dataset.path_of(one)), cv2.IMREAD_GRAYSCALE)
    expected = whole[8:24, 4:28].reshape(8, 2, 12, 2).mean(axis=(1, 3))
    assert pictures.pixels.shape == (3, 8, 12, 1)
    assert np.abs(pictures.pixels[0, ..., 0] - expected).max() <= 0.5
    assert pictures.names[2].endswith("@0,0,8,8")
    assert [pictures.classes[k] for k in pictures.labels] == [one.label, other.label, one.label]


def test_a_window_beyond_its_picture_is_an_error(make_dataset) -> None:
    dataset = make_dataset()
    with pytest.raises(DatasetError, match="reaches beyond"):
        load_pixels(dataset.with_pictures([replace(dataset.pictures[0], window=(20, 0, 16, 8))]), 8, 1)


def test_picture_sets_are_selected_and_joined(make_dataset) -> None:
    pictures = load_pixels(make_dataset(), 16, 3)
    of_b = pictures.of_class(1)
    assert of_b.count() == {"a": 0, "b": 3, "c": 0}
    both = join(of_b, pictures.select([0, 2]))
    assert both.count() == {"a": 1, "b": 3, "c": 1}
    assert both.names[3:] == (pictures.names[0], pictures.names[2])
    with pytest.raises(DatasetError, match="same classes and size"):
        join(pictures, load_pixels(make_dataset(), 8, 3))


def test_a_set_counts_its_classes_by_split(make_dataset) -> None:
    dataset = make_dataset()
    split = dataset.with_pictures([replace(dataset.pictures[0], split="test"), *dataset.pictures[1:]])
    assert split.count("test") == {"a": 1, "b": 0, "c": 0}
    assert split.select(classes=("c", "a")).classes == ("a", "c")
    with pytest.raises(DatasetError, match="no split"):
        split.select(split="training")
