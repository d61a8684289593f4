"""A trial that nobody can watch ends: the engine goes back, or the line stands, and the status says why."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from prometheus_client.core import Metric
from rich.console import Console

from station.cli.status import shown
from station.control.status import status_document
from station.engine_keeper import BLIND_ROUNDS, EngineKeeper
from station.engines.interface import EngineError
from station.engines.states import FACTORY, EngineState
from station.engines.store import STATE
from station.metrics.series import families
from station.metrics.server import look_at
from station.preparing import first_that_judges
from tests.station.engines.engine_store import installed
from tests.station.test_way_home import activate, home, settings

if TYPE_CHECKING:
    from pathlib import Path

    from station.recipe import Recipe
    from tests.station.test_way_home import Home

__all__ = ["home", "settings"]


def status(home: Home) -> str:
    """What ``station status`` prints."""
    written = StringIO()
    Console(width=400, file=written).print(shown(status_document(home.station)))
    return written.getvalue()


def metric(home: Home, name: str) -> dict[str, float]:
    found: list[Metric] = [one for one in families(look_at(home.station)) if one.name == name]
    return {",".join(sample.labels.values()): sample.value for one in found for sample in one.samples}


def cannot_be_read(home: Home) -> None:
    """What the engine before said of a part stands in the journal without what it said."""
    last = home.plant.journal.last_record
    home.plant.journal.write_event("shadow", {"candidate": FACTORY}, record_id=last)


def test_status_and_metrics_say_how_far_a_trial_is(home: Home) -> None:
    assert "has judged" not in status(home)
    activate(home)
    home.inspect(7)
    home.keeper.look()
    assert f"{home.new[:12]} has judged 7 of 100 parts; not compared: rejected parts" in status(home)
    assert metric(home, "station_installed_engines_info") == {f"active,{home.new[:12]},trial": 1}
    assert (metric(home, "station_trial_parts"), metric(home, "station_trial_parts_wanted")) == (
        {"": 7}, {"": 100},
    )  # fmt: skip
    home.station.roll_back(why="enough", by="J. Novak")
    home.keeper.look()
    assert "has judged" not in status(home)
    assert metric(home, "station_trial_parts") == {}


def test_an_engine_whose_trial_cannot_be_watched_goes_back_and_stays_back(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    activate(home)
    home.inspect(2)
    cannot_be_read(home)
    for _ in range(BLIND_ROUNDS - 1):
        home.keeper.look()
    assert home.state() is EngineState.TRIAL
    errors = [one.message[:15] for one in caplog.records if one.levelname == "ERROR"]
    assert errors == ["engines: trial:"], "once, and not in every round"
    assert "the trial is not watched, and its engine goes back soon" in status(home)
    assert "an error of this software (KeyError('agrees')); please report it" in status(home)
    assert metric(home, "station_new_engines_problem")["trial"] == 1
    home.keeper.look()
    known = home.store.engines()
    assert (known.active, home.state()) == (FACTORY, EngineState.BAD)
    assert known.entry(home.new).why.startswith("its health could not be read 10 times in a row: an error")
    assert home.station.line.prepared.installed.digest == FACTORY  # type: ignore[union-attr]
    for _ in range(2 * BLIND_ROUNDS):
        home.keeper.look()
    assert home.store.engines().steps == known.steps, "nothing flaps"
    assert metric(home, "station_new_engines_problem")["trial"] == 0
    home.inspect(1)


def test_a_trial_that_can_be_watched_again_in_time_goes_on(home: Home) -> None:
    activate(home)
    home.inspect(2)
    home.keeper.look()
    state = home.store.folder / STATE
    whole = state.read_bytes()
    for _ in range(2):
        state.write_text("{")
        for _ in range(BLIND_ROUNDS - 1):
            home.keeper.look()
        state.write_bytes(whole)
        home.keeper.look()
    assert home.state() is EngineState.TRIAL
    assert home.station.line.unprepared == ""


def test_an_engine_in_trial_that_cannot_go_back_judges_no_further_part(home: Home) -> None:
    activate(home)
    home.inspect(2)
    home.keeper.look()
    state = home.store.folder / STATE
    whole = state.read_bytes()
    state.write_text("{")
    for _ in range(BLIND_ROUNDS):
        home.keeper.look()
    assert "put it back from a backup" in home.station.line.unprepared
    assert "then `station prepare` the recipe" in home.station.line.unprepared
    assert "must not go on" in status(home)
    state.write_bytes(whole)
    home.keeper.look()
    assert home.station.line.unprepared, "only a person lets it judge again"


def test_a_start_in_a_trial_that_cannot_be_watched_from_the_first_look_on_judges_no_further_part(
    home: Home, tiny_recipe: Recipe
) -> None:
    activate(home)
    home.station.line.prepare(first_that_judges(home.station.config, tiny_recipe).prepared)
    keeper = EngineKeeper(home.station, home.folder / "station.yaml")
    (home.store.folder / STATE).write_text("{")
    for _ in range(BLIND_ROUNDS):
        keeper.look()
    assert "must not go on" in home.station.line.unprepared


def test_a_rollback_that_finds_no_engine_leaves_none_that_judges(home: Home) -> None:
    activate(home)
    (home.store.factory / "model.onnx").unlink()
    with pytest.raises(EngineError):
        home.station.roll_back(why="too many rejects", by="J. Novak")
    assert "`station prepare` the recipe" in home.station.line.unprepared
    assert home.steps()[-1] == (FACTORY[:6], "active")


def test_a_proof_that_cannot_begin_keeps_no_trial_from_being_watched(
    home: Home, tiny_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = home.station.config
    prove = config.new_engines.model_copy(update={"prove": True})
    object.__setattr__(home.station, "config", config.model_copy(update={"new_engines": prove}))
    installed(tiny_engine.parent, tiny_engine, home.folder, "another one")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    activate(home)
    home.inspect(3)
    home.keeper.look()
    assert "new engines are not proven" in status(home)
    assert "/nowhere/python" in status(home)
    assert "has judged 3 of 100 parts" in status(home)
    assert metric(home, "station_new_engines_problem") == {"trial": 0, "steps": 0, "proof": 1, "shadow": 0}
