"""Pictures and masks as the workshop reads them: as the station does, and every bad file at once."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.picture_files import read_image, write_image
from retraining.data.boxes import VocBoxes
from retraining.data.checks import faults, shortcuts
from retraining.data.folders import Folders
from retraining.data.manifest import file_digest, load_dataset, save_dataset
from retraining.data.masks import Masks
from retraining.data.pixels import load_pixels
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.crops import PatchFolder
from retraining.surfaces.photographs import list_pictures, read_photograph
from retraining.surfaces.reading import read_mask
from station.recipe import load_recipe

WriteNoise = Callable[..., Path]
MARK = (slice(40, 50), slice(60, 90))


def mask(value: int = 255) -> np.ndarray:
    marked = np.zeros((128, 192), np.uint8)
    marked[MARK] = value
    return marked


@pytest.fixture
def folders(tmp_path: Path, noise: WriteNoise) -> Path:
    for number in range(3):
        noise(tmp_path / "set" / "good" / f"{number}.png", number, 64)
        noise(tmp_path / "set" / "pits" / f"{number}.png", number + 10, 64)
    return tmp_path / "set"


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """Three scratched pictures and three good ones of 128 x 192, with masks beside ``images``."""
    rng = np.random.default_rng(3)
    for number in range(3):
        for label in ("scratch", "good"):
            picture = rng.integers(80, 160, (128, 192), dtype=np.uint8)
            if label == "scratch":
                picture[MARK] = 230
                write_image(tmp_path / "masks" / f"s{number}.png", mask())
            write_image(tmp_path / "images" / label / f"{label[0]}{number}.png", picture)
    return tmp_path


def windows(root: Path, side: int = 64) -> Masks:
    return Masks(root / "images", root / "masks", sound="good", side=side)


def test_a_jpeg_cut_in_half_is_trained_on_no_more_than_it_is_inspected(folders: Path) -> None:
    data = cv2.imencode(".jpg", cv2.imread(str(folders / "good" / "0.png")))[1].tobytes()
    (folders / "good" / "9.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=r"good/9\.jpg: not a picture, or damaged"):
        Folders(folders).read()


def test_every_bad_file_of_a_folder_is_named_at_once(folders: Path) -> None:
    (folders / "good" / "7.png").write_bytes(b"")
    (folders / "pits" / "8.jpg").write_bytes(b"no picture")
    (folders / "pits" / "gone.png").symlink_to("/nowhere/gone.png")
    (folders / "good" / "._0.png").write_bytes(b"\0\5\x16\7")
    with pytest.raises(BadFilesError, match="3 files cannot be used") as caught:
        Folders(folders).read()
    assert [fault.split(": ")[0][-8:] for fault in caught.value.faults] == [
        "od/7.png",
        "ts/8.jpg",
        "gone.png",
    ]


def test_a_picture_damaged_before_it_was_digested_is_found_by_the_check(folders: Path) -> None:
    dataset = Folders(folders).read()
    data = (folders / "good" / "0.png").read_bytes()
    (folders / "good" / "0.png").write_bytes(data[: len(data) // 2])
    pictures = [replace(p, digest=file_digest(dataset.path_of(p))) for p in dataset.pictures]
    found = faults(dataset.with_pictures(pictures))
    assert len(found) == 1
    assert "good/0.png: not a picture, or damaged" in found[0]


def test_the_check_finds_one_file_in_two_splits_and_one_picture_with_two_labels(folders: Path) -> None:
    pictures = list(Folders(folders).read().pictures)
    pictures[0] = replace(pictures[0], window=(0, 0, 30, 30), split="train", group="1")
    pictures[1] = replace(pictures[0], window=(34, 34, 30, 30), split="test", group="2")
    (folders / "pits" / "2.png").write_bytes((folders / "good" / "2.png").read_bytes())
    pictures[5] = replace(pictures[5], digest=pictures[2].digest)
    found = faults(Folders(folders).read().with_pictures(pictures))
    assert "good/0.png lies in test and train" in found
    assert "the same picture has several labels: good/2.png (good), pits/2.png (pits)" in found


def test_links_out_of_the_folder_are_refused_when_the_set_is_built_and_linked_folders_noted(
    folders: Path, tmp_path: Path, noise: WriteNoise
) -> None:
    noise(tmp_path / "elsewhere" / "1.png", 50)
    (folders / "more").symlink_to(tmp_path / "elsewhere")
    notes = Folders(folders).read().notes
    assert any("links to folders were not followed" in note and "more" in note for note in notes)
    (folders / "pits" / "9.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    with pytest.raises(DatasetError, match=r"pits/9\.png: a link that leads out of"):
        Folders(folders).read()


def test_a_name_that_is_not_utf8_is_named_in_print(folders: Path) -> None:
    picture = folders / "pits" / "1.png"
    picture.rename(picture.with_name("\udcff.png"))
    with pytest.raises(DatasetError, match=r"\\xff\.png: the name is not UTF-8; rename"):
        Folders(folders).read()


def test_twelve_bit_files_are_scaled_by_the_stated_white_for_workshop_and_station_alike(
    folders: Path, tmp_path: Path
) -> None:
    deep = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    for path in folders.rglob("*.png"):
        cv2.imwrite(str(path), deep)
    with pytest.raises(BadFilesError, match="set sixteen_bit_white"):
        Folders(folders).read()
    dataset = Folders(folders, sixteen_bit_white=4095).read()
    save_dataset(dataset, tmp_path / "out")
    pixels = load_pixels(load_dataset(tmp_path / "out"), 64, 1).pixels[0, ..., 0]
    recipe = load_recipe(Path(__file__).parents[3] / "recipes" / "commutator.yaml")
    product = recipe.product.model_copy(update={"sixteen_bit_white": 4095})
    seen = read_photograph(folders / "good" / "0.png", recipe.model_copy(update={"product": product}))
    np.testing.assert_array_equal(pixels, seen)
    assert pixels.max() == 255
    with pytest.raises(DatasetError, match="set sixteen_bit_white"):
        read_photograph(folders / "good" / "0.png", recipe)


def test_a_photograph_is_turned_for_the_workshop_as_for_the_station(folders: Path) -> None:
    data = cv2.imencode(".jpg", np.zeros((32, 64), np.uint8))[1].tobytes()
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    path = folders / "good" / "t.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    dataset = Folders(folders).read()
    assert read_image(path).shape == (64, 32)
    turned = dataset.with_pictures([p for p in dataset.pictures if p.path == "good/t.jpg"])
    assert load_pixels(turned, (64, 32), 1).pixels.shape == (1, 64, 32, 1)


def test_classes_that_a_person_takes_for_one_are_noted(folders: Path) -> None:
    (folders / "pits").rename(folders / "Good")
    assert any("'Good', 'good' differ only by case" in note for note in shortcuts(Folders(folders).read()))


def test_a_folder_of_patches_names_every_bad_one(tmp_path: Path) -> None:
    for name in ("good", "spot"):
        for number in range(3):
            write_image(tmp_path / name / f"{number}.png", np.zeros((32, 32), np.uint8))
    (tmp_path / "good" / "1.png").write_bytes(b"")
    write_image(tmp_path / "spot" / "2.png", np.zeros((16, 32), np.uint8))
    with pytest.raises(BadFilesError, match=r"(?s)good/1\.png: the file is empty.*spot/2\.png is 16 x 32"):
        PatchFolder(tmp_path, ("good", "spot"), 32, 1)


def test_a_folder_of_patches_leaves_no_picture_out_silently(tmp_path: Path) -> None:
    for name in ("good", "spot", "Spot", "good/more"):
        write_image(tmp_path / name / "1.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(DatasetError, match="pictures that are of no class: Spot; rename"):
        PatchFolder(tmp_path, ("good", "spot"), 32, 1)
    (tmp_path / "Spot" / "1.png").unlink()
    with pytest.raises(
        DatasetError, match=r"good: 1 pictures lie in its sub-folders, such as .*good/more/1\.png"
    ):
        PatchFolder(tmp_path, ("good", "spot"), 32, 1)


@pytest.mark.parametrize("name", ["part[left]1", "teil 1", "x*y1"])
def test_a_mask_is_found_whatever_its_pictures_name(tmp_path: Path, name: str) -> None:
    for folder in ("normal", "defect", "masks"):
        write_image(tmp_path / folder / f"{name}.png", mask())
    assert list_pictures(tmp_path)[1].mask == tmp_path / "masks" / f"{name}.png"


def test_all_photographs_without_a_mask_are_named(tmp_path: Path) -> None:
    for path in ("normal/a1", "normal/b", "defect/c2", "defect/d3"):
        write_image(tmp_path / f"{path}.png", mask())
    with pytest.raises(BadFilesError, match="3 files cannot be used") as caught:
        list_pictures(tmp_path)
    assert ["b.png does" in caught.value.faults[0], "c2.png has no mask" in caught.value.faults[1]] == [
        True
    ] * 2


def test_a_bright_mask_is_read_whatever_its_colour(tmp_path: Path) -> None:
    red = np.zeros((128, 192, 3), np.uint8)
    red[..., 2] = mask()
    write_image(tmp_path / "red.png", red)
    write_image(tmp_path / "grey.jpg", mask())
    for name in ("red.png", "grey.jpg"):
        found = read_mask(tmp_path / name)
        assert found.max() == 1
        assert abs(int(found.sum()) - 300) < 30


@pytest.mark.parametrize("value", [1, 100])
def test_a_mask_of_class_numbers_is_refused_with_its_values(tmp_path: Path, value: int) -> None:
    write_image(tmp_path / "a.png", mask(value))
    with pytest.raises(DatasetError, match=f"a.png: has the values 0, {value}; save the mask with 0"):
        read_mask(tmp_path / "a.png")


def test_a_mask_whose_numbers_reach_white_is_refused_too(tmp_path: Path) -> None:
    numbered = mask(1)
    numbered[38:40] = 255
    write_image(tmp_path / "a.png", numbered)
    with pytest.raises(DatasetError, match="has the values 0, 1, 255"):
        read_mask(tmp_path / "a.png")


def test_a_mask_that_marks_by_transparency_or_has_sixteen_bits_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.dstack([np.zeros((128, 192, 3), np.uint8), mask()]))
    with pytest.raises(DatasetError, match="without an alpha channel"):
        read_mask(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "b.png"), mask().astype(np.uint16))
    with pytest.raises(DatasetError, match="save the mask with 8 bits"):
        read_mask(tmp_path / "b.png")


def test_a_sound_picture_whose_mask_marks_a_defect_gives_no_sound_window_of_it(masked: Path) -> None:
    write_image(masked / "masks" / "g0.png", mask())
    dataset = windows(masked).read()
    assert any("of class good and their masks mark" in n and "good/g0.png" in n for n in dataset.notes)
    for picture in dataset.pictures:
        if picture.path == "good/g0.png":
            top, left, height, width = picture.window or (0, 0, 128, 192)
            assert not mask()[top : top + height, left : left + width].any()
    whole = windows(masked, side=0).read()
    assert "good/g0.png" not in {p.path for p in whole.pictures}


def test_another_folders_mask_of_the_same_name_is_not_believed(masked: Path, noise: WriteNoise) -> None:
    for number in range(3):
        (masked / "masks" / "scratch").mkdir(exist_ok=True)
        (masked / "masks" / f"s{number}.png").rename(masked / "masks" / "scratch" / f"s{number}.png")
        noise(masked / "images" / "pits" / f"s{number}.png", 70 + number, 128)
    dataset = windows(masked).read()
    assert not any(p.label == "pits" for p in dataset.pictures)
    assert any("pits/s0.png" in note and "have no mark" in note for note in dataset.notes)


def test_masks_named_after_their_pictures_with_an_ending_are_found_and_strangers_noted(masked: Path) -> None:
    for number in range(3):
        (masked / "masks" / f"s{number}.png").rename(masked / "masks" / f"s{number}_mask.png")
    write_image(masked / "masks" / "stranger.png", mask())
    dataset = windows(masked).read()
    assert sum(p.label == "scratch" for p in dataset.pictures) == 3
    assert any("masks belong to no picture: stranger.png" in note for note in dataset.notes)


def voc(path: Path, width: int, height: int, box: tuple[int, int, int, int]) -> None:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><size><width>{width}</width><height>{height}</height></size><object><name>pits</name>"
        f"<bndbox>{corners}</bndbox></object></annotation>"
    )


def test_boxes_made_for_a_picture_of_another_size_are_left_out_with_both_sizes(
    tmp_path: Path, noise: WriteNoise
) -> None:
    for number in range(3):
        noise(tmp_path / "images" / "pits" / f"{number}.png", number, 100)
    voc(tmp_path / "boxes" / "0.xml", 100, 100, (20, 20, 40, 40))
    voc(tmp_path / "boxes" / "1.XML", 200, 200, (120, 20, 140, 40))
    dataset = VocBoxes(tmp_path / "images", tmp_path / "boxes").read()
    assert {p.path for p in dataset.pictures} == {"pits/0.png"}
    assert any("1.XML box 1 (states 200 x 200, the file is 100 x 100)" in note for note in dataset.notes)
    assert any("have no box file and were left out: pits/2.png" in note for note in dataset.notes)
    voc(tmp_path / "boxes" / "0.xml", 10, 200, (20, 20, 40, 40))
    with pytest.raises(DatasetError, match=r"no box is left: .*reach beyond the stated size"):
        VocBoxes(tmp_path / "images", tmp_path / "boxes").read()


def test_pictures_without_class_folders_take_the_class_that_stands_in_their_boxes(
    tmp_path: Path, noise: WriteNoise
) -> None:
    for number in range(4):
        noise(tmp_path / "images" / f"{number}.png", number, 100)
        voc(tmp_path / "boxes" / f"{number}.xml", 100, 100, (20, 20, 40, 40))
    text = (tmp_path / "boxes" / "3.xml").read_text()
    (tmp_path / "boxes" / "3.xml").write_text(text.replace("pits", "scratch"))
    dataset = VocBoxes(tmp_path / "images", tmp_path / "boxes").read()
    assert dataset.count() == {"pits": 3, "scratch": 1}
    assert dataset.notes == ()
