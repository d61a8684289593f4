"""`retrain recipe` proposes what pictures show; `station inspect --show-patches` draws what a recipe does."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from drivers.cameras.picture_files import read_image, write_image
from retraining.cli import app as retrain
from retraining.errors import DatasetError
from retraining.product.proposing import grid, look_at
from station.cli import app as station
from station.patching import PatchingError, cut
from station.recipe import RecipeError, load_recipe


def run(*words: object, ends: int = 0) -> str:
    result = CliRunner().invoke(retrain, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == ends, result.output
    return result.output


def shaft(rng: np.random.Generator, width: int) -> np.ndarray:
    """A bright product, 700 px high, on a dark background of 640 x 800 px."""
    frame = rng.normal(10, 2, (800, 640))
    frame[50:750, 100 : 100 + width] = rng.normal(130, 10, (700, width))
    return np.clip(frame, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photographed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn once for all tests."""
    root = tmp_path_factory.mktemp("shafts")
    rng = np.random.default_rng(3)
    for number, (name, width) in enumerate([("ok", 220), ("ok", 221), ("ok", 360), ("dent", 360)] * 2):
        folder = root / "photos" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / f"{name}-{number}.png", shaft(rng, width))
    return root


@pytest.fixture
def shafts(photographed: Path, tmp_path: Path) -> Path:
    shutil.copytree(photographed, tmp_path, dirs_exist_ok=True)
    run("data", "from-folders", tmp_path / "photos", "--out", tmp_path / "data", "--group-by",
        "(?P<group>[a-z]+-[0-9]+)")  # fmt: skip
    return tmp_path


