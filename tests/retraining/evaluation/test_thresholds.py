"""Thresholds to a target escape rate, counted by the station's own decision and written into recipes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from drivers.sorters.interface import Outcome
from retraining.data.manifest import Dataset, Picture, file_digest
from retraining.data.synthetic import write_png
from retraining.errors import DatasetError
from retraining.evaluation.recipe_numbers import recipe_lines, write_recipe
from retraining.evaluation.scored_parts import (
    UNKNOWN,
    ScoredPart,
    known_patches,
    patch_labels,
    picture_parts,
    rendered_parts,
    surface_parts,
)
from retraining.evaluation.temperature import expected_calibration_error, fit_temperature
from retraining.evaluation.threshold_report import (
    classes_table,
    draw_trade_off,
    points_table,
    temperature_line,
    write_points,
)
from retraining.evaluation.thresholds import (
    LEVELS,
    NEUTRAL,
    choose,
    common_levels,
    critical_levels,
    operating_point,
    trade_off,
    with_levels,
)
from retraining.surfaces import Surfaces
from station.decision import decide, tempered
from station.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"


def part(label: int, *patches: tuple[float, float, float]) -> ScoredPart:
    """A toy part of four patches; those that are not given are surely good."""
    sure = (0.998, 0.001, 0.001)
    scores = np.array([*patches, *[sure] * (4 - len(patches))], np.float32)
    return ScoredPart("toy", (label,), scores, np.full(4, UNKNOWN, np.int64))


def parts_in_doubt() -> list[ScoredPart]:
    """Spots are found, lines hardly: one escapes, and stains on good parts look like spots."""
    return [
        *[part(0) for _ in range(8)],
        part(0, (0.4, 0.6, 0.0)),
        part(0, (0.3, 0.7, 0.0)),
        *[part(1, (0.05, 0.95, 0.0)) for _ in range(5)],
        *[part(2, (0.1, 0.0, 0.9)) for _ in range(4)],
        part(2, (0.8, 0.0, 0.2)),
    ]


def test_algorithm_1_is_the_neutral_level(toy_recipe: Recipe) -> None:
    parts = parts_in_doubt()
    point = operating_point(parts, toy_recipe, (NEUTRAL, NEUTRAL), 1.0)
    assert (point.escapes, point.overkill, point.right, point.faults) == (1, 2, 17, 0)
    assert with_levels(toy_recipe, (NEUTRAL, NEUTRAL), 1.0) == toy_recipe


def test_thresholds_save_overkill_and_catch_escapes(toy_recipe: Recipe) -> None:
    points = trade_off(parts_in_doubt(), toy_recipe, 1.0)
    best = choose(points, 0.0)
    assert (best.escapes, best.overkill) == (0, 0)
    spots, lines = best.levels
    assert 0.7 < spots <= 0.95, "stains up to 0.7 are let pass, spots from 0.95 on are not"
    assert lines <= 0.2, "a line of 0.2 is caught"
    recipe = with_levels(toy_recipe, best.levels, 1.0)
    assert recipe.classes[1].release_below == spots
    assert recipe.classes[2].threshold == lines


def test_a_class_that_needs_nothing_stays_with_algorithm_1(toy_recipe: Recipe) -> None:
    parts = [part(0), part(0), part(1, (0.05, 0.95, 0.0)), part(2, (0.1, 0.0, 0.9))]
    assert choose(trade_off(parts, toy_recipe, 1.0), 0.0).levels == (NEUTRAL, NEUTRAL)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.lists(st.sampled_from(LEVELS), min_size=2, max_size=2),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_the_search_counts_as_the_station_decides(
    toy_recipe: Recipe, seed: int, levels: list[float], temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet((0.8, 0.4, 0.4), 4).astype(np.float32)
    one = ScoredPart("random", (0,), scores, np.zeros(4, np.int64))
    reach = critical_levels([one], toy_recipe, temperature)[0]
    verdict = decide(scores, with_levels(toy_recipe, levels, temperature))
    assert (verdict.outcome == Outcome.REJECT) == bool((reach >= levels).any())


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_the_curve_never_buys_escapes_for_nothing(toy_recipe: Recipe, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(30):
        label = number % 3
        lean = np.full((4, 3), (6.0, 0.7, 0.7))
        lean[0, label] += 5.0 if label else 0.0
        scores = np.stack([rng.dirichlet(row) for row in lean]).astype(np.float32)
        parts.append(ScoredPart(f"p{number}", (label,), scores, np.zeros(4, np.int64)))
    points = trade_off(parts, toy_recipe, 1.0)
    neutral = operating_point(parts, toy_recipe, (NEUTRAL, NEUTRAL), 1.0)
    assert neutral in points
    at_least = choose(points, neutral.escape_rate)
    assert at_least.overkill <= neutral.overkill
    targets = (0.0, 0.1, 0.2, 0.5, 0.9)
    overkill = []
    for target in targets:
        try:
            overkill.append(choose(points, target).overkill)
        except DatasetError:
            continue
    assert overkill == sorted(overkill, reverse=True)


def test_a_target_that_cannot_be_shown_is_refused_with_the_parts_it_takes(toy_recipe: Recipe) -> None:
    points = trade_off(parts_in_doubt(), toy_recipe, 1.0)
    with pytest.raises(DatasetError, match="it takes 381 defective parts"):
        choose(points, 0.01, surely=True)
    assert choose(points, 0.4, surely=True).escapes == 0
    blind = [part(0, (0.5, 0.4, 0.1)), part(1)]
    with pytest.raises(DatasetError, match="train further"):
        choose(trade_off(blind, toy_recipe.model_copy(), 0.05), 0.0)
    with pytest.raises(DatasetError, match="good and defective"):
        trade_off([part(0)], toy_recipe, 1.0)


def test_a_part_that_is_not_cut_is_a_fault_at_every_level(toy_recipe: Recipe) -> None:
    uncut = ScoredPart("dark", (0,), None, np.zeros(4, np.int64), "too dark")
    points = trade_off([*parts_in_doubt(), uncut], toy_recipe, 1.0)
    assert all(p.faults == 1 and p.overkill >= 1 for p in points)


def test_a_network_that_is_too_sure_is_cooled_down() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (4000, 3))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in honest])
    sure = tempered(honest.astype(np.float32), 1 / 2.5).astype(np.float32)
    found = fit_temperature(sure, labels)
    assert found.value == pytest.approx(2.5, rel=0.06)
    assert found.nll_after < found.nll_before
    assert found.ece_after < 0.03 < found.ece_before
    assert expected_calibration_error(tempered(sure, found.value), labels) == found.ece_after
    assert f"Temperature {found.value:g} from 4000 patches" in temperature_line(found)
    with pytest.raises(DatasetError, match="two classes"):
        fit_temperature(sure, np.zeros(4000, np.int64))


def test_probabilities_of_zero_do_not_break_the_fit() -> None:
    scores = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    found = fit_temperature(scores, np.array([0, 1, 2, 1]))
    assert np.isfinite(found.nll_after)
    assert found.value > 1.0


def test_patches_are_labelled_as_in_training(toy_recipe: Recipe, toy_surfaces: Surfaces) -> None:
    for index in range(3):
        labels = patch_labels(toy_surfaces.masks[index], toy_recipe)
        assert sorted(labels) == [0, 0, 0, index]
    peeking = np.zeros((256, 256), np.uint8)
    peeking[60:64, 20:130] = 2
    assert patch_labels(peeking, toy_recipe).tolist() == [2, UNKNOWN, 0, 0]


def test_surfaces_and_data_sets_are_scored(
    toy_recipe: Recipe, toy_surfaces: Surfaces, tmp_path: Path
) -> None:
    def score(patches: np.ndarray) -> np.ndarray:
        bright = (patches.reshape(len(patches), -1) > 160).sum(axis=1) > 60
        return np.where(bright[:, None], [0.1, 0.5, 0.4], [0.9, 0.06, 0.04]).astype(np.float32)

    parts = surface_parts(toy_surfaces, toy_recipe, score)
    assert [p.labels for p in parts] == [(0,), (1,), (2,)] * 3
    _, labels = known_patches(parts)
    assert np.bincount(labels).tolist() == [30, 3, 3]

    pictures = []
    for index in range(3):
        name = toy_surfaces.classes[toy_surfaces.part_class(index)]
        write_png(tmp_path / f"{index}.png", toy_surfaces.pixels[index])
        digest = file_digest(tmp_path / f"{index}.png")
        who = "station" if index == 2 else "person"
        pictures.append(Picture(f"{index}.png", digest, name, str(index), "folder", who, "validation"))
    write_png(tmp_path / "black.png", np.zeros((256, 256), np.uint8))
    digest = file_digest(tmp_path / "black.png")
    pictures.append(Picture("black.png", digest, "good", "b", "folder", "person", "validation"))
    dataset = Dataset(tmp_path, toy_surfaces.classes, tuple(pictures))
    found = picture_parts(dataset, toy_recipe, score, "validation")
    assert [p.labels for p in found] == [(0,), (1,), (0,)], "a label by the station is not trusted"
    assert found[0].patch_labels.tolist() == [0] * 4
    assert found[1].patch_labels.tolist() == [UNKNOWN] * 4, "a part's class does not say which patch shows it"
    assert found[2].scores is None
    assert "black" in found[2].reason
    with pytest.raises(DatasetError, match="no picture of split"):
        picture_parts(dataset, toy_recipe, score, "test")


def test_rendered_parts_are_kept_with_their_scores(tmp_path: Path) -> None:
    housing = load_recipe(RECIPES / "servo-motor-housing.yaml")

    def flat(patches: np.ndarray) -> np.ndarray:
        return np.full((len(patches), 5), 0.2, np.float32)

    def never(patches: np.ndarray) -> np.ndarray:
        pytest.fail("everything was scored before")

    options = {"digests": ("a",), "per_class": 1, "seed": 9998, "processes": 2}
    parts = rendered_parts(flat, housing, tmp_path, **options)
    assert [p.labels for p in parts] == [(0,), (1,), (2,), (3,), (4,)]
    assert all(set(p.patch_labels) <= {UNKNOWN, 0, *p.labels} for p in parts)
    assert parts[0].patch_labels.tolist() == [0] * 16
    again = rendered_parts(never, housing, tmp_path, **options)
    np.testing.assert_array_equal(again[3].scores, parts[3].scores)
    with pytest.raises(DatasetError, match="holds another run"):
        rendered_parts(never, housing, tmp_path, **{**options, "digests": ("b",)})


def test_the_curve_is_drawn_and_written(toy_recipe: Recipe, tmp_path: Path) -> None:
    parts = parts_in_doubt()
    points = trade_off(parts, toy_recipe, 1.0)
    best = choose(points, 0.0)
    table = points_table(points, best, toy_recipe)
    assert table.count("**chosen**") == 1
    assert "| Algorithm 1 | Algorithm 1 | Algorithm 1 | 1 of 10" in table
    assert "| line | 1 of 5" in classes_table(parts, toy_recipe, with_levels(toy_recipe, best.levels, 1.0))
    common = common_levels(parts, toy_recipe, 1.0)
    assert [p.escapes for p in common] == sorted(p.escapes for p in common)
    assert [p.overkill for p in common] == sorted((p.overkill for p in common), reverse=True)
    write_points(points, common, best, toy_recipe, tmp_path / "curve.csv")
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0].startswith("point,level spot,level line,parts")
    assert len(lines) == 1 + len(points) + len(LEVELS[::2])
    assert sum(line.startswith("chosen,") for line in lines) == 1
    patches = (np.tile(np.array([[0.7, 0.2, 0.1]], np.float32), (4, 1)), np.array([0, 0, 0, 1]))
    draw_trade_off(points, common, best, 0.01, tmp_path / "curve.png", patches, 1.5)
    assert (tmp_path / "curve.png").stat().st_size > 5000


@pytest.mark.parametrize("name", ["servo-motor-housing", "commutator"])
def test_a_recipe_is_copied_with_the_numbers_and_nothing_else_changed(name: str, tmp_path: Path) -> None:
    original = RECIPES / f"{name}.yaml"
    recipe = load_recipe(original)
    levels = [0.02, 0.9731, 0.5, 0.11][: len(recipe.classes) - 1]
    wanted = with_levels(recipe, levels, 1.25)
    written = write_recipe(original, tmp_path / "new.yaml", wanted)
    assert written.classes == wanted.classes
    assert written.decision.temperature == 1.25
    assert written.version == recipe.version + 1
    same = {"classes", "decision", "version", "digest", "text"}
    assert written.model_dump(exclude=same) == recipe.model_dump(exclude=same)
    before, after = original.read_text().splitlines(), (tmp_path / "new.yaml").read_text().splitlines()
    assert [line for line in before if "#" in line] == [line for line in after if "#" in line]
    with pytest.raises(DatasetError, match="exists"):
        write_recipe(original, tmp_path / "new.yaml", wanted)


@pytest.mark.parametrize(
    "decision",
    [
        "",
        "decision: {}\n",
        "decision: {temperature: 2.0}\n",
        "decision: {unknown: reject, unknown_bin: 9}\n",
        "decision:  # by hand\n  unknown: reject\n  unknown_bin: 9\n",
        "decision:\n  unknown: reject\n  temperature: 2.0\n  unknown_bin: 9\n",
    ],
)
def test_a_recipe_in_any_style_can_take_the_numbers(
    toy_recipe: Recipe, tmp_path: Path, decision: str
) -> None:
    text = """name: toy
