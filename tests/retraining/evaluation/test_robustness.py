"""Disturbed frames go the station's own way, in grades, and a killed run goes on."""

from pathlib import Path

import numpy as np
import pytest

from retraining.errors import DatasetError
from retraining.evaluation.part_runs import PartLog
from retraining.evaluation.proportions import ends, parts_needed, shown
from retraining.evaluation.robustness import (
    DISTURBANCES,
    UNDISTURBED,
    Grade,
    by_grade,
    disturbed,
    draw_robustness,
    grades,
    measure_robustness,
    robustness_table,
    write_figures,
)
from simulation.truth import Box
from station.recipe import Recipe, load_recipe

PRODUCT = Box(40, 10, 120, 180)


@pytest.fixture(scope="module")
def housing() -> Recipe:
    return load_recipe(Path(__file__).parents[3] / "recipes" / "servo-motor-housing.yaml")


@pytest.fixture
def frame() -> np.ndarray:
    rng = np.random.default_rng(0)
    frame = np.full((200, 200), 4, np.uint8)
    frame[10:190, 40:160] = rng.normal(120, 8, (180, 120)).astype(np.uint8)
    return frame


def never(patches: np.ndarray) -> np.ndarray:
    pytest.fail("everything was inspected before")


def alarmist(patches: np.ndarray) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[np.full(len(patches), 2)]


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_more_of_a_disturbance_changes_more(frame: np.ndarray, kind: str) -> None:
    before = frame.copy()
    neutral = DISTURBANCES[kind].neutral
    sides = [[s for s in DISTURBANCES[kind].strengths if (s > neutral) == above] for above in (True, False)]
    for side in sides:
        by_distance = sorted(side, key=lambda strength: abs(strength - neutral))
        made = [disturbed(frame, PRODUCT, Grade(kind, strength), 5) for strength in by_distance]
        changes = [np.abs(m.astype(int) - frame).mean() for m in made]
        assert changes == sorted(changes)
        assert all(m.shape == frame.shape and m.dtype == np.uint8 for m in made)
        assert all(c > 0 for c in changes)
    np.testing.assert_array_equal(frame, before, "the frame itself stays as it was")


def test_the_same_seed_disturbs_alike_and_no_disturbance_is_none(frame: np.ndarray) -> None:
    grade = Grade("noise", 8.0)
    np.testing.assert_array_equal(disturbed(frame, PRODUCT, grade, 1), disturbed(frame, PRODUCT, grade, 1))
    assert not np.array_equal(disturbed(frame, PRODUCT, grade, 1), disturbed(frame, PRODUCT, grade, 2))
    np.testing.assert_array_equal(disturbed(frame, PRODUCT, Grade(UNDISTURBED, 0.0), 1), frame)
    assert grades()[0].kind == UNDISTURBED
    with pytest.raises(DatasetError, match="use blur, noise"):
        grades(("earthquake",))


def test_natural_scratches_and_glare_lie_on_the_product_only(frame: np.ndarray) -> None:
    for kind in ("scratches", "glare"):
        made = disturbed(frame, PRODUCT, Grade(kind, 4.0), 3)
        ys, xs = np.nonzero(made != frame)
        assert xs.min() >= 40
        assert xs.max() < 160
        assert ys.min() >= 10
        assert ys.max() < 190


def test_every_grade_counts_every_part_and_a_kept_run_is_not_repeated(
    housing: Recipe, tmp_path: Path
) -> None:
    options = {"per_class": 1, "seed": 9998, "kinds": ("gain",), "processes": 2}
    found = measure_robustness({"alarmist": alarmist}, housing, tmp_path / "run", **options)
    rows = by_grade(found)
    assert [r.grade for r in rows] == grades(("gain",))
    assert all(r.figures.parts == 5 for r in rows)
    assert rows[0].figures.overkill == 1
    too_bright = rows[-1].figures
    assert too_bright.faults > 0, "a part too bright to be inspected is a fault"
    again = measure_robustness({"alarmist": never}, housing, tmp_path / "run", **options)
    assert again == found
    with pytest.raises(DatasetError, match="holds another run"):
        measure_robustness({"other": never}, housing, tmp_path / "run", **options)

    table = robustness_table(rows)
    assert "| alarmist | gain | 1.8 |" in table
    write_figures(rows, tmp_path / "curves.csv")
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows)
    assert lines[0].startswith("engine,kind,strength,parts")
    draw_robustness(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_a_line_half_written_when_the_power_went_is_dropped(tmp_path: Path) -> None:
    log = PartLog(tmp_path, "test", {"a": 1}, {})
    log.add(0, ["kept"])
    log.add(1, ["kept"])
    with (tmp_path / "parts.jsonl").open("a") as file:
        file.write('[2, ["lo')
    again = PartLog(tmp_path, "test", {"a": 1}, {})
    assert again.records == {0: ["kept"], 1: ["kept"]}
    again.add(2, ["whole"])
    assert PartLog(tmp_path, "test", {"a": 1}, {}).records[2] == ["whole"]


def test_the_interval_of_no_hit_is_open_upwards() -> None:
    assert ends(0, 0) == (0.0, 1.0)
    assert ends(0, 100) == (0.0, pytest.approx(0.037, abs=0.001))
    assert ends(10, 40) == (pytest.approx(0.142, abs=0.002), pytest.approx(0.402, abs=0.002))
    assert ends(0, parts_needed(0.01))[1] <= 0.01 < ends(0, parts_needed(0.01) - 1)[1]
    assert shown(3, 40) == "3 of 40 (7.5%, 2.6 to 19.9)"
