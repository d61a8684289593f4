"""`station inspect` on files with awkward names: each has its own row and its own overlay."""

import csv
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
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
