"""The store says which engine judges, and the line does as it says: also where a changeover ends half-way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from station.engine_keeper import note_steps
from station.engines.interface import EngineError
from station.engines.states import FACTORY, EngineState
from station.engines.store import STATE
from station.journal import JournalError
from tests.station.test_way_home import activate, home, settings

if TYPE_CHECKING:
    from tests.station.test_way_home import Home

__all__ = ["home", "settings"]


def judges(home: Home) -> str:
    """What judges the next part, by the line."""
    assert home.station.line.prepared.installed is not None
    return home.station.line.prepared.installed.digest


@pytest.mark.parametrize("written", [0, 1], ids=["at the store's step", "at the changeover"])
def test_an_activation_that_the_journal_does_not_take_is_taken_back_and_the_chain_says_so(
    home: Home, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = home.plant.journal
    note_steps(home.store, journal)
    before, write, left = home.store.engines(), journal.write_event, [written]

    def full(*event: object, **about: object) -> None:
        if not left[0]:
            raise JournalError("no room on the disk")
        left[0] -= 1
        write(*event, **about)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "write_event", full)
    with pytest.raises(JournalError, match="no room on the disk"):
        activate(home)
    now = home.store.engines()
    assert judges(home) == FACTORY
    assert (now.active, now.previous, now.candidate) == (FACTORY, FACTORY, "")
    assert now.entries == before.entries
    assert home.station.line.unprepared == ""
    monkeypatch.undo()
    home.keeper.look()
    assert home.steps()[-3:] == [(home.new[:6], "trial"), (home.new[:6], "proven"), (FACTORY[:6], "active")]
    assert "was not activated: no room on the disk" in now.steps[-1].why
    activate(home)
    assert judges(home) == home.new
    home.inspect(1)


def test_a_store_that_cannot_take_an_activation_back_leaves_no_engine_that_judges(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = home.store.folder / STATE

    def gone(*event: object, **about: object) -> NoReturn:
        state.write_text("{")
        raise JournalError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(home.plant.journal, "write_event", gone)
        with pytest.raises(JournalError, match="the disk is gone"):
            activate(home)
    assert "the store of engines still says so" in home.station.line.unprepared
    assert "put it back from a backup" in home.station.line.unprepared


def test_what_an_activation_is_taken_back_to_forgets_nothing_that_came_meanwhile(home: Home) -> None:
    before = home.store.engines()
    trial = before.activated(home.new, "a test", by="J. Novak", after_record=0, before="ab")
    bad = trial.failed(home.new, "its proof failed", by="J. Novak").taken_back(before, "late", by="station")
    assert bad.entry(home.new).state is EngineState.BAD
    assert bad.active == FACTORY


def test_an_engine_that_fails_its_proof_while_it_judges_gives_way(home: Home) -> None:
    activate(home)
    home.store.change(lambda known: known.failed(home.new, "a person proved it again", by="J. Novak"))
    assert judges(home) == home.new
    home.keeper.look()
    assert judges(home) == home.store.engines().active == FACTORY
    home.inspect(1)
    assert home.keeper.health is None


def test_a_bad_engine_that_nothing_can_follow_judges_no_further_part(home: Home) -> None:
    activate(home)
    (home.store.factory / "model.onnx").unlink()
    home.store.change(lambda known: known.failed(home.new, "a person proved it again", by="J. Novak"))
    home.keeper.look()
    assert "`station prepare` the recipe" in home.station.line.unprepared
    with pytest.raises(EngineError, match="no recipe is prepared"):
        activate(home)
