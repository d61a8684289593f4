"""Evaluation on whole frames: counts, seeds, tables, golden parts."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.golden import DoubtfulPartError
from retraining.errors import DatasetError, ExportError
from retraining.evaluation.parts import (
    PartResult,
    evaluate,
    figures,
    inspect_frames,
    rendered_test_parts,
    write_results,
)
from retraining.evaluation.report import confusion_table, draw_detection, evaluation_report
from retraining.shipping.engine import renew_golden_parts
from retraining.shipping.export import golden_parts
from retraining.surfaces.rendered import GOLDEN_SEEDS, TRAINING_SEEDS, Mixture, render_surfaces
from station.engines.folder import load_manifest, read_golden
from station.engines.interface import EngineError
from station.recipe import Recipe, load_recipe

CLASSES = ("defect-free", "imprinted", "pits", "roll-marks", "scratches")


@pytest.fixture(scope="module")
def housing() -> Recipe:
    return load_recipe(Path(__file__).parents[3] / "recipes" / "servo-motor-housing.yaml")


def always(label: int):
    def score(patches: np.ndarray) -> np.ndarray:
        return np.eye(5, dtype=np.float32)[np.full(len(patches), label)]

    return score


def result(truth: str, found: str, also: str = "", level: str = "clear") -> PartResult:
    defective = truth != CLASSES[0]
    outcome = "fault" if found == "fault" else "accept" if found == CLASSES[0] else "reject"
    return PartResult(
        "e",
        1,
        570,
        truth,
        also or truth,
        level if defective else "",
        8.0,
        12.0,
        60.0,
        outcome,
        found,
        0.9,
        "",
    )


def test_every_engine_sees_every_part_once(housing: Recipe) -> None:
    engines = {"blind": always(0), "alarmist": always(2)}
    results = evaluate(engines, housing, rendered_test_parts(housing, 1, 9998))
    assert [r.engine for r in results] == ["blind", "alarmist"] * 5
    blind, alarmist = figures(results).values()
    assert (blind.parts, blind.good, blind.defective, blind.escapes, blind.overkill) == (5, 1, 4, 4, 0)
    assert (alarmist.right, alarmist.escapes, alarmist.overkill) == (1, 0, 1)


def test_a_frame_without_a_product_is_a_fault(housing: Recipe) -> None:
    verdict = inspect_frames([np.zeros((3648, 5472), np.uint8)], housing, always(0))
    assert verdict.outcome == "fault"


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from((*CLASSES, "fault"))), min_size=1))
def test_counts_balance_whatever_was_found(pairs: list[tuple[str, str]]) -> None:
    results = [result(truth, found) for truth, found in pairs]
    (found,) = figures(results).values()
    assert found.good + found.defective == found.parts == len(pairs)
    assert found.right + found.escapes + found.overkill <= found.parts
    cells = [
        int(cell)
        for line in confusion_table(results, "e", CLASSES).splitlines()[2:]
        for cell in line.strip("|").split("|")[1:]
    ]
    assert sum(cells) == len(pairs)


def test_naming_any_kind_on_a_part_is_right() -> None:
    part = result("pits", "scratches", also="pits+scratches")
    assert part.right
    assert "| scratches | 0 | 0 | 0 | 0 | 1 | 0 |" in confusion_table([part], "e", CLASSES)


def test_an_accepted_defect_is_an_escape_and_a_rejected_good_part_overkill() -> None:
    assert result("pits", CLASSES[0]).escaped
    assert result(CLASSES[0], "pits").overkilled
    assert result(CLASSES[0], "fault").overkilled
    assert not result("pits", "fault").escaped


def test_the_report_holds_every_table(tmp_path: Path) -> None:
    results = [result(CLASSES[0], CLASSES[0]), result("pits", "pits"), result("scratches", CLASSES[0])]
    text = evaluation_report(results, CLASSES)
    assert "| e | 3 | 66.67% | 1 of 2 (50.00%) | 0 of 1 (0.00%) | 0 |" in text
    assert text.count("detected") == 3
    draw_detection(results, tmp_path / "curve.png")
    write_results(results, tmp_path / "parts.csv")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert len((tmp_path / "parts.csv").read_text().splitlines()) == 4


def test_test_golden_and_training_parts_share_no_seed(housing: Recipe) -> None:
    parts = list(rendered_test_parts(housing, 1, 9998))
    assert all(p.truth.seed < GOLDEN_SEEDS < TRAINING_SEEDS for p in parts)
    with pytest.raises(DatasetError, match="use 0 to 9998"):
        next(rendered_test_parts(housing, 1, 9999))


def test_a_rendered_set_is_reproducible_and_kept(housing: Recipe, tmp_path: Path) -> None:
    mixture = Mixture(sound_share=0.0, defects=(1, 2))
    first = render_surfaces(housing, 2, 5, tmp_path / "one", mixture=mixture, processes=1)
    again = render_surfaces(housing, 2, 5, tmp_path / "two", mixture=mixture, processes=2)
    kept = render_surfaces(housing, 2, 5, tmp_path / "one", mixture=mixture, processes=1)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.masks, kept.masks)
    assert first.pixels.shape == (2, 2048, 512, 1)
    assert all(first.part_class(n) for n in range(2))
    with pytest.raises(DatasetError, match="holds another set"):
        render_surfaces(housing, 3, 5, tmp_path / "one", mixture=mixture)


def test_only_products_that_the_simulation_knows_are_rendered(toy_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Train on pictures instead"):
        render_surfaces(toy_recipe, 1, 1, tmp_path)


def test_a_network_that_is_never_right_gets_no_golden_parts(housing: Recipe) -> None:
    def never(truth: str, patches: np.ndarray) -> None:
        raise DoubtfulPartError(f"{truth} is taken for fog")

    with pytest.raises(ExportError, match=r"the last: defect-free is taken for fog.*train further"):
        golden_parts(housing, never, tries=1)


def test_a_refused_golden_part_is_replaced_and_the_others_stay(housing: Recipe) -> None:
    seen: list[str] = []

    def picky(truth: str, patches: np.ndarray) -> None:
        assert patches.shape == (16, 256, 256, 1)
        seen.append(truth)
        if len(seen) == 1:
            raise DoubtfulPartError("on the edge")

    clear = golden_parts(housing, lambda truth, patches: None, count=2)
    chosen = golden_parts(housing, picky, count=2)
    assert seen == ["defect-free", "defect-free", "imprinted"]
    assert not np.array_equal(chosen[0][1], clear[0][1])
    np.testing.assert_array_equal(chosen[1][1], clear[1][1])


def test_golden_parts_are_renewed_only_for_the_recipes_classes(housing: Recipe, tiny_engine: Path) -> None:
    with pytest.raises(EngineError, match="name the recipe it was trained for"):
        renew_golden_parts(tiny_engine, housing)


@pytest.mark.slow
def test_the_shipped_golden_parts_are_those_that_the_rule_chooses(housing: Recipe, tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "engines" / housing.engine
    copy = Path(shutil.copytree(folder, tmp_path / housing.engine))
    before, after = load_manifest(folder), renew_golden_parts(copy, housing)
    assert after.digests == before.digests
    assert after.figures == before.figures
    for old, new in zip(before.golden, after.golden, strict=True):
        assert old.name == new.name
        np.testing.assert_array_equal(read_golden(before, old), read_golden(after, new))
        for precision, scores in old.scores.items():
            np.testing.assert_allclose(new.scores[precision], scores, atol=before.int8_tolerance)
