"""A label that cannot be right is not believed: boxes, masks, and which picture they belong to."""

import os
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from drivers.cameras.picture_files import encode_image, write_image
from retraining.data.boxes import VocBoxes
from retraining.data.masks import Masks
from retraining.data.voc_files import read_voc
from retraining.data.windows import windows_away
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.pairing import pair
from retraining.surfaces.reading import read_mask

WriteNoise = Callable[..., Path]
MARK = (slice(40, 50), slice(60, 90))


def box(*corners: object, label: str = "pits") -> str:
    named = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    return (
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in named)
        + "</bndbox></object>"
    )


def voc(path: Path, *boxes: str, size: tuple[object, object] = (100, 100), head: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    path.write_text(f"<annotation>{head}{stated}{''.join(boxes)}</annotation>", encoding="utf-8")
    return path


@pytest.fixture
def boxed(tmp_path: Path, noise: WriteNoise) -> VocBoxes:
    """Four pictures of 100 x 100 with a good box each."""
    for number in range(4):
        noise(tmp_path / "images" / f"{number}.png", number, 100)
        voc(tmp_path / "boxes" / f"{number}.xml", box(20, 20, 40, 40))
    return VocBoxes(tmp_path / "images", tmp_path / "boxes")


@pytest.mark.parametrize("corner", ["nan", "inf", "-inf", "9" * 400, "left", ""])
def test_a_corner_that_is_no_number_of_pixels_is_named_with_its_file_and_field(
    boxed: VocBoxes, corner: str
) -> None:
    voc(boxed.boxes / "0.xml", box(20, 20, 40, 40), box(20, corner, 40, 40))
    with pytest.raises(DatasetError, match=r"0\.xml is not a VOC file: object 2: bndbox/ymin is .*no number"):
        boxed.read()


@pytest.mark.parametrize("size", [("wide", 100), (100, "nan")])
def test_a_stated_size_that_is_no_number_of_pixels_is_named(
    boxed: VocBoxes, size: tuple[object, object]
) -> None:
    voc(boxed.boxes / "0.xml", box(20, 20, 40, 40), size=size)
    with pytest.raises(DatasetError, match=r"0\.xml is not a VOC file: size/(width|height) is"):
        boxed.read()


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        ((-30, 20, 40, 40), "reach beyond the stated size"),
        ((20, 20, 40, 101), "reach beyond the stated size"),
        ((40, 20, 20, 40), "are empty"),
        ((20, 20, 20, 40), "are empty"),
    ],
)
def test_a_box_that_cannot_be_right_is_left_out_with_its_corners(
    boxed: VocBoxes, corners: tuple[int, ...], reason: str
) -> None:
    voc(boxed.boxes / "0.xml", box(*corners))
    dataset = boxed.read()
    assert {p.path for p in dataset.pictures} == {"1.png", "2.png", "3.png"}
    assert any(reason in note and f"0.xml box 1 (x {corners[0]} to" in note for note in dataset.notes)


def test_boxes_of_a_file_that_states_no_size_are_compared_with_the_picture(boxed: VocBoxes) -> None:
    voc(boxed.boxes / "0.xml", box(20, 20, 40, 40), box(20, 20, 140, 40), size=(0, 0))
    notes = "\n".join(boxed.read().notes)
    assert "1 box files state no size; their boxes were compared with the picture: 0.xml" in notes
    assert "0.xml box 2 (x 20 to 140" in notes
    voc(boxed.boxes / "0.xml", box(20, 20, 40, 40), size=(0, 100))
    assert any("reach beyond" in note and "0.xml box 1" in note for note in boxed.read().notes)


def test_box_files_without_a_box_are_counted(boxed: VocBoxes) -> None:
    voc(boxed.boxes / "0.xml")
    assert "1 box files hold no box: 0.xml" in boxed.read().notes


def test_two_classes_in_one_place_are_both_left_out(boxed: VocBoxes) -> None:
    voc(boxed.boxes / "0.xml", box(20, 20, 40, 40), box(20, 20, 40, 40, label="scratch"))
    dataset = boxed.read()
    assert "0.png" not in {p.path for p in dataset.pictures}
    assert any("boxes of several classes" in note and "0.xml box 2" in note for note in dataset.notes)


