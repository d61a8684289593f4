"""From the proof to the shadow and on to the line: by itself, by a person, or by the rule."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from station.cli import app
from station.engines.states import EngineState
from station.spare.engine import open_judging
from station.spare.patience import Limits
from tests.station.test_way_home import home, wait_for

if TYPE_CHECKING:
    from tests.station.test_way_home import Home

__all__ = ["home"]


@pytest.fixture
def promote() -> str:
    return "person"


@pytest.fixture
def settings(promote: str) -> str:
    """What the fixture ``home`` adds to its configuration."""
    return f"shadow: {{worse_below: 0.3, promote: {promote}}}\n"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine has no spare time for a while."""
    opens = partial(open_judging, limits=Limits(gives_way=False))
    monkeypatch.setattr("station.spare.engine.open_judging", opens)


def has_seen(home: Home, parts: int) -> bool:
    return home.station.observers.status()[0].observed >= parts


def judge(home: Home, parts: int) -> None:
    """Let parts go through, and the shadow see each of them."""
    for _ in range(parts):
        wanted = home.station.observers.status()[0].observed + 1
        home.inspect(1)
        wait_for(partial(has_seen, home, wanted))


@pytest.mark.parametrize(
    ("promote", "state"), [("rule", EngineState.TRIAL), ("person", EngineState.SHADOWING)]
)
def test_a_proven_engine_shadows_by_itself_and_the_rule_makes_it_active_when_it_is_good_enough(
    home: Home, state: EngineState
) -> None:
    home.keeper.look()
    assert home.state() is EngineState.SHADOWING
    judge(home, 12)
    wait_for(lambda: "may be promoted" in home.station.observers.status()[0].note)
    home.keeper.look()
    assert home.state() is state
    if state is EngineState.TRIAL:
        step = home.store.engines().steps[-1]
        assert (step.by, step.why[:25]) == ("rule", "in the shadow: worse on 0")
        judge(home, 1)
        wait_for(lambda: "the engine before, factory" in home.station.observers.status()[0].note)


def test_a_person_names_who_shadows(home: Home) -> None:
    (home.folder / "recipes").mkdir()
    (home.folder / "tiny.yaml").rename(home.folder / "recipes" / "tiny.yaml")
    config = str(home.folder / "station.yaml")
    done = CliRunner().invoke(
        app, ["engines", "shadow", home.new[:8], "--config", config, "--by", "J. Novak"]
    )
    assert done.exit_code == 0, done.output
    assert "shadows from now on" in done.output
    assert home.state() is EngineState.SHADOWING
    assert home.store.engines().steps[-1].by == "J. Novak"
    end = ["engines", "shadow", "--end", "--config", config, "--by", "J. Novak", "--why", "enough"]
    assert "no longer shadows" in CliRunner().invoke(app, end).output
    assert home.state() is EngineState.PROVEN
    home.keeper.look()
    assert home.store.engines().candidate == "", "not by itself again"
    assert home.steps()[-1] == (home.new[:6], "shadow ended")
    again = CliRunner().invoke(app, end)
    assert "no engine shadows" in str(again.exception)
    assert "either the digest of an engine, or --end" in CliRunner().invoke(app, end[:2] + end[3:]).output
