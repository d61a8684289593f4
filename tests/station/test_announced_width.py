"""The width that a part is said to have is the only one that it may be found with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.sorters.handshake import may_be_the_same
from drivers.sorters.interface import Outcome
from simulation.camera import SimulatedSettings
from simulation.rendering.parts import render_part
from simulation.truth import TruthBook
from station.assembly import load
from station.patching import PatchingError, Reason, cut
from station.prepared import Prepared
from station.recipe import RecipeError, load_recipe, prepared_recipe
from station.simulated_plant import cell_settings
from tests.station.conftest import RECIPE, ScriptedEngine
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from tests.station.conftest import Plant

ROOT = Path(__file__).parents[2]
HOUSING = load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")
WIDTHS = HOUSING.product.widths_px
HEIGHT, WIDTH, TALL = 3648, 5472, 3584
Image = NDArray[np.uint8]

METAL = np.random.default_rng(7).integers(70, 140, (TALL, max(WIDTHS)), np.uint8)


def frame(width: int, x: int) -> Image:
    """A product of metal on a background of level 3; what lies outside the frame is not seen."""
    pixels = np.full((HEIGHT, WIDTH), 3, np.uint8)
    left, right = max(0, x), min(WIDTH, x + width)
    pixels[32 : 32 + TALL, left:right] = METAL[:, left - x : right - x]
    return pixels


def prepared(width_px: int | None = None) -> Prepared:
    return Prepared(HOUSING, ScriptedEngine(), width_px=width_px)


def inspected(pixels: Image, requested: str, operator: int | None = None) -> Reason | int:
    """The width that is inspected, or why the part is a fault."""
    try:
        return cut(pixels, HOUSING, prepared(operator).width_of(requested)).surface.region.width
    except PatchingError as error:
        return error.reason


@pytest.mark.parametrize(("whole", "left"), [(1065, 935), (690, 570), (1575, 1065)])
@pytest.mark.parametrize("x", [2000, 0, WIDTH])
def test_a_product_of_which_only_another_width_is_left_is_a_fault(whole: int, left: int, x: int) -> None:
    if x == 2000:  # a part of it is missing, in mid-frame
        seen = frame(left, x)
    elif x == 0:  # pushed out of the frame on the left, until exactly another width shows
        seen = frame(whole, left - whole)
    else:
        seen = frame(whole, WIDTH - left)
    assert inspected(seen, f"servo-motor-housing@{left}") == left, "as what it is taken for, it is whole"
    refused = inspected(seen, f"servo-motor-housing@{whole}")
    assert refused in (Reason.WRONG_SIZE, Reason.TRUNCATED)
    assert inspected(seen, "servo-motor-housing", operator=whole) == refused
    assert inspected(seen, "servo-motor-housing") is Reason.SIZE_UNKNOWN


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(WIDTHS), st.sampled_from((*WIDTHS, None, 0, 384, 1000, 99_999)))
def test_only_the_announced_width_is_ever_inspected(lies: int, announced: int | None) -> None:
    said = "servo-motor-housing" if announced is None else f"servo-motor-housing@{announced}"
    found = inspected(frame(lies, 700), said)
    assert (found == lies) == (announced == lies)
    assert isinstance(found, Reason) or found == announced


@pytest.mark.parametrize(
    "said", ["servo-motor-housing@", "servo-motor-housing@x", "servo-motor-housing@1 065"]
)
def test_a_width_that_cannot_be_read_is_a_fault(said: str) -> None:
    assert inspected(frame(1065, 900), said) is Reason.SIZE_UNKNOWN


def test_cell_and_operator_must_not_contradict_each_other() -> None:
    assert inspected(frame(1065, 900), "servo-motor-housing@1065", operator=1065) == 1065
    assert inspected(frame(1065, 900), "servo-motor-housing@1065", operator=935) is Reason.WRONG_SIZE


def test_a_trigger_that_contradicts_what_is_prepared_is_refused_and_no_other() -> None:
    assert may_be_the_same("", "a@10")
    assert may_be_the_same("a", "a@10")
    assert may_be_the_same("a@10", "a")
    assert may_be_the_same("a@10", "a@10")
    assert not may_be_the_same("b@10", "a@10")
    assert not may_be_the_same("a@11", "a@10")


def test_a_part_whose_width_nobody_has_said_is_a_fault_with_the_remedy(plant: Plant, tmp_path: Path) -> None:
    file = tmp_path / "strip.yaml"
    file.write_text(RECIPE.replace("widths_px: [16]", "widths_px: [16, 32]"))
    plant.recipe = load_recipe(file)
    line = plant.line()
    for part_id, said in enumerate(("strip@16", "strip@32", "strip", ""), start=1):
        plant.sorter.ask(part_id, recipe=said)
    line.start(parts=4)
    assert line.wait(PATIENCE_S)
    line.stop()
    assert plant.outcomes() == {1: Outcome.ACCEPT} | dict.fromkeys((2, 3, 4), Outcome.FAULT)
    reasons = {part: record.reason for part, record in plant.records().items()}
    assert reasons[2].startswith("F205 wrong size: found 16 x 32 px")
    assert (
        reasons[3]
        == reasons[4]
        == (
            "F206 size not announced: the recipe has the widths 16, 32, and nobody has said which one this "
            "part has; name it in the trigger or with `station prepare`, as in strip@16"
        )
    )


def test_the_configuration_may_set_the_width_and_only_one_of_the_recipe(tmp_path: Path) -> None:
    folder = ROOT / "recipes"
    assert prepared_recipe("servo-motor-housing@1065", folder).name == "servo-motor-housing"
    with pytest.raises(RecipeError, match="has no width 1000: write one of 385, 570"):
        prepared_recipe("servo-motor-housing@1000", folder)


def test_the_simulated_cell_announces_the_widths_of_its_pool(tmp_path: Path) -> None:
    config, recipe = load(ROOT / "config" / "demo.yaml")
    pool = [render_part(seed, width=width).truth for seed, width in enumerate((570, 385, 1575))]
    assert cell_settings(config, recipe, 25, TruthBook(pool)).sizes == "570,385,1575"
    other = config.model_copy(update={"camera": SimulatedSettings(pool=tmp_path)})
    assert not cell_settings(other, recipe, 25, TruthBook(pool)).sizes, "it shows pictures of its own"
