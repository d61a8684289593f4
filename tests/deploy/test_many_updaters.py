"""Many updaters and one static server: what each of them asks for, and that nothing is fetched twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.bundle import CARD
from deploy.updater.measure import MANY, Round, on_paper, run
from station.engines.store import EngineState, Store


@pytest.fixture
def engine(tiny_engine: Path) -> Path:
    (tiny_engine / CARD).write_text("# tiny\n")
    return tiny_engine


def all_install(folder: Path, engine: Path, stations: int) -> tuple[Round, Round, int]:
    (first, quiet), size = run(folder, engine, stations)
    for place in folder.glob("line-*"):
        states = [one.state for one in Store(place / "engines", "tiny").engines().entries.values()]
        assert states == [EngineState.INSTALLED]
    assert len([*folder.glob("line-*")]) == stations
    return first, quiet, size


def test_each_updater_fetches_the_bundle_once_and_then_little(tmp_path: Path, engine: Path) -> None:
    first, quiet, size = all_install(tmp_path, engine, 3)
    assert size < first.sent_bytes < size + 20_000
    assert quiet.sent_bytes < 4_000
    assert quiet.requests < first.requests < 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_updaters_at_once_all_install_what_was_ordered(tmp_path: Path, engine: Path) -> None:
    first, quiet, size = all_install(tmp_path, engine, 50)
    assert first.sent_bytes < size + 20_000
    assert quiet.sent_bytes < 4_000


def test_what_a_thousand_stations_ask_for_is_shown_with_the_arithmetic() -> None:
    first = Round("first", 50, 60.0, 14.0, 20e6, 30.0, 60.0, 2.0, 150.0)
    quiet = Round("quiet", 50, 30.0, 4.0, 2_000.0, 20.0, 30.0, 1.0, 120.0)
    said = "\n".join(on_paper(first, quiet))
    assert f"{MANY} x 4.0 requests / 3600 s = 1.1 requests/s" in said
    assert "1000 x 20.0 MB = 20.0 GB" in said
    assert "20.0 GB x 8 / 1 Gbit/s = 160 s at least" in said
