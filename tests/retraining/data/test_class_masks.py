"""Masks that name the class of every pixel, by value, by index or by colour."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drivers.cameras.picture_files import encode_image, write_image
from retraining.data.masks import Masks
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.class_masks import ClassMasks

SCRATCH, DENT = (slice(10, 20), slice(10, 40)), (slice(40, 60), slice(70, 90))
BY_VALUE = ClassMasks.parse(["1=scratch", "2=dent"])
BY_COLOUR = ClassMasks.parse(["#ff0000=dent", "#00Ff00=scratch"])
CLASSES = ("good", "scratch", "dent")


def indices(*marks: tuple[tuple[slice, slice], int]) -> np.ndarray:
    found = np.zeros((96, 128), np.uint8)
    for place, value in marks:
        found[place] = value
    return found


BOTH = indices((SCRATCH, 1), (DENT, 2))


def indexed(values: np.ndarray, path: Path, bits: int = 8) -> None:
    """A PNG with a palette in which scratches are green and dents red."""
    picture = Image.fromarray(values, "L").convert("P") if bits == 8 else Image.fromarray(values).convert("P")
    picture.putdata(values.ravel().tolist())
    picture.putpalette([0, 0, 0, 0, 255, 0, 255, 0, 0, 9, 9, 9])
    picture.save(path, bits=bits)


@pytest.fixture
def masks(tmp_path: Path) -> Masks:
    """Two scratched pictures, one with a dent, one with both, one sound, one without a mask; no folders."""
    rng = np.random.default_rng(3)
    (tmp_path / "masks").mkdir()
    given = {
        "s0": indices((SCRATCH, 1)), "s1": indices((SCRATCH, 1)), "d0": indices((DENT, 2)), "both": BOTH,
        "sound": indices(),
    }  # fmt: skip
    for name in (*given, "nobody"):
        write_image(tmp_path / "images" / f"{name}.png", rng.integers(80, 160, (96, 128), dtype=np.uint8))
    for name, values in given.items():
        write_image(tmp_path / "masks" / f"{name}.png", values)
    return Masks(tmp_path / "images", tmp_path / "masks", sound="good", class_of=BY_VALUE)


def labels(found: Masks) -> dict[str, str]:
    return {picture.name: picture.label for picture in found.read().pictures}


def test_a_whole_picture_has_the_class_of_its_mask(masks: Masks) -> None:
    assert labels(masks) == {"s0.png": "scratch", "s1.png": "scratch", "d0.png": "dent", "sound.png": "good"}
    notes = masks.read().notes
    assert any("marks of several classes" in note and "both.png (scratch, dent)" in note for note in notes)
    assert any(
        "have no mask, so that nobody labelled them" in note and "nobody.png" in note for note in notes
    )


def test_windows_have_the_class_of_the_mark_they_show_and_none_shows_two(masks: Masks) -> None:
    dataset = replace(masks, side=48).read()
    of = {
        name: sorted(p.label for p in dataset.pictures if p.path == f"{name}.png") for name in ("both", "s0")
    }
    assert of == {"both": ["dent", "good", "scratch"], "s0": ["good", "scratch"]}
    assert dataset.classes == ("good", "dent", "scratch")
    mixed = replace(masks, side=90).read()
    assert not any(p.path == "both.png" for p in mixed.pictures)
    assert any("windows show marks of several classes" in n and "both.png at x" in n for n in mixed.notes)


def test_a_path_that_names_another_class_than_the_mask_leaves_the_picture_out(masks: Masks) -> None:
    for folder, name in (
        ("scratch", "d0"),
        ("dent", "s0"),
        ("good", "s1"),
        ("good", "nobody"),
        ("dent", "sound"),
    ):
        for root in (masks.images, masks.masks):
            (root / folder).mkdir(exist_ok=True)
            if (root / f"{name}.png").exists():
                (root / f"{name}.png").rename(root / folder / f"{name}.png")
    named = replace(masks, pattern="(?:(?P<label>[^/]+)/)?.+")
    assert labels(named) == {"good/nobody.png": "good"}
    notes = named.read().notes
    assert any("another class than their masks" in n and "scratch/d0.png (dent)" in n for n in notes)
    assert any("are of class good and their masks mark a defect" in n and "good/s1.png" in n for n in notes)
    assert any("have no mark or no mask" in n and "dent/sound.png" in n for n in notes)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_an_indexed_png_is_read_by_its_indices_or_by_its_colours(tmp_path: Path, bits: int) -> None:
    indexed(BOTH, tmp_path / "a.png", bits)
    assert np.array_equal(BY_VALUE.read(tmp_path / "a.png", CLASSES), BOTH)
    assert np.array_equal(BY_COLOUR.read(tmp_path / "a.png", CLASSES), BOTH)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any assignment of classes to colours, on any small mask."""
    path = tmp_path_factory.mktemp("mask") / "a.png"
    colours = data.draw(st.lists(st.integers(1, 0xFFFFFF), min_size=1, max_size=5, unique=True))
    names = tuple(f"class {n}" for n in range(len(colours)))
    wanted = np.array(
        data.draw(st.lists(st.integers(0, len(colours)), min_size=12, max_size=12)), np.uint8
    ).reshape(3, 4)
    table = np.array([(c & 255, c >> 8 & 255, c >> 16) for c in (0, *colours)], np.uint8)
    write_image(path, table[wanted])
    told = ClassMasks.parse(f"#{colour:06x}={name}" for colour, name in zip(colours, names, strict=True))
    assert np.array_equal(told.read(path, ("good", *names)), wanted)


