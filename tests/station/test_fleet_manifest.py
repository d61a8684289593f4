"""A station writes its signed manifest, and a journal that was put back contradicts it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from station.config import Fleet
from station.fleet.manifest import StationManifest, read_manifest
from station.journal.reading import JournalReader
from station.observers import ObserverError, ObserverSetup
from station.observers.fleet import ManifestObserver, make_observer
from station.signing import own_key
from station.simulated_plant import Plant as NoPlant
from tests.station.test_way_home import activate, home, settings

if TYPE_CHECKING:
    from tests.station.test_way_home import Home

__all__ = ["home", "settings"]


def setup_of(home: Home, **station: str) -> ObserverSetup:
    config = home.station.config
    changed = {
        "fleet": Fleet(folder=home.folder / "share", every_s=1.0),
        "station": config.station.model_copy(update=station),
    }
    return ObserverSetup(config.model_copy(update=changed), NoPlant(), home.plant.journal)


@pytest.fixture
def writer(home: Home) -> ManifestObserver:
    made = make_observer(setup_of(home))
    assert isinstance(made, ManifestObserver)
    made.watch(home.station)
    return made


def read(home: Home) -> StationManifest:
    content = (home.folder / "share" / "test.manifest").read_bytes()
    key = own_key(home.station.config.paths.key).public
    return read_manifest(content, "test", {"test": key})


def test_a_manifest_says_what_judges_how_far_its_trial_is_and_where_the_journal_is(
    home: Home, writer: ManifestObserver
) -> None:
    writer.idle()
    first = read(home)
    assert (first.engine, first.engine_state, first.trial) == ("factory", "factory", None)
    assert first.installed == (home.new,)
    activate(home)
    home.inspect(2)
    home.keeper.look()
    writer.close()
    second = read(home)
    assert (second.engine, second.engine_state, second.version) == (home.new, "trial", 1)
    assert second.trial is not None
    assert (second.trial.parts, second.trial.of) == (2, 100)
    assert second.number > first.number
    assert second.parts.triggers == 2
    home.station.roll_back(why="too many rejects", by="J. Novak")
    writer.close()
    third = read(home)
    assert [(one.digest, one.why) for one in third.bad] == [(home.new, "too many rejects")]
    heads = [first.head, second.head, third.head]
    assert [one.seq for one in third.heads] == sorted({one.seq for one in heads}, reverse=True)
    with JournalReader(home.plant.journal.path) as journal:
        assert all(journal.digest(one.seq) == one.digest for one in third.heads)
    assert writer.note.startswith("test.manifest written at ")


def test_without_the_section_nothing_is_written_and_a_name_that_is_no_file_name_is_refused(
    home: Home,
) -> None:
    assert make_observer(replace(setup_of(home), config=home.station.config)) is None
    with pytest.raises(ObserverError, match=r"'hall 3/a' cannot be the name of a manifest"):
        make_observer(setup_of(home, name="hall 3/a"))


def test_a_folder_that_cannot_be_written_is_said_and_tried_again(
    home: Home, writer: ManifestObserver
) -> None:
    (home.folder / "share").write_text("a file")
    with pytest.raises(OSError, match=r"exists|directory"):
        writer.idle()
    (home.folder / "share").unlink()
    writer.close()
    assert read(home).station == "test"