def test_a_box_file_that_names_another_picture_of_the_set_is_not_believed(boxed: VocBoxes) -> None:
    voc(boxed.boxes / "0.xml", box(20, 20, 40, 40), head="<filename>3.jpg</filename>")
    voc(boxed.boxes / "1.xml", box(20, 20, 40, 40), head="<filename>C:\\export\\1.jpg</filename>")
    voc(boxed.boxes / "2.xml", box(20, 20, 40, 40), head="<filename>../../etc/passwd</filename>")
    dataset = boxed.read()
    assert {p.path for p in dataset.pictures} == {"1.png", "2.png", "3.png"}
    assert any("name another picture of the set in <filename>" in n and "0.xml" in n for n in dataset.notes)


def test_box_files_of_class_folders_go_to_the_pictures_of_the_same_folder(
    tmp_path: Path, noise: WriteNoise
) -> None:
    for number, folder in enumerate(("pits", "scratch")):
        noise(tmp_path / "images" / folder / "1.png", number, 100)
    voc(tmp_path / "boxes" / "scratch" / "1.xml", box(20, 20, 40, 40, label="scratch"))
    dataset = VocBoxes(tmp_path / "images", tmp_path / "boxes").read()
    assert [(p.path, p.label) for p in dataset.pictures] == [("scratch/1.png", "scratch")]
    voc(tmp_path / "boxes" / "1.xml", box(20, 20, 40, 40))
    (tmp_path / "boxes" / "scratch" / "1.xml").unlink()
    with pytest.raises(DatasetError, match=r"fit several pictures .* 1\.xml \(pits/1\.png, scratch/1\.png\)"):
        VocBoxes(tmp_path / "images", tmp_path / "boxes").read()


def test_a_box_file_beside_its_picture_is_neither_a_picture_nor_passed_over(
    tmp_path: Path, noise: WriteNoise
) -> None:
    noise(tmp_path / "1.png", 1, 100)
    voc(tmp_path / "1.xml", box(20, 20, 40, 40))
    (tmp_path / "classes.txt").write_text("pits")
    dataset = VocBoxes(tmp_path, tmp_path).read()
    assert len(dataset) == 1
    assert dataset.notes == (
        "1 files were passed over, their endings are not those of pictures: classes.txt",
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_box_files_are_read_in_the_encodings_that_tools_write(tmp_path: Path, encoding: str) -> None:
    file = voc(tmp_path / "1.xml", box(20, 20, 40, 40, label="Schürf"))
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?>' if encoding == "latin-1" else ""
    file.write_bytes((declared + file.read_text("utf-8").replace(">", ">\r\n")).encode(encoding))
    assert read_voc(file).boxes[0].label == "Schürf"


BOMB = "<!DOCTYPE a [<!ENTITY a 'lol'>" + "".join(
    f"<!ENTITY {'abcdefghij'[i + 1]} '{('&' + 'abcdefghij'[i] + ';') * 10}'>" for i in range(9)
)
FOREIGN = "<!DOCTYPE a [<!ENTITY j SYSTEM 'file:///etc/hostname'>"


@pytest.mark.parametrize("doctype", [BOMB, FOREIGN])
def test_a_document_type_is_refused_before_its_entities_are_followed(tmp_path: Path, doctype: str) -> None:
    file = voc(tmp_path / "1.xml", box(20, 20, 40, 40, label="&j;"))
    file.write_text(doctype + "]>" + file.read_text())
    with pytest.raises(DatasetError, match=r"1\.xml is not a VOC file: it declares a document type"):
        read_voc(file)


def test_what_is_no_regular_file_of_a_known_encoding_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "strange.xml").write_text('<?xml version="1.0" encoding="klingon"?><annotation/>')
    for name in ("pipe", "folder", "strange", "missing"):
        with pytest.raises(DatasetError, match=rf"{name}\.xml is not a VOC file: .*; repair or remove it"):
            read_voc(tmp_path / f"{name}.xml")


@given(st.binary(max_size=300))
def test_no_bytes_end_a_run_otherwise_than_by_naming_the_box_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.xml"
    file.write_bytes(data)
    with pytest.raises(DatasetError, match=r"any\.xml is not a VOC file"):
        read_voc(file)


