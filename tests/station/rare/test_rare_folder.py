"""What is done to the folder of the log from outside: strange files, a lost index, a damaged picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from station.cli import app
from station.rare.index import INDEX, RareLogError
from station.rare.store import ITEMS, QUARANTINE
from station.review import review

if TYPE_CHECKING:
    from station.part import InspectedPart
    from tests.station.rare.conftest import Bench

STRANGE = (
    "two\nlines.png",
    "\x1b[2Jclears the screen.png",
    "'; DROP TABLE items; --.png",
    ".hidden.part",
    "-rf",
    "ü" * 120,
    "x" * 250,
)


def keep(bench: Bench, *parts: InspectedPart, **settings: float) -> None:
    log = bench.log(**settings)
    for part in parts:
        log.observe(part)
    log.close()


def quarantined(bench: Bench) -> set[str]:
    return {one.name for one in (bench.folder / QUARANTINE).iterdir()}


def test_files_of_any_name_and_kind_are_quarantined_as_they_are_and_nothing_is_deleted(bench: Bench) -> None:
    keep(bench, bench.part(p=0.6))
    items = bench.folder / ITEMS
    for name in STRANGE:
        (items / name).write_text(name)
    (items / "not text \udcff.png").write_text("bytes that are no text")
    (items / "folder").mkdir()
    (items / "folder" / "inside").write_text("mine")
    os.symlink("/etc/hostname", items / "link")
    os.symlink("nowhere", items / "dangling")
    os.mkfifo(items / "pipe")
    kept = bench.kept()
    keep(bench, bench.part(p=0.6))
    assert set(kept) < set(bench.kept())
    names = {*STRANGE, "not text \udcff.png", "folder", "link", "dangling", "pipe"}
    assert quarantined(bench) == names
    assert {(bench.folder / QUARANTINE / name).read_text() for name in STRANGE} == set(STRANGE)
    assert (bench.folder / QUARANTINE / "folder" / "inside").read_text() == "mine"
    assert bench.store.usage().quarantined == len(names)
    shown = CliRunner().invoke(app, ["rare", "list", "--folder", str(bench.folder)])
    assert shown.exit_code == 0, shown.output
    assert "\x1b[2J" not in shown.output


@pytest.mark.parametrize("name", ["mine.png", "x" * 255, "ü" * 127])
def test_the_same_name_twice_overwrites_nothing_in_quarantine(bench: Bench, name: str) -> None:
    for content in ("first", "second", "third"):
        keep(bench, bench.part(p=0.6))
        (bench.folder / ITEMS / name).write_text(content)
    keep(bench, bench.part(p=0.6))
    assert {(bench.folder / QUARANTINE / name).read_text() for name in quarantined(bench)} == {
        "first",
        "second",
        "third",
    }


def test_after_the_index_was_deleted_the_pictures_are_in_quarantine_and_the_log_goes_on(bench: Bench) -> None:
    keep(bench, *(bench.part("pits", p=0.6) for _ in range(3)))
    pictures = {one.name: one.read_bytes() for one in (bench.folder / ITEMS).iterdir()}
    (bench.folder / INDEX).unlink()
    new = bench.part("pits", p=0.6)
    keep(bench, new)
    assert set(bench.kept()) == {new.part_id}
    assert {name: (bench.folder / QUARANTINE / name).read_bytes() for name in quarantined(bench)} == pictures


def test_a_damaged_index_is_named_with_a_remedy_and_touches_no_picture(bench: Bench) -> None:
    keep(bench, *(bench.part("pits", p=0.6) for _ in range(3)))
    index = bench.folder / INDEX
    index.write_bytes(b"not a database, but long enough to be read as one. " * 400)
    before = {one.name for one in (bench.folder / ITEMS).iterdir()}
    log = bench.log()
    with pytest.raises(RareLogError, match="is damaged: move the folder away"):
        log.observe(bench.part("pits", p=0.6))
    log.close()
    assert {one.name for one in (bench.folder / ITEMS).iterdir()} == before
    assert log.lost == 1


def test_however_many_better_items_come_what_a_person_named_stays(bench: Bench) -> None:
    log = bench.log(quota_mb=0.05)
    named = bench.part("good", p=0.99)
    log.observe(named)
    review(bench.journal, record=named.part.record_id, class_name="pits", by="J. Novak")
    for _ in range(30):
        log.observe(bench.part("pits", p=0.34, novelty=(9.0, 9.0)))
    log.close()
    kept = bench.kept()
    assert kept[named.part_id] == ["operator"]
    assert 1 < len(kept) < 20
    assert bench.store.usage().used <= 50_000


def test_a_folder_in_the_place_of_a_picture_that_makes_room_is_quarantined(bench: Bench) -> None:
    keep(bench, bench.part("pits", p=0.6))
    (entry,) = bench.store.entries()
    entry.picture.unlink()
    entry.picture.mkdir()
    (entry.picture / "inside").write_text("mine")
    assert bench.store.purge(0) == [entry.item_id]
    assert (bench.folder / QUARANTINE / entry.picture.name / "inside").read_text() == "mine"


@pytest.mark.parametrize("damage", ["changed", "cut", "empty", "gone", "a folder"])
def test_show_says_what_is_wrong_with_a_damaged_picture_and_draws_nothing(bench: Bench, damage: str) -> None:
    part = bench.part("pits", p=0.6)
    keep(bench, part)
    (entry,) = bench.store.entries()
    content = entry.picture.read_bytes()
    entry.picture.unlink()
    if damage == "changed":
        entry.picture.write_bytes(content[:-1] + b"x")
    elif damage == "cut":
        entry.picture.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        entry.picture.write_bytes(b"")
    elif damage == "a folder":
        entry.picture.mkdir()
    drawn = bench.folder.parent / "drawn.png"
    number = str(part.part.record_id)
    shown = CliRunner().invoke(
        app, ["rare", "show", number, "--folder", str(bench.folder), "--picture", str(drawn)]
    )
    assert isinstance(shown.exception, RareLogError)
    assert "check the disk" in str(shown.exception)
    assert "DAMAGED" in shown.output
    assert "pits 0.600" in shown.output, "everything else is shown"
    assert not drawn.exists()


def test_the_sheet_leaves_a_damaged_picture_out_and_names_it(bench: Bench) -> None:
    keep(bench, *(bench.part("pits", p=0.6) for _ in range(3)))
    damaged = bench.store.entries()[1].picture
    damaged.write_bytes(b"no picture")
    sheet = bench.folder.parent / "sheet.png"
    done = CliRunner().invoke(app, ["rare", "sheet", str(sheet), "--folder", str(bench.folder)])
    assert "2 items on" in done.output
    assert isinstance(done.exception, RareLogError)
    assert damaged.name in str(done.exception)
    assert sheet.exists()
