"""Which files of a folder become pictures of a set; every other one is counted with its reason."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from retraining.cli import app
from retraining.data.checks import shortcuts
from retraining.data.folders import Folders
from retraining.data.manifest import load_dataset
from retraining.errors import DatasetError

WriteNoise = Callable[..., Path]


def _run(*words: object) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folders(tmp_path: Path, noise: WriteNoise) -> Path:
    for number in range(3):
        noise(tmp_path / "set" / "good" / f"{number}.png", number, 64)
        noise(tmp_path / "set" / "pits" / f"{number}.png", number + 10, 64)
    return tmp_path / "set"


def test_every_file_that_is_not_taken_is_counted_in_the_manifest_and_on_the_screen(
    folders: Path, tmp_path: Path, noise: WriteNoise
) -> None:
    noise(folders / "loose.png", 30, 64)
    noise(folders / "good" / "0_mask.png", 31, 64)
    for name in (
        "good/notes.txt",
        "good/raw.npy",
        "good/._0.png",
        ".trash/pits/9.png",
        "__MACOSX/pits/9.png",
    ):
        (folders / name).parent.mkdir(parents=True, exist_ok=True)
        (folders / name).write_bytes(b"x")
    noise(folders / "pits" / "@eaDir" / "0.png" / "thumb.jpg", 32, 64)
    (tmp_path / "elsewhere").mkdir()
    (folders / "more").symlink_to(tmp_path / "elsewhere")
    said = _run("from-folders", folders, "--out", tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.count() == {"good": 3, "pits": 3}
    for note in (
        "1 pictures were left out, their names do not fit the pattern: loose.png",
        "1 pictures were left out, by their names they are masks of others (see from-masks): good/0_mask.png",
        "4 hidden files and leftovers of other systems were passed over: .trash/pits/9.png, "
        "__MACOSX/pits/9.png, good/._0.png, pits/@eaDir/0.png/thumb.jpg",
        "2 files were passed over, their endings are not those of pictures: good/notes.txt, good/raw.npy",
        "1 links to folders were not followed; put the folders themselves in their place: more",
    ):
        assert note in dataset.notes
        assert f"note: {note}" in said


def test_a_set_written_into_its_own_folder_does_not_take_its_contact_sheet_for_a_picture(
    folders: Path,
) -> None:
    for _ in range(2):
        _run("from-folders", folders, "--out", folders / "out")
    assert load_dataset(folders / "out").count() == {"good": 3, "pits": 3}


def test_pictures_that_lie_in_no_class_folder_are_told_what_to_do(tmp_path: Path, noise: WriteNoise) -> None:
    noise(tmp_path / "1.png", 1)
    with pytest.raises(
        DatasetError, match=r"there are 1, such as 1\.png; put each class into a folder of its own"
    ):
        Folders(tmp_path).read()


def test_a_folder_without_pictures_says_what_it_holds_instead(tmp_path: Path) -> None:
    (tmp_path / "1.heic").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"holds no pictures; 1 files .* not those of pictures: 1\.heic"):
        Folders(tmp_path).read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_class_folder_that_may_not_be_opened_is_an_error_and_not_a_smaller_set(folders: Path) -> None:
    (folders / "pits").chmod(0)
    try:
        with pytest.raises(DatasetError, match=r"pits: the folder cannot be read .*; check the rights"):
            Folders(folders).read()
    finally:
        (folders / "pits").chmod(0o755)


@pytest.mark.parametrize("loop", ["a.png", "a.txt"])
def test_links_that_lead_to_themselves_are_that_files_fault(folders: Path, loop: str) -> None:
    (folders / "good" / loop).symlink_to(loop)
    if loop == "a.txt":
        assert any("good/a.txt" in note for note in Folders(folders).read().notes)
    else:
        with pytest.raises(DatasetError, match=r"good/a\.png: .*; remove the link, it leads to itself"):
            Folders(folders).read()


@pytest.mark.parametrize(
    "name", ["-dash", "[red]", "[bold]x", "100%", "a,b", "Schu\u0308rf", "a b", "x" * 200]
)
def test_a_class_may_have_any_printable_name(folders: Path, tmp_path: Path, name: str) -> None:
    (folders / "pits").rename(folders / name)
    said = _run("from-folders", folders, "--out", tmp_path / "out")
    assert name[:6] in said
    assert load_dataset(tmp_path / "out").count() == {name: 3, "good": 3}
    _run("split", tmp_path / "out")
    _run("check", tmp_path / "out")


@pytest.mark.parametrize("name", ["no\nname", "\x1b[2J", "back\\slash"])
def test_a_class_that_no_screen_can_show_is_refused_with_a_remedy(folders: Path, name: str) -> None:
    (folders / "pits").rename(folders / name)
    with pytest.raises(DatasetError, match="rename the f"):
        Folders(folders).read()
    if "\\" not in name:
        assert Folders(folders, rename={name: "pits"}).read().classes == ("good", "pits")


def test_a_name_cannot_pass_for_a_line_of_ours(folders: Path, tmp_path: Path, noise: WriteNoise) -> None:
    noise(folders / "x\nfault: all is lost.png", 1)
    said = _run("from-folders", folders, "--out", tmp_path / "out")
    assert "\nfault" not in said
    assert "x\\nfault: all is lost.png" in said


@pytest.mark.parametrize("alike", ["PITS", "pits ", "pi\u200bts", "\uff50its"])
def test_class_names_that_look_alike_are_noted(folders: Path, noise: WriteNoise, alike: str) -> None:
    noise(folders / alike / "9.png", 40, 64)
    assert any("differ only by case, blanks or Unicode form" in n for n in shortcuts(Folders(folders).read()))


def test_folders_of_splits_above_those_of_the_classes_are_noted_with_the_pattern(
    folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "all").mkdir()
    folders.rename(tmp_path / "all" / "train")
    notes = Folders(tmp_path / "all").read().notes
    assert any("if the deeper folders are the classes, add --pattern" in note for note in notes)
    deeper = Folders(tmp_path / "all", "[^/]+/(?P<label>[^/]+)/").read()
    assert deeper.classes == ("good", "pits")
    assert deeper.notes == ()


def test_a_label_to_be_renamed_that_nothing_has_is_noted(folders: Path) -> None:
    dataset = Folders(folders, rename={"pits": "hole", "pitts": "hole"}).read()
    assert dataset.classes == ("good", "hole")
    assert dataset.notes == ("1 labels of --rename were not met: pitts",)


def test_pages_behind_the_first_are_counted(folders: Path) -> None:
    first, *others = (Image.fromarray(np.full((64, 64), value, np.uint8)) for value in (90, 120))
    first.save(folders / "pits" / "9.tif", save_all=True, append_images=others)
    assert "1 files hold several pages; only the first is used: pits/9.tif" in Folders(folders).read().notes
