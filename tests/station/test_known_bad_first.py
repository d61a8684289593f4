"""A recipe may ask that the known-bad part is rejected before anything is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from drivers.sorters.interface import Outcome
from station.challenge import Challenge
from station.line import Line
from station.line_values import LineSettings
from station.prepared import Prepared
from station.recipe import RecipeError, check_recipe
from tests.station.conftest import RECIPE, ScriptedEngine
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from tests.station.conftest import Plant

FIRST = RECIPE + "decision: {known_bad_first: scratches}\n"
BAD = np.array([[0.1, 0.9], [0.9, 0.1]], np.float32)


def prepared(digit: str = "0") -> Prepared:
    recipe = check_recipe(Path("strip.yaml"), FIRST.encode())
    return Prepared(recipe, ScriptedEngine(digit), challenge=Challenge(recipe))


def line_of(plant: Plant, first: Prepared) -> Line:
    line = Line(
        camera=plant.camera, sorter=plant.sorter, prepared=first, journal=plant.journal,
        settings=LineSettings(deadline_s=5.0, stop_timeout_s=2.0),
    )  # fmt: skip
    plant.lines.append(line)
    return line


def test_nothing_is_accepted_until_the_known_bad_part_was_rejected_also_after_a_changeover(
    plant: Plant,
) -> None:
    first, second = prepared(), prepared("1")
    line = line_of(plant, first)
    plant.sorter.ask(1, 2)
    line.start(parts=5)
    wait_for(lambda: len(plant.sorter.told) == 2)
    assert "F307 place the known-bad part (scratches)" in line.status().reason
    first.engine.script = [BAD]  # type: ignore[attr-defined]
    plant.sorter.ask(3, 4)
    wait_for(lambda: len(plant.sorter.told) == 4)
    assert line.status().reason == ""
    line.prepare(second)
    plant.sorter.ask(5)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {
        1: Outcome.FAULT, 2: Outcome.FAULT, 3: Outcome.REJECT, 4: Outcome.ACCEPT, 5: Outcome.FAULT,
    }  # fmt: skip
    assert plant.reason(1).startswith("F307 the known-bad part (scratches) has not been rejected yet")


def test_a_class_as_which_nothing_is_rejected_is_refused() -> None:
    for name in ("defect-free", "burr", "unknown"):
        with pytest.raises(RecipeError, match=r"as which no part is ever rejected: write one of scratches"):
            check_recipe(Path("strip.yaml"), FIRST.replace("first: scratches", f"first: {name}").encode())