def turned(pixels: np.ndarray, orientation: int) -> bytes:
    """A PNG whose EXIF data asks to be turned."""
    exif = Image.Exif()
    exif[274] = orientation
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("shape", "orientation", "stated", "kept"),
    [
        ((100, 100), 6, (100, 100), False),  # square: no size tells whether the tool turned it
        ((100, 60), 3, (60, 100), False),  # upside down: the same
        ((100, 60), 6, (100, 60), True),  # the boxes state the size that the reader sees
        ((100, 60), 6, (60, 100), False),  # the boxes state the size before the turn
        ((100, 60), 6, (0, 0), False),  # the file states no size, so that nothing proves a turn
        ((100, 100), 1, (100, 100), True),
    ],
)
def test_boxes_of_turned_pictures_count_only_where_the_stated_size_proves_their_turn(
    boxed: VocBoxes, shape: tuple[int, int], orientation: int, stated: tuple[int, int], kept: bool
) -> None:
    pixels = np.random.default_rng(7).integers(0, 255, shape, dtype=np.uint8)
    (boxed.images / "0.png").write_bytes(turned(pixels, orientation))
    voc(boxed.boxes / "0.xml", box(5, 5, 40, 40), size=stated)
    dataset = boxed.read()
    assert ("0.png" in {p.path for p in dataset.pictures}) == kept
    assert kept or any("0.xml" in note for note in dataset.notes)


def mask(value: int = 255) -> np.ndarray:
    marked = np.zeros((128, 192), np.uint8)
    marked[MARK] = value
    return marked


@pytest.fixture
def masked(tmp_path: Path) -> Masks:
    """Three scratched pictures and three good ones, with masks of the scratched ones."""
    rng = np.random.default_rng(3)
    for number in range(3):
        for label in ("scratch", "good"):
            picture = rng.integers(80, 160, (128, 192), dtype=np.uint8)
            write_image(tmp_path / "images" / label / f"{label[0]}{number}.png", picture)
        write_image(tmp_path / "masks" / "scratch" / f"s{number}.png", mask())
    return Masks(tmp_path / "images", tmp_path / "masks", sound="good", side=64)


def test_a_mask_is_never_matched_across_class_folders_even_where_only_one_picture_has_its_name(
    masked: Masks, noise: WriteNoise
) -> None:
    noise(masked.images / "pits" / "p9.png", 9, 128)
    write_image(masked.masks / "scratch" / "p9.png", np.zeros((128, 128), np.uint8) + 255)
    dataset = masked.read()
    assert "pits" not in dataset.classes
    assert any("pits/p9.png" in note and "have no mark" in note for note in dataset.notes)
    assert any("masks belong to no picture: scratch/p9.png" in note for note in dataset.notes)


def test_pictures_that_one_mask_fits_alike_are_left_out_and_none_is_taken_for_sound(masked: Masks) -> None:
    for label in ("good", "scratch"):
        write_image(masked.images / label / "x.png", np.full((128, 192), 99, np.uint8))
    write_image(masked.masks / "x.png", mask())
    dataset = masked.read()
    assert not any(p.path.endswith("x.png") for p in dataset.pictures)
    assert any("x.png (good/x.png, scratch/x.png)" in note for note in dataset.notes)


def test_two_masks_of_one_picture_are_named_and_neither_is_chosen(masked: Masks) -> None:
    write_image(masked.masks / "scratch" / "s0_mask.png", mask(0))
    write_image(masked.masks / "scratch" / "s1.bmp", mask(0))
    with pytest.raises(BadFilesError, match=r"s0\.png fits scratch/s0.*keep one of these files") as caught:
        masked.read()
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    "ending", ["_mask", "_label", "_GT", "_gt", "-mask", ".Mask", "_ground_truth", "_masks"]
)
def test_a_mask_may_add_the_usual_endings_to_the_name(ending: str) -> None:
    assert pair(["a/1.png"], [f"a/1{ending}.png"], masks=True).of == {"a/1.png": f"a/1{ending}.png"}
    assert pair(["a/1.png"], [f"a/1{ending}.xml"]).strangers == (f"a/1{ending}.xml",)


def test_names_are_compared_whatever_the_form_in_which_a_file_system_keeps_them() -> None:
    assert pair(["a/Schu\u0308rf.png"], ["a/Sch\xfcrf.png"], masks=True).of


