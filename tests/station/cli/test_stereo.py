"""The commands of a stereo rig, from rendered pictures to channels and from a ball to its lamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calibration.lamps import direction
from drivers.cameras.picture_files import read_image, write_image
from station.cli import app

RIG = """\
solver: lambert
lamps:
  - {slant_deg: 30, azimuth_deg: 0}
  - {slant_deg: 30, azimuth_deg: 120}
  - {slant_deg: 30, azimuth_deg: 240}
curvature_white: 0.1
slope_white: 1
texture_white: 250
"""
BALL = "60,60,45"


def station(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["stereo", *map(str, words)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    file = tmp_path / "rig.yaml"
    file.write_text(RIG)
    return file


@pytest.fixture
def balls(tmp_path: Path) -> list[Path]:
    """A matt ball under each lamp of the rig."""
    y, x = (np.mgrid[0:120, 0:120] - 60) / 45
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    paths = []
    for number, azimuth in enumerate((0, 120, 240), start=1):
        light = 240 * np.maximum(np.stack([x, y, z], axis=-1) @ direction(30, azimuth), 0) * (z > 0)
        paths.append(tmp_path / f"ball-{number}.png")
        write_image(paths[-1], np.rint(light).astype(np.uint8))
    return paths


def test_a_rendered_part_becomes_a_picture_of_its_channels(rig: Path, tmp_path: Path) -> None:
    code, words = station("simulate", tmp_path / "part", "--rig", rig, "--kind", "pits", "--width", "200")
    assert code == 0
    assert "pits in the window" in words
    lamps = sorted((tmp_path / "part").glob("lamp-*.png"))
    assert len(lamps) == 3
    window = words.splitlines()[-1].rpartition(" ")[2]
    code, words = station("show", *lamps, "--rig", rig, "--out", tmp_path / "seen", "--window", window)
    assert code == 0
    assert "beyond the scale" in words
    assert read_image(tmp_path / "seen" / "channels.png").shape == (3584, 200, 3)
    assert read_image(tmp_path / "seen" / "sheet.png").ndim == 3


def test_curvature_is_red_and_texture_is_blue_in_the_file(
    rig: Path, balls: list[Path], tmp_path: Path
) -> None:
    assert station("show", *balls, "--rig", rig, "--out", tmp_path / "seen")[0] == 0
    blue, green, red = read_image(tmp_path / "seen" / "channels.png")[60, 60]
    assert abs(int(blue) - 240 * 255 / 250) < 4
    assert green < 12
    assert red < 128 - 20  # the ball is not hollow


def test_lamps_are_measured_on_a_ball_in_the_form_of_the_rigs_file(rig: Path, balls: list[Path]) -> None:
    code, words = station("calibrate", *balls, "--ball", BALL, "--surface", "matt")
    assert code == 0
    first, *lamps = words.splitlines()
    assert first == "lamps:"
    for line, azimuth in zip(lamps, (0, 120, 240), strict=True):
        slant, around = (float(one.split(":")[1].strip(" }")) for one in line.split(","))
        assert slant == pytest.approx(30, abs=0.5)
        assert (around - azimuth + 180) % 360 == pytest.approx(180, abs=0.5)


def test_what_does_not_fit_is_refused(rig: Path, balls: list[Path], tmp_path: Path) -> None:
    def refused(words: str, *arguments: str | Path) -> None:
        code, output = station(*arguments)
        assert code != 0
        assert words in " ".join(output.replace("│", " ").split())

    coloured = tmp_path / "coloured.png"
    write_image(coloured, np.zeros((120, 120, 3), np.uint8))
    small = tmp_path / "small.png"
    write_image(small, np.zeros((60, 120), np.uint8))
    out = ("--rig", rig, "--out", tmp_path / "seen")
    refused("coloured", "show", *balls[:2], coloured, *out)
    refused("several sizes", "show", *balls[:2], small, *out)
    refused("does not lie in pictures of 120 x 120", "show", *balls, *out, "--window", "100,0,50,50")
    refused("write 4 numbers", "show", *balls, *out, "--window", "1,2,3")
    refused("no highlight", "calibrate", *balls, "--ball", BALL)
    refused("not whole", "calibrate", *balls, "--ball", "10,10,45", "--surface", "matt")
    refused("--dark-level is not used", "calibrate", *balls, "--ball", BALL, "--dark-level", "3")
    assert not (tmp_path / "seen").exists()