version: 3 # the third
product: {background: none, widths_px: [256], height_px: 256, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 256, width: 256}
patch: {size: 128}
engine: toy
fault_bin: 4
classes:
  - name: good
    bin: 1   # the first bin
  # what follows is bad
  - name: spot
    bin: 2
    threshold: 0.3
  - {name: line,
     bin: 3}
# the end
"""
    (tmp_path / "old.yaml").write_text(text + decision)
    recipe = load_recipe(tmp_path / "old.yaml")
    wanted = with_levels(recipe, (NEUTRAL, 0.97), 1.5)
    written = write_recipe(tmp_path / "old.yaml", tmp_path / "new.yaml", wanted)
    assert written.classes == wanted.classes
    assert (written.decision.temperature, written.version) == (1.5, 4)
    assert (written.decision.unknown_bin == 9) == ("unknown" in decision)
    assert "# what follows is bad" in (tmp_path / "new.yaml").read_text()
    assert "- {name: line, bin: 3, release_below: 0.97}" in recipe_lines(wanted)


def test_the_command_refuses_to_overwrite_a_recipe(tmp_path: Path) -> None:
    from retraining.cli import app

    there = tmp_path / "there.yaml"
    there.write_text("")
    result = CliRunner().invoke(app, ["thresholds", "--recipes", str(RECIPES), "--write", str(there)])
    assert isinstance(result.exception, DatasetError)
    assert "exists" in str(result.exception)
