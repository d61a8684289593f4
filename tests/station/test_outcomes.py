"""Right, escape and overkill: one definition, and the same numbers on every screen."""

import csv
import io
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
from drivers.sorters.interface import Outcome
from retraining.evaluation.parts import PartResult, figures, inspect_frames
from retraining.evaluation.scored_parts import ScoredPart
from retraining.evaluation.thresholds import NEUTRAL, operating_point
from station.cli.inspect import inspect
from station.cli.summary import _confusion_table
from station.engines import open_engine
from station.engines.manifest import PartFigures
from station.observers.truth import GroundTruth
from station.outcomes import Outcomes, count_outcomes, judge
from station.patching import PatchingError, cut
from station.recipe import Recipe, load_recipe
from tests.conftest import TINY_CLASSES, tiny_surface

NAMES = ("good", "pits", "scratches")
VERDICTS = {
    "good": Outcome.ACCEPT,
    "pits": Outcome.REJECT,
    "scratches": Outcome.REJECT,
    "fault": Outcome.FAULT,
}


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(NAMES[1:]), max_size=2).map(lambda names: tuple(names) or ("good",)),
            st.sampled_from(sorted(VERDICTS)),
        )
    )
)
def test_every_part_is_right_an_escape_overkill_or_a_defect_under_another_name(
    pairs: list[tuple[tuple[str, ...], str]],
) -> None:
    judged = [judge(on_part, NAMES, VERDICTS[found], found) for on_part, found in pairs]
    counts = count_outcomes(judged)
    misnamed = sum(one.defective and not one.right and not one.escaped for one in judged)
    assert counts.right + counts.escapes + counts.overkill + misnamed == counts.parts == len(pairs)
    assert counts.good + counts.defective == counts.parts
    assert counts.good_faults <= min(counts.faults, counts.overkill)


def test_a_faulted_good_part_is_overkill_and_a_faulted_defective_part_no_escape() -> None:
    good, bad = judge(("good",), NAMES, "fault", "fault"), judge(("pits",), NAMES, "fault", "fault")
    counts = count_outcomes([good, bad])
    assert counts == Outcomes(2, 1, 1, right=0, escapes=0, overkill=1, faults=2, good_faults=1)


def test_figures_of_an_engine_are_the_same_counts() -> None:
    counts = count_outcomes(
        [judge(("good",), NAMES, "fault", "fault"), judge(("pits",), NAMES, "accept", "good")]
    )
    assert PartFigures(**asdict(counts)).outcomes == counts


class Shown(NamedTuple):
    truth: str
    picture: np.ndarray


@pytest.fixture
def shown() -> list[Shown]:
    """Good, bright and dark parts, some of them named wrongly, and black frames that nobody can inspect."""
    parts = [Shown(name, tiny_surface(name, 40 + n)) for n, name in enumerate(TINY_CLASSES * 3)]
    parts += [Shown("good", tiny_surface("dark", 60)), Shown("dark", tiny_surface("good", 61))]
    return [*parts, Shown("good", np.zeros((64, 32), np.uint8)), Shown("dark", np.zeros((64, 32), np.uint8))]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        """\
name: tiny
version: 1
product: {background: none, widths_px: [32], height_px: 64, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 64, width: 32, channels: 1}
patch: {size: 16}
engine: tiny
classes: [{name: good, bin: 1}, {name: bright, bin: 2}, {name: dark, bin: 3}]
fault_bin: 4
"""
    )
    return load_recipe(path)


def test_inspection_evaluation_thresholds_and_the_summary_of_a_run_count_alike(
    shown: list[Shown], recipe: Recipe, tiny_engine: Path, tmp_path: Path
) -> None:
    for number, part in enumerate(shown):
        write_image(tmp_path / "frames" / f"{number:02d}-{part.truth}.png", part.picture)
    app = typer.Typer()
    app.command()(inspect)
    done = CliRunner().invoke(
        app,
        [
            *(str(tmp_path / "frames"), "-r", str(tmp_path / "tiny.yaml"), "--csv", str(tmp_path / "v.csv")),
            *("--engines", str(tiny_engine.parent), "--backend", "onnxruntime-cpu", "--precision", "fp32"),
        ],
    )
    assert done.exit_code == 3, done.output
    with (tmp_path / "v.csv").open() as file:
        rows = list(csv.DictReader(file))
    inspected = count_outcomes(
        judge((part.truth,), TINY_CLASSES, row["outcome"], row["class_name"])
        for part, row in zip(shown, rows, strict=True)
    )

    known = GroundTruth(lambda part: None)
    results, scored = [], []
    with closing(open_engine(tiny_engine, backend="onnxruntime-cpu", precision="fp32")) as engine:
        for number, part in enumerate(shown):
            verdict = inspect_frames([part.picture], recipe, engine.probabilities)
            level = "" if part.truth == "good" else "clear"
            results.append(
                PartResult(
                    *("e", number, 32, part.truth, part.truth, level, 0.0, 0.0, 0.0),
                    *(str(verdict.outcome), verdict.class_name, verdict.confidence, verdict.reason),
                )
            )
            known.count(number, verdict, Truth(part.truth), list(TINY_CLASSES))
            labels = (TINY_CLASSES.index(part.truth),)
            try:
                scores = engine.probabilities(cut(part.picture, recipe).pixels)
            except PatchingError as error:
                scored.append(ScoredPart(str(number), labels, None, np.zeros(8, np.int64), str(error)))
            else:
                scored.append(ScoredPart(str(number), labels, scores, np.zeros(8, np.int64)))

    assert inspected == Outcomes(13, 5, 8, right=9, escapes=1, overkill=2, faults=2, good_faults=1)
    assert figures(results)["e"] == inspected
    assert known.confusion().outcomes == inspected
    point = asdict(operating_point(scored, recipe, (NEUTRAL,) * 2, 1.0))
    assert {name: point[name] for name in asdict(inspected)} == asdict(inspected)
    screen = Console(file=io.StringIO(), width=120)
    for line in _confusion_table(known.confusion()):
        screen.print(line)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "overkill (good, not accepted): 2 (part 9, 11)" in text
    assert "faulted: 2, 1 of them good and counted as overkill" in text


class Truth(NamedTuple):
    label: str

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.label,)
