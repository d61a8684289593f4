"""`station inspect` on files with awkward names: each has its own row and its own overlay."""

import csv
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from drivers.cameras.picture_files import ImageFileError, pictures_in, read_image, write_image
from station.cli.inspect import inspect
from tests.conftest import tiny_surface

RECIPE = """\
name: tiny
version: 1
product: {background: none, widths_px: [32], height_px: 64, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 64, width: 32, channels: 1}
patch: {size: 16}
engine: tiny
classes: [{name: good, bin: 1}, {name: bright, bin: 2}, {name: dark, bin: 3}]
fault_bin: 4
"""


@pytest.fixture
def arguments(tmp_path: Path, tiny_engine: Path) -> list[str]:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "frames").mkdir()
    return [
        *(str(tmp_path / "frames"), "-r", str(tmp_path / "tiny.yaml"), "--csv", str(tmp_path / "v.csv")),
        *("--engines", str(tiny_engine.parent), "--backend", "onnxruntime-cpu", "--precision", "fp32"),
        *("--overlays", str(tmp_path / "overlays"), "--all-overlays"),
    ]


def test_pictures_of_awkward_names_have_a_row_and_an_overlay_each(
    arguments: list[str], tmp_path: Path
) -> None:
    for name in ("p.png", "p.bmp", "part[left].png", os.fsdecode(b"\xff.png")):
        write_image(tmp_path / "frames" / name, tiny_surface("good", 1))
    app = typer.Typer()
    app.command()(inspect)
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "part[left].png" in done.output
    with (tmp_path / "v.csv").open(encoding="utf-8") as file:
        names = [Path(row["file"]).name for row in csv.DictReader(file)]
    assert names == ["p.bmp", "p.png", "part[left].png", "\\xff.png"]
    written = {os.fsencode(path.name) for path in (tmp_path / "overlays").iterdir()}
    assert written == {
        b"p.bmp.accept.png",
        b"p.png.accept.png",
        b"part[left].accept.png",
        b"\xff.accept.png",
    }


def test_a_pipe_among_the_pictures_is_a_fault_and_keeps_nobody_waiting(
    arguments: list[str], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "frames" / "a.png")
    (tmp_path / "frames" / "linked").symlink_to(tmp_path)
    write_image(tmp_path / "frames" / "b.png", tiny_surface("good", 1))
    app = typer.Typer()
    app.command()(inspect)
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, arguments)
    assert done.exit_code == 3, done.output
    assert "1 accepted, 0 rejected, 1 could not be inspected" in done.output
    assert "linked is a link to a folder and was not followed" in done.output


def run(arguments: list[str]) -> Result:
    app = typer.Typer()
    app.command()(inspect)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, arguments)


def test_each_file_that_cannot_be_read_is_its_own_fault_and_the_others_are_inspected(
    arguments: list[str], tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    write_image(frames / "good.png", tiny_surface("good", 1))
    whole = (frames / "good.png").read_bytes()
    (frames / "cut.png").write_bytes(whole[:40])
    (frames / "header.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (frames / "empty.tif").touch()
    (frames / "vanished.jpg").symlink_to(frames / "is-not-there-any-more.jpg")
    (frames / "itself.bmp").symlink_to("itself.bmp")
    done = run(arguments)
    assert done.exit_code == 3, done.output
    assert "1 accepted, 0 rejected, 5 could not be inspected" in done.output
    assert "Traceback" not in done.output


def test_an_overlay_that_cannot_be_written_costs_the_overlay_and_not_the_verdict(
    arguments: list[str], tmp_path: Path
) -> None:
    for name in ("n" * 250 + ".png", "short.png"):
        write_image(tmp_path / "frames" / name, tiny_surface("good", 1))
    done = run(arguments)
    assert done.exit_code == 3, done.output
    assert "2 accepted, 0 rejected, 0 could not be inspected" in done.output
    assert "no overlay" in done.output
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["short.accept.png"]


def test_an_error_of_this_software_is_one_pictures_fault(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "frames" / name, tiny_surface("good", 1))

    def broken(path: Path, **_: object) -> np.ndarray:
        if path.name == "a.png":
            raise IndexError("list index out of range")
        return tiny_surface("good", 1)

    monkeypatch.setattr("drivers.cameras.picture_files.read_image", broken)
    done = run(arguments)
    assert done.exit_code == 3, done.output
    assert "1 accepted, 0 rejected, 1 could not be inspected" in done.output
    assert "an error of this software (IndexError" in done.output


def test_a_folder_that_may_not_be_opened_is_listed_and_not_passed_over() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir(mode=0o700)
        (folder / "open.png").touch()
        (folder / "closed").chmod(0o000)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            found = [path.name for path in pictures_in(folder, recursive=True)]
            with pytest.raises(ImageFileError, match=r"cannot be read \(Permission denied\); check the"):
                read_image(folder / "closed")
        finally:
            if user == 0:
                os.seteuid(user)
            (folder / "closed").chmod(0o700)
    assert found == ["closed", "open.png"]
