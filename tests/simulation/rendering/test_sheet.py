"""The picture to judge the renderer by."""

from __future__ import annotations

import cv2
import pytest

from simulation.rendering.sheet import contact_sheet


@pytest.mark.slow
def test_the_contact_sheet_is_a_small_picture_of_five_classes_at_four_levels(tmp_path):
    path = tmp_path / "images" / "sheet.png"
    contact_sheet(path, side=96)
    assert path.stat().st_size < 600_000
    assert cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape == (5 * (96 + 24), 4 * (96 + 4))
