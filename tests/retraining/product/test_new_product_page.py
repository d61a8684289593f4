"""docs/new-product.md, followed word for word."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
from retraining.cli import app as retrain
from retraining.surfaces.training_set import resize_mask
from simulation.rendering.parts import render_part
from station.cli import app as station
from station.patching.area import resize_picture

PAGE = Path(__file__).parents[3] / "docs" / "new-product.md"
APPS = {"retrain": retrain, "station": station}
SHORT = ["--steps", "4"]
"""What is added to a training that need not be good; test_product.py proves quickly what comes after it."""


def commands(*, slow: bool) -> list[list[str]]:
    """The commands of the page, in order; those of blocks that are marked slow only if ``slow``."""
    found = []
    for mark, block in re.findall(r"(<!-- slow -->\n)?```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        if slow or not mark:
            found += [shlex.split(line) for line in block.strip().splitlines()]
    return found


def lay_out(root: Path, good: int, defective: int) -> None:
    """Rendered surfaces of housings at a quarter of their size, and masks of their scratches."""
    for number in range(good + defective):
        kind = "scratches" if number >= good else None
        part = render_part(31_000 + number, kind=kind, level="clear" if kind else None)
        name = "scratch" if kind else "good"
        path = root / "pictures" / name / f"part{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, resize_picture(part.surface[..., None], 512, 256)[..., 0])
        if kind:
            mask = (resize_mask((part.mask > 0).astype(np.uint8), 512, 256) * 255).astype(np.uint8)
            file = root / "masks" / name / path.name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, mask)


def follow(root: Path, monkeypatch: pytest.MonkeyPatch, *, slow: bool, short: bool = False) -> None:
    monkeypatch.chdir(root)
    for name, *words in commands(slow=slow):
        words += SHORT if short and "--steps" in words else []
        result = CliRunner().invoke(APPS[name], words, catch_exceptions=False)
        allowed = (0, 1) if words[0] == "inspect" else (0,)
        assert result.exit_code in allowed, f"{name} {' '.join(words)}\n{result.output}"


def test_the_page_names_every_step() -> None:
    assert [words[:2] for words in commands(slow=True)].count(["retrain", "product"]) == 4


@pytest.mark.timeout(900)
def test_a_reader_gets_a_first_engine_by_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, 14, 8)
    follow(tmp_path, monkeypatch, slow=False, short=True)
    assert (tmp_path / "cuts" / "contact-sheet.png").is_file()
    assert (tmp_path / "runs" / "first-day" / "engines" / "mine" / "card.md").is_file()
    assert list((tmp_path / "runs" / "quick").glob("patch-*/best.pt"))


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_the_whole_page_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, 30, 24)
    follow(tmp_path, monkeypatch, slow=True)
    assert list((tmp_path / "runs" / "quick").glob("patch-*/best.pt"))
    assert (tmp_path / "runs" / "mine" / "engines" / "mine" / "engine.yaml").is_file()


@pytest.fixture
def commutators(given_data: Callable[[str], Path]) -> Path:
    """KolektorSDD, where INSPECTION_DATA names it."""
    return given_data("kolektorsdd")


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_reader_with_pictures_of_commutators_gets_a_first_engine_by_the_page(
    commutators: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laid out as the page says; the number of a part is that of its commutator."""
    for source, target in (
        ("normal", "pictures/good"),
        ("defect", "pictures/scratch"),
        ("masks", "masks/scratch"),
    ):
        (tmp_path / target).mkdir(parents=True)
        for file in (commutators / source).iterdir():
            name = re.sub(r"kos(\d+)_Part(\d+)", r"part\1-\2", file.name)
            shutil.copy(file, tmp_path / target / name)
    follow(tmp_path, monkeypatch, slow=False)
    assert (tmp_path / "runs" / "first-day" / "engines" / "mine" / "card.md").is_file()
    assert list((tmp_path / "runs" / "quick").glob("patch-*/best.pt"))


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_commutators_and_their_masks_become_an_engine_with_nothing_written_by_hand(
    commutators: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = PAGE.parents[1] / "recipes" / "commutator.yaml"
    for words in (
        ["data", "from-masks", str(commutators), str(commutators / "masks"), "--sound", "defect-free",
         "--pattern", "(?P<label>normal|defect)/(?P<group>kos[0-9]+)_", "--rename", "normal=defect-free",
         "--rename", "defect=crack", "--out", "data/kolektor"],
        ["product", "data/kolektor", "-r", str(recipe), "--masks", str(commutators / "masks"), "--seed", "1",
         "--network", "simple-fcn", "--steps", "60"],
    ):  # fmt: skip
        result = CliRunner().invoke(retrain, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    engine = tmp_path / "runs" / "commutator" / "engines"
    words = [
        "inspect",
        str(commutators / "defect"),
        "--recipe",
        "runs/commutator/commutator.yaml",
        "--engines",
    ]
    result = CliRunner().invoke(station, [*words, str(engine)], catch_exceptions=False)
    assert result.exit_code in (0, 1), result.output
