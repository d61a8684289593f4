"""How ``retrain`` ends: 2 for what a person can mend, 70 for a crash, and 1 only for faults that it found."""

import os
from pathlib import Path

import numpy as np
import pytest

from drivers.cameras.picture_files import write_image
from retraining import cli
from retraining.cli.options import progress_bars


def end_of(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["retrain", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, label in enumerate(("good", "line")):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64), dtype=np.uint8)
        write_image(tmp_path / "pictures" / label / "1.png", pixels)
    return tmp_path / "pictures"


def test_a_crash_has_an_exit_code_of_its_own_and_a_traceback(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*given: object, **named: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("retraining.data.readers.build", broken)
    assert end_of(monkeypatch, "data", "from-folders", pictures, "--out", pictures / "set") == os.EX_SOFTWARE
    assert "RuntimeError: a fault of ours" in capsys.readouterr().err


def test_an_error_shows_no_characters_that_move_the_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(monkeypatch, "data", "check", tmp_path / "no\x1b[2Jset") == 2
    assert "\x1b[2J" not in capsys.readouterr().err


def test_names_of_classes_are_no_markup_wherever_they_are_shown(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--out", tmp_path / "set", "--rename", "line=[/b]", "--rename", "good=[red]"]
    monkeypatch.setattr("sys.argv", ["retrain", "data", "from-folders", str(pictures), *map(str, given)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    with progress_bars() as bars:
        bars.add_task("[/b]", status="[/red]")
    said = capsys.readouterr()
    assert "[red]" in said.out
    assert "[/b]" in said.out
