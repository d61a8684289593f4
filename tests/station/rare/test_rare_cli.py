"""``station rare``: what a person sees of the log, and does to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from drivers.cameras.picture_files import read_image
from station.cli import app
from station.rare.index import RareLogError
from station.rare.store import RareStore
from station.review import review

if TYPE_CHECKING:
    from pathlib import Path

    from tests.station.rare.conftest import Bench


@pytest.fixture
def folder(bench: Bench) -> Path:
    """Three items: a doubtful scratch, a doubtful pit of which a person spoke, and a part near a fault."""
    log = bench.log()
    parts = [bench.part("scratches", p=0.65), bench.part("pits", p=0.45), bench.part()]
    for part in (*parts, bench.part(broken="no [red]frame", cut_too=False)):
        log.observe(part)
    review(bench.journal, record=2, class_name="good", by="[bold]N.\x1b[2J")
    log.close()
    return bench.folder


def station(*words: object) -> str:
    done = CliRunner().invoke(app, ["rare", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_list_has_the_most_informative_first(folder: Path) -> None:
    rows = [json.loads(line) for line in station("list", "--folder", folder, "--json").splitlines()]
    assert [row["part_id"] for row in rows] == [2, 1, 3]
    assert [row["said_class"] for row in rows] == ["good", None, None]
    table = station("list", "--folder", folder)
    assert "3 of 3 items" in table
    assert "two classes close: patch 0: pits 0.450" in table
    only = station("list", "--folder", folder, "--reason", "near a fault", "--json").splitlines()
    assert [json.loads(line)["part_id"] for line in only] == [3]
    assert station("list", "--folder", folder, "--class", "pits", "--json") == "", "a person says good"


def test_an_item_is_shown_with_where_it_comes_from_and_text_of_others_does_no_harm(
    folder: Path, tmp_path: Path
) -> None:
    shown = station("show", "2", "--folder", folder, "--picture", tmp_path / "part.png")
    for words in ("record 2 of journal", "good ([bold]N.?[2J)", "intact", "32 x 32 px at 0, 0", "a" * 64):
        assert words in shown
    assert "\x1b" not in shown
    assert read_image(tmp_path / "part.png").ndim >= 2
    assert "no [red]frame" in station("show", "3", "--folder", folder)
    one = json.loads(station("show", "1", "--folder", folder, "--json"))
    assert np.shape(one["scores"]) == (2, 3)


def test_the_contact_sheet_has_all_items(folder: Path, tmp_path: Path) -> None:
    assert "3 items" in station("sheet", tmp_path / "all.png", "--folder", folder)
    assert (tmp_path / "all.png").stat().st_size > 1000


def test_a_purge_says_what_stays(folder: Path) -> None:
    said = station("purge", "--to-mb", 0, "--folder", folder)
    assert "dropped 2 items; 1 are left" in said
    assert "1 items of which a person spoke" in said
    assert [entry.item.part_id for entry in RareStore(folder).entries()] == [2]


def test_what_is_not_there_is_said_with_a_remedy(folder: Path, tmp_path: Path) -> None:
    for words, said in (
        (("show", "17", "--folder", folder), "has no item of '17'"),
        (("list", "--folder", tmp_path / "nothing"), "there is none yet"),
        (("list", "--folder", folder, "--reason", "ennui"), "write one of: audit, near a fault"),
    ):
        with pytest.raises(RareLogError, match=said.replace("'", ".")):
            station(*words)