def test_a_product_on_a_dark_background_is_measured(shafts: Path) -> None:
    out = run("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "shaft.yaml")
    recipe = load_recipe(shafts / "shaft.yaml")
    assert recipe.product.background == "dark"
    assert [abs(a - b) <= 2 for a, b in zip(recipe.product.widths_px, (220, 360), strict=True)] == [
        True,
        True,
    ]
    assert abs(recipe.product.height_px - 700) <= 2
    assert [entry.name for entry in recipe.classes] == ["ok", "dent"]
    assert "cuts 8 of 8 pictures" in out
    assert "NOT MEASURED" in (shafts / "shaft.yaml").read_text(encoding="utf-8")


def test_a_recipe_that_is_there_is_not_replaced_without_a_word(shafts: Path) -> None:
    words = ("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "shaft.yaml")
    run(*words)
    with pytest.raises(DatasetError, match="is there already"):
        run(*words)
    run(*words, "--force", "--mm-per-px", "0.02")
    assert load_recipe(shafts / "shaft.yaml").product.mm_per_px_x == 0.02


def test_the_good_class_is_asked_for_where_its_name_does_not_say_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        pixels = np.clip(rng.normal(120, 20, (200, 200)), 0, 255).astype(np.uint8)
        write_image(tmp_path / "photos" / name / f"{name}.png", pixels)
    run("data", "from-folders", tmp_path / "photos", "--out", tmp_path / "data")
    with pytest.raises(DatasetError, match="say by --good"):
        run("recipe", "x", "--data", tmp_path / "data", "--out", tmp_path / "x.yaml")
    run("recipe", "x", "--data", tmp_path / "data", "--out", tmp_path / "x.yaml", "--good", "b")
    recipe = load_recipe(tmp_path / "x.yaml")
    assert (recipe.classes[0].name, recipe.product.background, recipe.patch_count) == ("b", "none", 1)


def test_the_limits_leave_a_margin_to_what_the_pictures_show(shafts: Path) -> None:
    rng = np.random.default_rng(9)
    glaring = shaft(rng, 360)
    glaring[300:390, 140:420] = 255  # a tenth of the product
    write_image(shafts / "photos" / "dent" / "dent-90.png", glaring)
    write_image(shafts / "photos" / "ok" / "ok-91.png", shaft(rng, 220) // 2)
    run("data", "from-folders", shafts / "photos", "--out", shafts / "data", "--group-by",
        "(?P<group>[a-z]+-[0-9]+)")  # fmt: skip
    assert "cuts 10 of 10" in run("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "s.yaml")
    limits = load_recipe(shafts / "s.yaml").product.limits
    assert 30 <= limits.min_level <= 33, "half of 65"
    assert 24 <= limits.min_contrast <= 32
    assert 0.18 <= limits.max_saturated <= 0.24, "twice a tenth"
    assert limits.max_saturated_patch > limits.max_saturated
    assert (limits.max_black, limits.max_black_patch) == (0.05, 0.25), "a little is no fault"
    texture = load_recipe(shafts / "s.yaml").product.texture
    assert texture is not None
    assert 0.5 < texture.min_grain < 6
    frozen = shaft(rng, 360)
    frozen[300:500] = frozen[299]
    with pytest.raises(PatchingError, match="equal to an earlier line"):
        cut(frozen, load_recipe(shafts / "s.yaml"))


def test_no_limits_of_the_texture_come_from_a_lossy_format_or_from_few_pictures(shafts: Path) -> None:
    words = ("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "s.yaml", "--force")
    assert "no limits: it needs 10 pictures" in run(*words)
    for number in range(4):
        picture = shaft(np.random.default_rng(number), 360)
        write_image(shafts / "photos" / "ok" / f"ok-{50 + number}.jpg", picture)
    run("data", "from-folders", shafts / "photos", "--out", shafts / "data", "--group-by",
        "(?P<group>[a-z]+-[0-9]+)")  # fmt: skip
    assert "no limits: 4 pictures are in a lossy format" in run(*words)
    recipe = load_recipe(shafts / "s.yaml")
    assert recipe.product.texture is None
    assert "learn them by `station limits`" in (shafts / "s.yaml").read_text(encoding="utf-8")


def test_a_product_too_small_for_limits_of_the_texture_is_told_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number in range(12):
        write_image(tmp_path / "photos" / "ok" / f"{number}.png", rng.integers(60, 160, (200, 200), np.uint8))
    run("data", "from-folders", tmp_path / "photos", "--out", tmp_path / "data")
    said = run("recipe", "strip", "--data", tmp_path / "data", "--out", tmp_path / "s.yaml")
    assert "no limits: that needs a product of 72 x 393 px or more" in said
    assert "station limits" not in (tmp_path / "s.yaml").read_text(encoding="utf-8"), "it could not help"


def test_the_proposed_size_is_what_the_stations_search_finds_on_a_tilted_product(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    turn = cv2.getRotationMatrix2D((320, 400), 1.0, 1.0)
    frame = cv2.warpAffine(shaft(rng, 360), turn, (640, 800), borderValue=10)
    seen = look_at("x", cv2.cvtColor(np.asarray(frame, np.uint8), cv2.COLOR_GRAY2BGR))
    assert abs(seen.product_width - 360) <= 2, "the mean edges, and not the box around the product"
    assert abs(seen.product_height - 700) <= 2


def test_sixteen_bit_pictures_are_cut_by_the_recipe_that_is_proposed_for_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for number in range(2):
        for name in ("ok", "dent"):
            path = tmp_path / "photos" / name / f"{name}-{number}.png"
            write_image(path, shaft(rng, 360).astype(np.uint16) * 16)  # type: ignore[arg-type]
    run("data", "from-folders", tmp_path / "photos", "--out", tmp_path / "data", "--sixteen-bit-white", 4095)
    run("recipe", "shaft", "--data", tmp_path / "data", "--out", tmp_path / "s.yaml")
    assert load_recipe(tmp_path / "s.yaml").product.sixteen_bit_white == 4095


def test_pictures_at_another_scale_are_named(shafts: Path) -> None:
    write_image(shafts / "photos" / "ok" / "ok-99.png", np.full((300, 640), 120, np.uint8))
    run("data", "from-folders", shafts / "photos", "--out", shafts / "data", "--group-by",
        "(?P<group>[a-z]+-[0-9]+)")  # fmt: skip
    with pytest.raises(DatasetError, match=r"ok-99\.png"):
        run("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "shaft.yaml")


@given(width=st.integers(40, 3000), height=st.integers(40, 5000))
def test_the_proposed_patches_fill_the_surface_and_are_not_far_from_square(width: int, height: int) -> None:
    (tall, wide), patch = grid(width, height)
    assert tall % patch == 0
    assert wide % patch == 0
    assert (tall // patch) * (wide // patch) <= 24
    if 1 / 6 < width / height < 6:
        assert 0.6 < (wide / width) / (tall / height) < 1.7


def test_a_picture_without_a_background_is_all_product() -> None:
    seen = look_at("x", np.full((100, 80, 3), 140, np.uint8))
    assert (seen.on_dark, seen.product_width, seen.product_height) == (False, 80, 100)


def test_show_patches_draws_every_picture_and_says_why_one_is_not_cut(shafts: Path) -> None:
    run("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "shaft.yaml")
    write_image(shafts / "photos" / "ok" / "dark.png", np.full((800, 640), 9, np.uint8))
    words = ["inspect", str(shafts / "photos"), "-r", str(shafts / "shaft.yaml"), "--show-patches"]
    result = CliRunner().invoke(station, [*words, str(shafts / "cuts")])
    assert result.exit_code == 3, result.output
    assert "8 cut, 1 not" in result.output
    assert "dark.png" in result.output
    drawn = sorted(path.name for path in (shafts / "cuts").rglob("*.cut.png"))
    assert len(drawn) == 9
    assert read_image(shafts / "cuts" / "contact-sheet.png").shape[2] == 3


def test_show_patches_needs_no_engine_and_takes_no_option_of_one(shafts: Path) -> None:
    run("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "shaft.yaml")
    words = ["inspect", str(shafts / "photos"), "-r", str(shafts / "shaft.yaml"), "--show-patches"]
    result = CliRunner().invoke(station, [*words, str(shafts / "cuts"), "--precision", "fp32"])
    assert result.exit_code == 2
    assert "--precision is not used" in result.output


def test_drawings_are_not_cut_again(shafts: Path) -> None:
    run("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "shaft.yaml")
    words = ["inspect", str(shafts / "photos"), "-r", str(shafts / "shaft.yaml"), "--show-patches"]
    words.append(str(shafts / "photos" / "cuts"))
    assert CliRunner().invoke(station, words).exit_code == 0
    again = CliRunner().invoke(station, words)
    assert again.exit_code == 2
    assert "outside the pictures" in " ".join(again.output.replace("│", " ").split())


def data_of(tmp_path: Path, classes: dict[str, np.ndarray]) -> Path:
    """A data set of two pictures per class."""
    for name, pixels in classes.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            write_image(tmp_path / "photos" / name / f"{name}-{number}.png", pixels)
    run("data", "from-folders", tmp_path / "photos", "--out", tmp_path / "data", "--join", "none")
    return tmp_path / "data"


GREY = np.full((220, 220), 120, np.uint8)


@pytest.mark.parametrize("name", ["null", "no", "1", "1e3", "a.b c"])
def test_class_names_that_yaml_takes_for_something_else_are_kept(tmp_path: Path, name: str) -> None:
    data = data_of(tmp_path, {"good": GREY, name: GREY})
    run("recipe", "x", "--data", data, "--out", tmp_path / "x.yaml")
    assert [entry.name for entry in load_recipe(tmp_path / "x.yaml").classes] == ["good", name]


def test_what_no_recipe_can_hold_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    long, accented = "oxide_scale_of_temperature_system", "délit"
    data = data_of(tmp_path, {"good": GREY, long: GREY, accented: GREY})
    with pytest.raises(DatasetError, match=f"{accented}.*{long}.*--rename"):
        run("recipe", "x", "--data", data, "--out", tmp_path / "x.yaml")
    small = np.full((400, 400), 10, np.uint8)
    small[100:250, 120:260] = 130
    data = data_of(tmp_path / "small", {"good": small, "dent": small})
    with pytest.raises(RecipeError, match="too small to be found"):
        run("recipe", "x", "--data", data, "--out", tmp_path / "x.yaml", "--background", "dark")
    assert not (tmp_path / "x.yaml").exists()


def test_good_parts_alone_give_a_recipe_that_rejects_what_is_unknown(tmp_path: Path) -> None:
    run("recipe", "x", "--data", data_of(tmp_path, {"good": GREY}), "--out", tmp_path / "x.yaml")
    recipe = load_recipe(tmp_path / "x.yaml")
    assert (recipe.decision.unknown, recipe.decision.unknown_bin, recipe.fault_bin) == ("reject", 2, 3)


def test_a_product_on_a_light_background_is_not_taken_for_the_whole_picture(tmp_path: Path) -> None:
    light = np.full((800, 640), 235, np.uint8)
    light[60:740, 150:450] = 110
    data = data_of(tmp_path, {"good": light, "dent": light})
    with pytest.raises(DatasetError, match="darker than a light background"):
        run("recipe", "x", "--data", data, "--out", tmp_path / "x.yaml")
    run("recipe", "x", "--data", data, "--out", tmp_path / "x.yaml", "--background", "none")


def test_pictures_of_the_rarer_colour_are_named(tmp_path: Path) -> None:
    red = np.stack([GREY, GREY, GREY + 60], axis=2)
    out = run("recipe", "x", "--data", data_of(tmp_path, {"good": GREY, "dent": GREY, "red": red}),
              "--out", tmp_path / "x.yaml")  # fmt: skip
    assert "red/red-0.png, red/red-1.png" in out


def test_the_sheet_shows_first_what_is_not_cut_and_says_that_it_is_not_whole(shafts: Path) -> None:
    run("recipe", "shaft", "--data", shafts / "data", "--out", shafts / "shaft.yaml")
    many = shafts / "many"
    many.mkdir()
    for number in range(62):
        write_image(many / f"{number:02d}.png", np.full((20, 20), 9, np.uint8))
    words = ["inspect", str(many), "-r", str(shafts / "shaft.yaml"), "--show-patches", str(shafts / "cuts")]
    result = CliRunner().invoke(station, words)
    assert "60 of them on the contact sheet" in result.output
