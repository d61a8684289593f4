"""A part that no class rejects and that is far from training: on the wire, in the journal, on the screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from drivers.sorters.interface import Outcome
from station.cli import app
from station.decision import UNKNOWN_CLASS, decide
from station.engines.interface import Scores
from station.outcomes import count_outcomes, judge
from station.patching import cut
from station.pictures.drawing import draw_picture, view_of_surface
from station.recipe import load_recipe
from tests.station.conftest import RECIPE, ScriptedEngine

if TYPE_CHECKING:
    from tests.station.conftest import Plant

ONE_CLASS = RECIPE.replace("  - {name: scratches, bin: 2}\n", "")
DECISION = "decision: {unknown: reject, unknown_bin: 4}\n"


class Judging(ScriptedEngine):
    """Every patch is good; the novelty is as the script says."""

    def __init__(self, classes: int, *novelty: tuple[float, float] | None) -> None:
        super().__init__()
        self.classes, self.novelty = classes, list(novelty)
        self.info = replace(self.info, novelty=True)

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        far = self.novelty.pop(0)
        sure = np.eye(self.classes, dtype=np.float32)[np.zeros(len(patches), int)]
        return Scores(sure, None, None if far is None else np.array(far, np.float32))


@pytest.mark.parametrize(("text", "classes"), [(RECIPE, 2), (ONE_CLASS, 1)], ids=["two classes", "one class"])
def test_an_unknown_part_is_rejected_to_its_own_bin_and_every_record_says_so(
    plant: Plant, tmp_path: Path, text: str, classes: int
) -> None:
    (tmp_path / "strip.yaml").write_text(text + DECISION)
    plant.recipe = load_recipe(tmp_path / "strip.yaml")
    nan = float("nan")
    plant.engine = Judging(classes, (0.5, 0.9), (0.1, 2.0), None, (nan, 0.0))
    line = plant.run(1, 2, 3, 4)
    assert plant.outcomes() == {1: Outcome.ACCEPT, 2: Outcome.REJECT, 3: Outcome.FAULT, 4: Outcome.FAULT}
    results = {result.part_id: result for result in plant.sorter.told}
    assert (results[2].bin, results[2].class_index) == (4, UNKNOWN_CLASS)
    assert plant.reason(2) == "patch 1: far from training, novelty 2 (threshold 1)"
    assert "the engine gives no novelty" in plant.reason(3)
    record = plant.records()[2]
    assert (record.class_name, record.class_index, record.bin, record.patch) == ("unknown", 254, 4, 1)
    assert record.patch_labels == {1: 254}
    assert line.status().statistics.classes == {"unknown": 1}

    shown = CliRunner().invoke(
        app, ["journal", "show", str(record.record_id), "--journal", str(plant.journal.path)]
    )
    assert shown.exit_code == 0, shown.output
    assert "unknown" in shown.output
    summary = CliRunner().invoke(app, ["journal", "summary", "--journal", str(plant.journal.path)])
    assert summary.exit_code == 0, summary.output
    assert "unknown" in summary.output


def test_an_unknown_part_is_drawn_with_its_patches_marked(tmp_path: Path) -> None:
    (tmp_path / "strip.yaml").write_text(RECIPE + DECISION)
    recipe = load_recipe(tmp_path / "strip.yaml")
    patches = cut(np.full((32, 16), 100, np.uint8), recipe)
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    for novelty in ([1.5, 3.0], [1.5, 0.2]):
        verdict = decide(scores, recipe, np.array(novelty, np.float32))
        assert verdict.class_name == "unknown"
        names = [entry.name for entry in recipe.classes]
        assert draw_picture(view_of_surface("part 1", verdict, patches, scores, names)).size


def test_unknown_is_right_only_for_a_class_that_the_recipe_does_not_have() -> None:
    classes = ("good", "pits")
    judged = [
        judge((truth,), classes, "reject", "unknown") for truth in ("good", "pits", "a kind nobody named")
    ]
    counts = count_outcomes(judged)
    assert [one.right for one in judged] == [False, False, True]
    assert (counts.overkill, counts.escapes, counts.right) == (1, 0, 1)
