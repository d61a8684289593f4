"""`python -m drivers.cameras.measure`: every family of the registry, every key an option."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.interface import CameraHealth
from drivers.cameras.measure import main
from drivers.sorters.interface import SorterHealth


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.tif"), np.full((8, 12), number, np.uint8))
    return tmp_path


def measured(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["measure", *arguments])
    return main()


def test_a_folder_is_measured_by_its_keys(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--path", str(pictures), "--repeat", "true", "--frames", "5")
    assert measured(monkeypatch, "folder", *options) == 0
    said = capsys.readouterr().out
    assert "5 frames of (8, 12)" in said
    assert "lost 0, incomplete 0" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["webcam"], "invalid choice: 'webcam' (choose from 'aravis', 'folder', 'harvesters', 'pylon'"),
        (["folder"], "path: Field required"),
        (["folder", "--path", "p", "--max-megapixels", "-1"], "max-megapixels: Input should be greater"),
        (["pylon", "--emulation", "p", "--trigger", "hardware"], "the emulator has no wire"),
        (["pylon", "--nodes", "[{"], "nodes: Input should be a valid tuple"),
        (["folder", "--serial", "1"], "unrecognized arguments: --serial"),
    ],
)
def test_a_wrong_option_is_named_before_a_camera_is_opened(
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        measured(monkeypatch, *arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_a_camera_that_is_not_there_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(monkeypatch, "folder", "--path", str(tmp_path / "nowhere")) == 1
    assert "nowhere does not exist; set it to a folder of pictures" in capsys.readouterr().out


def test_every_count_of_a_device_is_shown_where_there_is_something_to_count() -> None:
    quiet = SorterHealth(True, "", 9, 8, 0, 0, 0, 0)
    assert quiet.counted == "9 messages sent, 8 received"
    loud = SorterHealth(
        True, "", 9, 8, 1, 2, 3, 4, refused=5, misplaced=6, unacknowledged=7, unexpected=8, cell_restarts=9
    )
    assert loud.counted == (
        "9 messages sent, 8 received, resent: 1, garbled: 2, duplicates: 3, refused: 5, misplaced: 6, "
        "unacknowledged: 7, unexpected: 8, reconnects: 4, restarts of the cell: 9"
    )
    warm = CameraHealth(True, "", 3, 1, 2, 4, discarded=5, temperature_c=41.25)
    assert warm.counted == (
        "3 frames, 1 lost, 2 incomplete, 5 discarded (late or not triggered), reopened: 4, 41.2 °C"
    )
