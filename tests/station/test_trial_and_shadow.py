"""What an engine said in the shadow, and what its trial makes of it: by the journal, on a running line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from station.engines.health import GROUP, IN_A_ROW
from station.engines.states import EngineState
from station.engines.store import install
from tests.conftest import TINY_RECIPE
from tests.station.engines.engine_store import FROM, engine, list_files, network
from tests.station.test_way_home import activate, home, settings

if TYPE_CHECKING:
    from drivers.cameras.interface import Frame
    from tests.station.test_way_home import Home

__all__ = ["home", "settings"]
GOOD, BRIGHT = 115.0, 190.0
SHADOWED = 60


def half_rejected(home: Home, parts: int) -> None:
    """Every second part, so that groups of parts differ little."""
    camera = home.plant.camera
    with pytest.MonkeyPatch.context() as patch:

        def in_turn(**changes: object) -> Frame:
            home.lamp = GOOD if home.lamp == BRIGHT else BRIGHT
            return home.frame()

        patch.setattr(camera, "good", in_turn)
        home.inspect(parts)
    home.lamp = GOOD


def would_reject_none(home: Home) -> None:
    """The new engine judged the latest parts in the shadow, and accepted all of them."""
    records = home.plant.records()
    for part in sorted(records)[-SHADOWED:]:
        outcome = str(records[part].outcome)
        said = {"candidate": home.new, "outcome": "accept", "verdict_outcome": outcome}
        values = said | {"agrees": outcome == "accept"}
        home.plant.journal.write_event("shadow", values, record_id=records[part].record_id)


def beside_the_engine_before(home: Home) -> None:
    half_rejected(home, SHADOWED)
    would_reject_none(home)


def beside_another_engine(home: Home) -> None:
    def darker(weights: dict[str, np.ndarray]) -> None:
        weights["head.b"][1] -= 0.5

    folder = engine(home.folder / "another", network(darker))
    (folder / "card.md").write_text("A test's.")
    list_files(folder, version=2)
    digest = install(home.store.factory.parent, "tiny", folder, FROM)
    home.store.change(lambda known: known.proven(digest, "in a test", by="station"))
    activate(home, digest)
    half_rejected(home, SHADOWED)
    would_reject_none(home)
    home.station.roll_back(why="not this one", by="J. Novak")


def of_another_recipe(home: Home) -> None:
    recipes = home.folder / "recipes"
    recipes.mkdir()
    for name in ("tiny", "small"):
        (recipes / f"{name}.yaml").write_text(TINY_RECIPE.replace("name: tiny", f"name: {name}"))
    home.station.prepare("small")
    half_rejected(home, SHADOWED)
    would_reject_none(home)
    home.station.prepare("tiny")


@pytest.mark.parametrize(
    ("shadow", "state"),
    [
        (beside_the_engine_before, EngineState.TRIAL),
        (beside_another_engine, EngineState.BAD),
        (of_another_recipe, EngineState.BAD),
    ],
    ids=["beside the engine before", "beside another engine", "of another recipe's parts"],
)
def test_a_trial_may_reject_as_few_parts_as_its_engine_did_in_the_shadow_of_the_same_engine_and_recipe(
    home: Home, shadow: object, state: EngineState
) -> None:
    assert callable(shadow)
    if state is EngineState.BAD:
        shadow(home)
    half_rejected(home, 100)
    if state is EngineState.TRIAL:
        shadow(home)
    activate(home)
    home.inspect(IN_A_ROW * GROUP)
    home.keeper.look()
    assert home.state() is state, home.store.engines().entry(home.new).why
    if state is EngineState.BAD:
        assert "rejected parts: 0 of 25" in home.store.engines().entry(home.new).why
