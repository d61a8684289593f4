"""Curvature, range and texture of known surfaces, on the rig's fixed scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from station.stereo import Rig, RigError, Solved, StereoError, channels, load_rig
from station.stereo.channels import mean_curvature, of_slopes

TEXT = """\
solver: lobe
lobe_rad: 0.05
diffuse: 0.28
dark_level: 2.6
lamps:
  - {slant_deg: 7.4, azimuth_deg: 0}
  - {slant_deg: 7.4, azimuth_deg: 90}
  - {slant_deg: 7.4, azimuth_deg: 180}
  - {slant_deg: 7.4, azimuth_deg: 270}
curvature_white: 0.01
slope_white: 0.02
texture_white: 250
"""


def rig(tmp_path: Path, text: str = TEXT) -> Rig:
    file = tmp_path / "rig.yaml"
    file.write_text(text)
    return load_rig(file)


def test_a_ball_has_the_mean_curvature_of_its_radius() -> None:
    radius = 500.0
    y, x = np.mgrid[-100:101, -100:101].astype(np.float64)
    z = np.sqrt(radius**2 - x * x - y * y)
    found = mean_curvature((-x / z).astype(np.float32), (-y / z).astype(np.float32))
    assert np.allclose(found, -1 / radius, rtol=0.01)


def test_form_and_run_out_are_no_range_and_a_groove_is() -> None:
    height, width = 600, 200
    run_out = 0.01 * np.sin(np.linspace(0, 2 * np.pi, height))[:, None] * np.ones((1, width))
    groove = np.zeros((height, width))
    groove[300, 50:150], groove[301, 50:150] = -0.02, 0.02
    solved = Solved(
        np.zeros((height, width), np.float32),
        (run_out + groove).astype(np.float32),
        np.full((height, width), 80, np.float32),
    )
    found = of_slopes(solved)
    assert found.range[300:302, 60:140].min() > 0.015
    assert np.median(found.range) < 0.001
    assert found.curvature[300:302, 60:140].mean() > 0.004
    assert (found.texture == 80).all()


def test_the_picture_has_curvature_range_and_texture_as_red_green_and_blue(tmp_path: Path) -> None:
    flat = np.full((4, 20, 30), 100, np.uint8)
    one = channels(flat, rig(tmp_path)).picture(rig(tmp_path))
    assert one.shape == (20, 30, 3)
    assert one.dtype == np.uint8
    assert (one[..., 0] == 128).all()
    assert (one[..., 1] == 0).all()
    brighter = channels(np.full((4, 20, 30), 140, np.uint8), rig(tmp_path)).picture(rig(tmp_path))
    assert (brighter[..., 2] > one[..., 2]).all()
    assert (brighter[..., :2] == one[..., :2]).all()


def test_the_wrong_number_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StereoError, match="3 pictures for 4 lamps"):
        channels(np.zeros((3, 20, 30), np.uint8), rig(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("solver: lobe", "solver: lambert"), "lobe_rad: .*not used by `lambert`"),
        (("lobe_rad: 0.05\n", ""), "lobe_rad"),
        (("slope_white: 0.02\n", ""), "slope_white"),
        (("slant_deg: 7.4, azimuth_deg: 0", "slant_deg: 95, azimuth_deg: 0"), r"lamps\[0\].slant_deg"),
        (("texture_white: 250", "texture_white: 0"), "texture_white"),
        (("dark_level", "darklevel"), "dark_level"),
    ],
)
def test_a_rig_that_cannot_be_used_is_refused_by_file_line_and_key(tmp_path: Path, change, words) -> None:
    with pytest.raises(RigError, match=words) as refused:
        rig(tmp_path, TEXT.replace(*change))
    assert "rig.yaml:" in str(refused.value)
