"""One budget for everything that the station stores: what is used, what may be used, what is free."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from station.assembly import load
from station.config import ConfigError, StationConfig, load_config
from station.disk_budget import budget_problems, disk_uses, too_large_for_the_disk
from station.journal import Journal
from station.observers import Observer, Observers
from station.part import InspectedPart
from station.pictures.saving import PictureError, PictureSaver
from station.rare.index import RareLogError
from station.rare.store import RareStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> StationConfig:
    text = (ROOT / "config" / "demo.yaml").read_text().replace("../", f"{tmp_path}/")
    (tmp_path / "station.yaml").write_text(text)
    return load_config(tmp_path / "station.yaml")


class Storing(Observer):
    name = "rare parts"
    stored_bytes = 3_000_000

    def observe(self, part: InspectedPart) -> None:
        pass


def test_every_store_is_shown_with_what_it_takes_and_may_take(config: StationConfig) -> None:
    config.paths.journal.parent.mkdir(parents=True)
    config.paths.journal.write_bytes(bytes(500_000))
    config.paths.journal.with_name("journal.db.000001").write_bytes(bytes(1_500_000))
    with Observers([Storing()]) as observers:
        journal, pictures, rare = disk_uses(config, observers.status())
    assert (journal.name, journal.used_mb, journal.limit_mb) == ("journal", 2.0, None)
    assert (pictures.name, pictures.used_mb, pictures.limit_mb) == ("pictures", None, 500.0)
    assert (rare.name, rare.used_mb, rare.limit_mb) == ("rare parts", 3.0, 200.0)
    assert all(use.free_mb is not None and use.free_mb > 0 for use in (journal, pictures, rare))


def test_limits_that_a_disk_has_no_room_for_are_named_together(config: StationConfig) -> None:
    uses = [replace(use, free_mb=600.0, used_mb=50.0) for use in disk_uses(config)]
    assert budget_problems(uses) == [], "450 MB of pictures and 150 MB of rare parts may come"
    (problem,) = budget_problems([replace(use, free_mb=599.0) for use in uses])
    assert "the limits of journal, pictures, rare parts allow 600 MB more, 599 MB are free" in problem
    assert "lower a quota" in problem


def test_limits_above_the_whole_disk_name_line_and_key_of_the_largest(config: StationConfig) -> None:
    text = "a: b\nimages:\n  quota_mb: 500\nrare:\n  quota_mb: 200\n"
    uses = [replace(use, size_mb=700.0) for use in disk_uses(config)]
    assert too_large_for_the_disk(uses, text) == [], "all is well as long as it fits"
    (mistake,) = too_large_for_the_disk([replace(use, size_mb=699.0) for use in uses], text)
    assert (mistake.line, mistake.key) == (3, "images.quota_mb")
    assert "together with rare.quota_mb, 700 MB, and the disk of" in mistake.problem
    assert "write less" in mistake.remedy


def test_a_configuration_that_no_disk_can_hold_does_not_start(config: StationConfig, tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text(file.read_text().replace("quota_mb: 500", "quota_mb: 10000000"))
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    with pytest.raises(ConfigError, match=r"station.yaml:37: images.quota_mb: allows, together with rare"):
        load(file)


def test_what_pictures_and_rare_parts_take_is_known_before_the_station_runs(config: StationConfig) -> None:
    images, rare = config.paths.images, config.paths.rare
    assert rare is not None
    images.mkdir(parents=True)
    (images / "a.jpg").write_bytes(bytes(1000))
    (images / ".pictures").write_text("a.jpg 1000\ngone.jpg 5\n")
    store = RareStore(rare, quota=1)
    store.open()
    store.close()
    (rare / "quarantine" / "mine").write_bytes(bytes(3000))
    _, pictures, parts = disk_uses(config)
    assert (pictures.used_mb, parts.used_mb) == (0.001, 0.003)


@pytest.mark.parametrize(("free_mb", "lost"), [(500, ()), (300, ("pictures",)), (100, ("pictures", "rare"))])
def test_on_a_disk_that_fills_up_pictures_go_first_then_rare_parts_and_the_rest_is_the_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: int, lost: tuple[str, ...]
) -> None:
    disk = SimpleNamespace(total=20e9, free=free_mb * 1e6)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: disk)
    said = {}
    try:
        PictureSaver(tmp_path / "images", quota_mb=100).probe()
    except PictureError as error:
        said["pictures"] = str(error)
    store = RareStore(tmp_path / "rare", quota=10**8)
    store.open()
    try:
        store.probe(1000)
    except RareLogError as error:
        said["rare"] = str(error)
    store.close()
    assert tuple(said) == lost
    assert all("No space left" in words and "are for the journal" in words for words in said.values())
    with Journal(tmp_path / "journal.db", station="x") as journal:
        journal.write_event("start", {})


@pytest.mark.parametrize("section", ["images", "rare"])
def test_a_quota_of_zero_is_refused_with_its_line(
    config: StationConfig, tmp_path: Path, section: str
) -> None:
    file = tmp_path / "station.yaml"
    old = {"images": "quota_mb: 500", "rare": "quota_mb: 200"}[section]
    file.write_text(file.read_text().replace(old, "quota_mb: 0"))
    with pytest.raises(ConfigError, match=rf"station.yaml:\d+: {section}.quota_mb: .*greater than or equal"):
        load_config(file)