def test_masks_none_of_which_belongs_to_a_picture_are_an_error(masked: Masks) -> None:
    (masked.masks / "scratch").rename(masked.masks / "elsewhere")
    with pytest.raises(DatasetError, match=r"none of the 3 masks .*elsewhere/s0\.png, belongs to a picture"):
        masked.read()


def test_masks_beside_their_pictures_are_never_trained_on(masked: Masks) -> None:
    write_image(masked.images / "scratch" / "s0_mask.png", mask())
    dataset = masked.read()
    assert not any("_mask" in p.path for p in dataset.pictures)
    assert any(
        "they are masks of others (see from-masks): scratch/s0_mask.png" in note for note in dataset.notes
    )
    with pytest.raises(DatasetError, match="move the masks to a folder of their own"):
        Masks(masked.images, masked.images, sound="good").read()


def test_masks_below_the_pictures_are_no_pictures_however_their_folder_is_named(masked: Masks) -> None:
    masked.masks.rename(masked.images / "masks")
    here = Path(os.path.relpath(masked.images))
    dataset = Masks(here, masked.images / "masks", sound="good", side=64).read()
    assert dataset.classes == ("good", "scratch")
    assert dataset.notes == ()


def test_a_mask_of_another_size_is_named_with_both_sizes(masked: Masks) -> None:
    write_image(masked.masks / "scratch" / "s0.png", mask().T.copy())
    with pytest.raises(DatasetError, match=r"s0\.png is 128 x 192, but its picture .* is 192 x 128"):
        masked.read()


def test_a_mask_of_a_turned_picture_is_refused_where_its_size_proves_no_turn(masked: Masks) -> None:
    picture = np.random.default_rng(1).integers(80, 160, (128, 192), dtype=np.uint8)
    (masked.images / "scratch" / "s0.png").write_bytes(turned(picture, 3))
    with pytest.raises(DatasetError, match=r"s0\.png: EXIF data turns it.*save the picture upright"):
        masked.read()


def test_a_mask_of_several_pages_is_refused(tmp_path: Path) -> None:
    first, second = Image.fromarray(mask(0)), Image.fromarray(mask())
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(DatasetError, match=r"a\.tif: has several pages"):
        read_mask(tmp_path / "a.tif")
    first.save(tmp_path / "b.tif")
    assert not read_mask(tmp_path / "b.tif").any()


def test_a_lossy_masks_noise_is_black_only_where_it_has_a_mark(tmp_path: Path) -> None:
    noisy = mask()
    noisy[30:60, 40:110] = np.maximum(noisy[30:60, 40:110], 5)
    (tmp_path / "a.jpg").write_bytes(encode_image(noisy, ".jpg"))
    assert abs(int(read_mask(tmp_path / "a.jpg").sum()) - 300) < 30
    (tmp_path / "b.jpg").write_bytes(encode_image(mask(5), ".jpg"))
    with pytest.raises(DatasetError, match=r"b\.jpg: has the values 0, "):
        read_mask(tmp_path / "b.jpg")


def test_masks_that_are_black_on_the_defect_are_noted(masked: Masks) -> None:
    write_image(masked.masks / "scratch" / "s0.png", 255 - mask())
    assert any("mark more than 50%" in note and "scratch/s0.png" in note for note in masked.read().notes)


def test_a_sound_window_keeps_away_from_the_soft_edge_of_a_mark() -> None:
    marked = np.zeros((128, 128), np.uint8)
    marked[:, 60:68] = 1
    found = windows_away(marked, 32, 40, np.random.default_rng(1))
    assert found
    assert all(column + 32 <= 60 - 8 or column >= 68 + 8 for _, column, _, _ in found)


def test_a_sound_class_that_no_picture_has_is_noted_where_pictures_are_lost_by_it(masked: Masks) -> None:
    assert any("name it by --sound" in note for note in replace(masked, sound="sound").read().notes)
    assert not any("name it by --sound" in note for note in masked.read().notes)


def test_folders_that_are_no_classes_are_told_from_boxes_that_contradict(boxed: VocBoxes) -> None:
    (boxed.images / "train").mkdir()
    for number in range(4):
        (boxed.images / f"{number}.png").rename(boxed.images / "train" / f"{number}.png")
    with pytest.raises(DatasetError, match=r"4 boxes have another class .* add --pattern '\(\?P<label>\)'"):
        boxed.read()
    assert replace(boxed, pattern="(?P<label>)").read().count() == {"pits": 4}
