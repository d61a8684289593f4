"""One budget for everything that the station stores: what is used, what may be used, what is free."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from station.config import StationConfig, load_config
from station.disk_budget import budget_problems, disk_uses
from station.observers import Observer, Observers
from station.part import InspectedPart

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
