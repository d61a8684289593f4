"""Recipes: the two that ship, and every mistake named by file, line, key and remedy."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.settings import accepted_risks
from station.recipe import Recipe, RecipeError, find_recipe, load_recipe, prepared_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
HOUSING = (RECIPES / "servo-motor-housing.yaml").read_text()


def load(tmp_path: Path, text: str | bytes) -> Recipe:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_recipe(file)


def complaint(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    return str(caught.value)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_the_housing_recipe_is_that_of_the_paper() -> None:
    recipe = load_recipe(RECIPES / "servo-motor-housing.yaml")
    assert (recipe.surface.height, recipe.surface.width, recipe.patch_count) == (2048, 512, 16)
    assert recipe.product.widths_px == (385, 570, 690, 935, 1065, 1575)
    assert [entry.name for entry in recipe.classes] == [
        "defect-free",
        "imprinted",
        "pits",
        "roll-marks",
        "scratches",
    ]


def test_the_commutator_recipe_takes_the_whole_picture_and_has_two_classes() -> None:
    recipe = load_recipe(RECIPES / "commutator.yaml")
    assert recipe.product.background == "none"
    assert len(recipe.classes) == 2


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, HOUSING).digest == hashlib.sha256(HOUSING.encode()).hexdigest()
    assert load(tmp_path, HOUSING + "\n# a comment\n").digest != load(tmp_path, HOUSING).digest


def test_a_recipe_never_changes(tmp_path: Path) -> None:
    recipe = load(tmp_path, HOUSING)
    with pytest.raises(ValueError, match="frozen"):
        recipe.version = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "place", "says"),
    [
        (
            "overlap_px: 0",
            "overlap: 0",
            "overlap: 0",
            "patch.overlap: is not a known key: did you mean `overlap_px`?",
        ),
        ("version: 1\n", "", "name: servo", "version: is missing: add it: the recipe's version"),
        (
            "version: 1",
            "version: one",
            "version: one",
            "version: input should be a valid integer (it is 'one')",
        ),
        (
            "version: 1",
            "version: 1\nversion: 2",
            "version: 2",
            "version: is given twice (first in line 4): keep one",
        ),
        ("version: 1", "version: 1.5", "version: 1.5", "version: input should be a valid integer"),
        ("version: 1", "version: true", "version: true", "version: input should be a valid integer"),
        ("version: 1", f"version: {'9' * 5000}", "version: 9", "version: is not a number that fits"),
        (
            "fault_bin: 6",
            "fault_bin: 1",
            "fault_bin: 1",
            "fault_bin: is 1, the bin of good parts: write a bin on",
        ),
        (
            "fault_bin: 6",
            "fault_bin: 256",
            "fault_bin: 256",
            "fault_bin: input should be less than or equal to 255",
        ),
        (
            "pits, bin: 3",
            "pits, bin: 1",
            "classes:",
            "sends 'pits' to bin 1, the bin of good parts: give the defect",
        ),
        (
            "name: pits",
            "name: scratches",
            "classes:",
            "has the name 'scratches' twice: give each class its own",
        ),
        ("bin: 1}", "bin: 1, threshold: 0.5}", "classes:", "gives the good class 'defect-free' a threshold"),
        (
            "bin: 3}",
            "bin: 3, threshold: 1.5}",
            "{name: pits",
            "classes[2].threshold: input should be less than",
        ),
        (
            "  size: 256",
            "  size: 250",
            "surface:",
            "surface.height: is 2048, which patches of 250 with 0 px overlap",
        ),
        ("  size: 256", "  size: 4", "  size: 4", "patch.size: input should be greater than or equal to 16"),
        (
            "overlap_px: 0",
            "overlap_px: 256",
            "overlap_px: 256",
            "patch.overlap_px: must be less than the patch size",
        ),
        (
            "background: dark",
            "background: off",
            "background: off",
            "product.background: input should be 'dark' or",
        ),
        (
            "temperature: 1.0",
            "temperature: .nan",
            "temperature: .nan",
            "input should be a finite number (it is nan)",
        ),
        ("temperature: 1.0", "temperature:", "temperature:", "should be a valid number (it is empty)"),
        ("[385, 570,", "[385, 385,", "widths_px", "product.widths_px: has a width twice"),
        (
            "[385, 570,",
            "[85, 570,",
            "widths_px",
            "product.widths_px: is less than 192 px, too small to be found",
        ),
        ("engine: servo", "engine: ../servo", "engine: ../", "engine: string should match pattern"),
        ("name: servo", "name: !!python/name:os.system servo", "name: !!", "has a tag"),
        ("version: 1", "version: &a 1", "version: &a", "has an anchor or alias"),
        ("version: 1", "1: 1\nversion: 1", "1: 1", "has a key that is not a word"),
        ("version: 1", "<<: {a: 1}\nversion: 1", "<<:", "is not a known key"),
        ("version: 1", "digest: abc\nversion: 1", "digest:", "digest: is computed, not set: remove the key"),
        ("version: 1", "---\nversion: 1", "---\nversion", "has a second document"),
        ("version: 1", "version: [1", "version: [1", "is not YAML"),
        ("version: 1", "\tversion: 1", "\tversion", "is not YAML"),
    ],
)
def test_a_mistake_is_named_by_line_key_and_remedy(
    tmp_path: Path, old: str, new: str, place: str, says: str
) -> None:
    assert old in HOUSING
    text = HOUSING.replace(old, new)
    message = complaint(tmp_path, text)
    assert says in message
    line = line_of(text, place)
    near = {line, line + 1, line + 2} if "not YAML" in says else {line, line + 1}
    assert any(f"recipe.yaml:{n}:" in message for n in near), message


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = HOUSING.replace("version: 1", "version: no").replace("overlap_px: 0", "overlap_px: -1")
    first, second = complaint(tmp_path, text).splitlines()
    assert "version" in first
    assert "overlap_px" in second


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"- a\n- b\n", "is not a mapping"),
        (b"just words", "is not a mapping"),
        (b"name: \xff\xfe", "is not UTF-8 text"),
        (b'name: "\x01"', "has a character that YAML forbids (U+0001)"),
        (b"a: " + b"[" * 5000, "nested deeper"),
        (b"a: &a [x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n", "anchor or alias"),
        (b"a: [" + b"1," * 400_000 + b"]", "more than 20000 values"),
        (b"#" * 1_000_001, "larger than 1000000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_file_is_refused_quickly_and_clearly(tmp_path: Path, content: bytes, says: str) -> None:
    began = time.monotonic()
    assert says in complaint(tmp_path, content)
    assert time.monotonic() - began < 10


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_file_damaged_anywhere_is_a_recipe_or_a_recipe_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(HOUSING.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    file = tmp_path_factory.getbasetemp() / "damaged.yaml"
    file.write_bytes(bytes(raw))
    with suppress(RecipeError):
        recipe = load_recipe(file)
        assert recipe.fault_bin not in {recipe.classes[0].bin}


def test_words_stay_words(tmp_path: Path) -> None:
    assert load(tmp_path, HOUSING.replace("name: servo-motor-housing", "name: off")).name == "off"
    assert load(tmp_path, HOUSING.replace("name: pits", "name: '010'")).classes[2].name == "010"


def test_overlapping_patches_must_fill_the_surface_exactly(tmp_path: Path) -> None:
    text = HOUSING.replace("overlap_px: 0", "overlap_px: 128")
    assert load(tmp_path, text).grid == (15, 3)
    message = complaint(tmp_path, HOUSING.replace("overlap_px: 0", "overlap_px: 100"))
    assert "write 1972 or 2128" in message


def test_a_recipe_is_found_by_its_name_or_by_a_path(tmp_path: Path) -> None:
    assert find_recipe("commutator", RECIPES) == RECIPES / "commutator.yaml"
    assert find_recipe(str(RECIPES / "commutator.yaml"), tmp_path) == RECIPES / "commutator.yaml"


def test_a_recipe_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean `commutator`"):
        find_recipe("comutator", RECIPES)
    with pytest.raises(RecipeError, match="holds no recipe"):
        find_recipe("commutator", tmp_path)
    with pytest.raises(RecipeError, match="does not exist"):
        find_recipe(str(tmp_path / "commutator.yaml"), RECIPES)
    with pytest.raises(RecipeError, match="does not exist: there is no YAML file"):
        load_recipe(tmp_path / "commutator.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("bin: 5}", "bin: 5, release_below: 1.0}", "classes[4].release_below: input should be less than"),
        ("bin: 5}", "bin: 5, release_below: 0.985}", "classes[4].release_below: above 0.98 lets defects"),
        ("width_tolerance_px: 3", "width_tolerance_px: 384", "width_tolerance_px: is 384 of 385 px"),
        ("width_tolerance_px: 3", "width_tolerance_px: 20", "width_tolerance_px: above 5% of 385 px lets"),
        ("width_tolerance_px: 3", "width_tolerance_px: 60", "and 570 and 690 px are not told apart"),
        ("height_tolerance_px: 6", "height_tolerance_px: 400", "height_tolerance_px: above 5% of 3584 px"),
        (
            "surface:",
            "  limits: {black_level: 254}\nsurface:",
            "black_level: is 254, not below saturated",
        ),
        ("surface:", "  limits: {min_level: 0}\nsurface:", "min_level: at or below black_level takes"),
        ("surface:", "  limits: {min_contrast: 1}\nsurface:", "min_contrast: below 4 takes noise"),
        ("surface:", "  limits: {max_black: 1.0}\nsurface:", "max_black: above 0.5 lets a surface pass"),
        ("surface:", "  limits: {max_saturated_patch: 1.0}\nsurface:", "max_saturated_patch: above 0.9 lets"),
        ("temperature: 1.0", "temperature: 20", "temperature: outside 0.25 to 4 moves"),
    ],
)
def test_a_recipe_that_disarms_the_station_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in HOUSING
    assert says in complaint(tmp_path, HOUSING.replace(old, new, 1))


def test_what_is_legal_and_dangerous_needs_a_reason_beside_it(tmp_path: Path) -> None:
    limits = "  limits: {{max_black: 1.0, max_black_patch: 1.0{}}}\nsurface:"
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, HOUSING.replace("surface:", limits.format("")))
    assert "max_black: above 0.5" in str(caught.value)
    assert "max_black_patch above 0.9" in str(caught.value)
    assert 'accept_risk: "<why>"' in str(caught.value)
    reason = ', accept_risk: "half of the part is a slot"'
    recipe = load(tmp_path, HOUSING.replace("surface:", limits.format(reason)))
    found = accepted_risks(recipe)
    assert len(found) == 2
    assert found[0].startswith("product.limits.max_black above 0.5")
    assert all("half of the part is a slot" in risk for risk in found)


def test_a_risk_that_is_not_there_cannot_be_accepted(tmp_path: Path) -> None:
    text = HOUSING.replace("bin: 5}", 'bin: 5, accept_risk: "just in case"}')
    assert "classes[4].accept_risk: accepts a risk that is not there: remove" in complaint(tmp_path, text)


def test_the_shipped_recipes_take_no_risk() -> None:
    for file in RECIPES.glob("*.yaml"):
        assert accepted_risks(prepared_recipe(file.stem, RECIPES)) == []


def test_a_file_that_names_itself_as_another_recipe_is_not_prepared(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(HOUSING)
    with pytest.raises(RecipeError, match=r"name: is 'servo-motor-housing', not the file's name 'small'"):
        prepared_recipe("small", tmp_path)


LIT = (
    HOUSING.replace("channels: 1", "channels: 3")
    + """
