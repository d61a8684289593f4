"""``station engines compare``: past parts judged again by two engines, and what would change."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drivers.cameras.interface import Frame
from drivers.cameras.picture_files import read_image
from drivers.sorters.interface import Trigger
from station.cli import app
from station.decision import decide
from station.engines import open_engine
from station.engines.contents import CONTENTS, contents_from
from station.engines.interface import EngineError
from station.engines.manifest import EngineRules
from station.engines.store import Store
from station.part import InspectedPart, PartInHand
from station.patching import cut
from station.prepared import Prepared
from station.rare.index import RareLogError
from station.rare.items import Origin, Reason, Why, sighting_of
from station.rare.store import RareStore
from station.recipe import load_recipe
from tests.conftest import TINY_RECIPE, tiny_surface
from tests.station.engines.engine_store import installed

CONFIG = """
station: {name: press-3}
recipe: tiny
paths: {recipes: recipes, engines: engines, journal: journal.db, images: images, cache: cache, rare: rare}
camera: {kind: folder, path: pictures}
sorter: {kind: serial, port: cell.pty}
engine: {backend: onnxruntime-cpu, precision: fp32}
"""
SHOWN = ("good", "good", "bright", "dark")


@pytest.fixture
def station(tiny_engine: Path, tmp_path: Path) -> Path:
    """A station with four kept parts, and a candidate that takes nearly everything for dark."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text(TINY_RECIPE)
    (tmp_path / "station.yaml").write_text(CONFIG)
    recipe = load_recipe(tmp_path / "recipes" / "tiny.yaml")
    engine = open_engine(tiny_engine, "onnxruntime-cpu", "fp32")
    log = RareStore(tmp_path / "rare", quota=10_000_000)
    log.open()
    origin = Origin("j" * 32, "press-3", False, None)
    for number, truth in enumerate(SHOWN, 1):
        pixels = tiny_surface(truth, 70 + number)
        prepared = Prepared(recipe, engine)
        part = PartInHand(Trigger(number, "", time.monotonic_ns()), prepared, number, 0)
        part = part.seen(Frame(pixels, number, 0, True, time.monotonic_ns()))
        part = part.cut(cut(pixels, recipe), keep_frame=False)
        assert part.patches is not None
        scores = engine.scores(part.patches.pixels)
        part = part.scored(scores)
        inspected = InspectedPart(part, decide(scores.probabilities, recipe), time.monotonic_ns())
        sighting = sighting_of(inspected, part.patches, origin)
        log.keep(
            sighting.__class__(sighting.item.because(Why(Reason.AUDIT, 0.0, "drawn")), sighting.pixels, None)
        )
    log.amend("j" * 32, 2, lambda item: item.said("dark", "J. Novak"))
    log.close()
    engine.close()
    digest = installed(tiny_engine.parent, tiny_engine, tmp_path)
    store = Store(tiny_engine.parent, "tiny")
    file = store.find(digest).folder / CONTENTS
    rules = EngineRules(thresholds={"dark": 2e-5})
    file.write_bytes(contents_from(file.read_bytes()).model_copy(update={"rules": rules}).to_json())
    store.change(lambda known: known.proven(digest, "a test", by="a test"))
    store.change(lambda known: known.shadowing(digest, "a test", by="a test"))
    return tmp_path


def compare(folder: Path, *words: object) -> tuple[int, str, str]:
    config = str(folder / "station.yaml")
    done = CliRunner().invoke(
        app, ["engines", "compare", *map(str, words), "--config", config], catch_exceptions=False
    )
    return done.exit_code, done.stdout, done.stderr


def test_the_parts_that_would_change_are_shown_the_worse_ones_first(station: Path) -> None:
    code, out, said = compare(station, "active", "candidate", "--since", "1d", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["part_id"], row["change"], row["worse"], row["better"]) for row in rows] == [
        (1, "stopped", True, False),
        (2, "stopped", False, True),
    ]
    assert (rows[0]["old"]["class_name"], rows[0]["new"]["class_name"]) == ("good", "dark")
    assert rows[1]["person_says"] == "dark"
    assert code == 1
    assert "worse on 1, better on 1" in said
    assert "of 1 parts that a person spoke of, the old engine sorts 0 right, the new one 1" in said


def test_the_changes_are_a_table_and_a_contact_sheet(station: Path) -> None:
    sheet = station / "changes.png"
    code, out, said = compare(station, "factory", "candidate", "--sheet", sheet)
    assert code == 1
    assert "stopped worse" in out
    assert "stopped better" in out
    assert "threshold 2e-05" in out
    assert f"2 parts on {sheet}" in said
    assert read_image(sheet).shape[1] >= 900


def test_the_same_engine_changes_nothing_and_any_folder_is_an_engine(station: Path) -> None:
    sheet = station / "changes.png"
    code, out, said = compare(station, "active", station / "engines" / "tiny", "--json", "--sheet", sheet)
    assert (code, out) == (0, "")
    assert "4 parts: 4 same" in said
    assert "about 0.00% would change" in said
    assert not sheet.exists()


def test_audited_parts_stand_for_their_share_of_all_parts(station: Path) -> None:
    _, _, said = compare(station, "active", "candidate", "--json")
    # Audited: one good part stands for 1,000, two rejected ones for 50 each; the reviewed one for itself.
    assert f"about {(1000 + 1) / (1000 + 1 + 50 + 50):.2%} would change" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("active", "nothing-here"), "no engine of the store begins with 'nothing-here'"),
        (("active", "candidate", "--since", "2031-01-01"), "has no parts of recipe tiny of this time"),
    ],
)
def test_what_cannot_be_compared_is_said(station: Path, words: tuple[str, ...], says: str) -> None:
    with pytest.raises((EngineError, RareLogError), match=says):
        compare(station, *words)


def test_without_a_candidate_the_remedy_is_named(station: Path) -> None:
    store = Store(station / "engines", "tiny")
    digest = store.engines().candidate
    store.change(lambda known: known.failed(digest, "a test", by="a test"))
    with pytest.raises(EngineError, match="no engine of tiny is a candidate: name a digest"):
        compare(station, "active", "candidate")


def test_parts_that_were_cut_otherwise_are_no_parts_of_the_recipe(station: Path) -> None:
    other = TINY_RECIPE.replace("size: 16", "size: 16, overlap_px: 8")
    (station / "recipes" / "tiny.yaml").write_text(other)
    with pytest.raises(RareLogError, match=r"has no parts of recipe tiny .*4 are of another product"):
        compare(station, "active", "candidate")