def test_a_value_that_is_not_declared_is_named_with_its_file_its_pixels_and_its_place(masks: Masks) -> None:
    odd = BOTH.copy()
    odd[5, 7:9] = 7
    write_image(masks.masks / "both.png", odd)
    write_image(masks.masks / "s0.png", odd)
    with pytest.raises(BadFilesError) as caught:
        masks.read()
    assert len(caught.value.faults) == 2
    assert "both.png: has values that --class-of does not declare: 7 (2 px), the first at x 7, y 5" in str(
        caught.value
    )


def test_soft_edges_of_colours_are_refused_with_the_remedy(tmp_path: Path) -> None:
    soft = np.zeros((20, 20, 3), np.uint8)
    soft[5:9, 5:9] = (0, 0, 255)
    soft[5:9, 9] = (0, 0, 128)
    write_image(tmp_path / "a.png", soft)
    with pytest.raises(DatasetError, match=r"#800000 \(4 px\).*save the mask without smoothing"):
        BY_COLOUR.read(tmp_path / "a.png", CLASSES)


def test_masks_whose_format_or_kind_hides_values_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_image(BOTH, ".jpg"))
    with pytest.raises(DatasetError, match=r"a\.jpg: this format changes values.*as PNG"):
        BY_VALUE.read(tmp_path / "a.jpg", CLASSES)
    indexed(BOTH, tmp_path / "a.png")
    Image.open(tmp_path / "a.png").convert("RGB").save(tmp_path / "b.png")
    with pytest.raises(DatasetError, match=r"b\.png: has colours, but --class-of declares values"):
        BY_VALUE.read(tmp_path / "b.png", CLASSES)
    write_image(tmp_path / "c.png", BOTH.astype(np.uint16))  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=r"c\.png: 16 bits per pixel"):
        BY_VALUE.read(tmp_path / "c.png", CLASSES)


def test_black_may_be_a_class_where_another_value_is_the_sound_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.where(indices((DENT, 1)) > 0, 0, 255).astype(np.uint8))
    told = ClassMasks.parse(["255=good", "0=dent"])
    assert np.array_equal(told.read(tmp_path / "a.png", ("good", "dent")), indices((DENT, 1)))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["scratch"], "takes VALUE=CLASS"),
        (["256=scratch"], "takes VALUE=CLASS"),
        (["#ff00=scratch"], "takes VALUE=CLASS"),
        (["1="], "takes VALUE=CLASS"),
        (["1=a", "1=b"], "calls 1 both a and b"),
        (["1=a", "#ff0000=b"], "names values and colours"),
    ],
)
def test_what_does_not_say_a_class_of_a_value_is_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        ClassMasks.parse(pairs)


def test_a_class_that_no_mask_has_is_noted(masks: Masks) -> None:
    told = ClassMasks.parse(["1=scratch", "2=dent", "3=pit"])
    assert any(
        "of --class-of are in no mask: pit" in note for note in replace(masks, class_of=told).read().notes
    )