stereo:
  solver: lobe
  lobe_rad: 0.05
  curvature_white: 0.006
  slope_white: 0.012
  texture_white: 250
  lamps:
    - {slant_deg: 7.4, azimuth_deg: 0, output: 1}
    - {slant_deg: 7.4, azimuth_deg: 90, output: 2}
    - {slant_deg: 7.4, azimuth_deg: 180, output: 3}
    - {slant_deg: 7.4, azimuth_deg: 270, output: 4}
"""
)


def test_a_recipe_lights_a_part_by_its_lamps_in_their_order(tmp_path: Path) -> None:
    recipe = load(tmp_path, LIT)
    assert recipe.stereo is not None
    assert recipe.frames == 4
    assert [lamp.output for lamp in recipe.stereo.lamps] == [1, 2, 3, 4]
    assert load(tmp_path, HOUSING).frames == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "  channels: 3",
            "  channels: 1",
            "surface.channels: is 1, and the pictures of the lamps become three channels: write 3",
        ),
        (
            "  max_tilt_deg: 1.5",
            "  max_tilt_deg: 1.5\n  turn_overlap_px: 64",
            "product.turn_overlap_px: cannot be used with `stereo`: each frame would be cut at another place",
        ),
        (
            "azimuth_deg: 270, output: 4",
            "azimuth_deg: 270, output: 2",
            "stereo.lamps: has lamps 2 and 4 both at output 2: give each lamp its own output",
        ),
        ("  lobe_rad: 0.05\n", "", "stereo.lobe_rad: is missing: give the width of the specular lobe, rad"),
        ("azimuth_deg: 0, output: 1", "azimuth_deg: 0", "stereo.lamps[0].output: is missing"),
        (
            "azimuth_deg: 0, output: 1",
            "azimuth_deg: 0, output: 17",
            "stereo.lamps[0].output: input should be",
        ),
        ("  slope_white: 0.012", "  slope_white: 0", "stereo.slope_white: input should be greater than 0"),
        ("  texture_white: 250", "  texture: 250", "stereo.texture: is not a known key"),
    ],
)
def test_what_is_wrong_with_the_lamps_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in LIT
    assert says in complaint(tmp_path, LIT.replace(old, new))


def test_lamps_in_one_line_determine_no_slope_and_are_refused(tmp_path: Path) -> None:
    in_line = LIT.replace("azimuth_deg: 90", "azimuth_deg: 0").replace("azimuth_deg: 270", "azimuth_deg: 180")
    said = complaint(tmp_path, in_line)
    assert "stereo.lamps: cannot be solved: the lamps lie in one line" in said
    assert "move one of them" in said


def test_all_that_is_wrong_with_the_lamps_is_said_at_once(tmp_path: Path) -> None:
    wrong = LIT.replace("slope_white: 0.012", "slope_white: 0").replace(
        "azimuth_deg: 90, output: 2", "output: 2"
    )
    said = complaint(tmp_path, wrong)
    assert "stereo.slope_white" in said
    assert "stereo.lamps[1].azimuth_deg: is missing" in said
