"""A person's own pictures become an engine that the station takes, or an error that says what to mend."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from drivers.cameras.picture_files import read_image, write_image
from retraining.classifiers.plan import TrainingPlan
from retraining.cli import app as retrain
from retraining.errors import DatasetError, TrainingError
from retraining.product.making import stages_for
from station.cli import app as station
from station.engines.folder import load_manifest
from station.recipe import load_recipe

SIDE = 64
RECIPE = """
name: disc
version: 1
product: {{background: none, widths_px: [64], height_px: 64, mm_per_px_x: 0.1, mm_per_px_y: 0.1}}
surface: {{height: {side}, width: {side}}}
patch: {{size: 32}}
engine: disc
classes:
  - {{name: good, bin: 1}}
  - {{name: spot, bin: 2}}
fault_bin: 9
"""
GROUPS = "(?P<group>[a-z]+-[0-9]+)"
QUICK = ["--network", "simple-fcn", "--steps", "40", "--batch", "16", "--learning-rate", "0.003"]


def draw(rng: np.random.Generator, spot: bool) -> tuple[np.ndarray, np.ndarray]:
    """A grey disc's face with fine grain, and where its spot is."""
    pixels = np.clip(rng.normal(110, 12, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if spot:
        top, left = rng.integers(2, SIDE - 22, 2)
        mask[top : top + 20, left : left + 20] = 255
        pixels[mask > 0] = 235
    return pixels, mask


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    for folder in ("photos/good", "photos/spot", "masks/spot"):
        (root / folder).mkdir(parents=True)
    for name, spot in (("good", False), ("spot", True)):
        for number in range(12):
            pixels, mask = draw(rng, spot)
            write_image(root / "photos" / name / f"{name}-{number:02d}.png", pixels)
            if spot:
                write_image(root / "masks" / name / f"{name}-{number:02d}.png", mask)
    return root


@pytest.fixture
def own(pictures: Path, tmp_path: Path) -> Path:
    shutil.copytree(pictures, tmp_path / "own")
    return tmp_path / "own"


def run(*words: object) -> str:
    result = CliRunner().invoke(retrain, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def data_set(root: Path) -> Path:
    run("data", "from-folders", root / "photos", "--out", root / "data", "--group-by", GROUPS)
    return root / "data"


def recipe(root: Path, side: int = SIDE) -> Path:
    path = root / "disc.yaml"
    path.write_text(RECIPE.format(side=side), encoding="utf-8")
    return path


def with_more_good_parts(root: Path) -> Path:
    """The data set with ten good parts in validation, so that the engine gets novelty; six parts test it."""
    rng = np.random.default_rng(55)
    for number in range(12, 22):
        write_image(root / "photos" / "good" / f"good-{number}.png", draw(rng, False)[0])
    data = data_set(root)
    document = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    for picture in document["pictures"]:
        number = int(picture["path"][-6:-4])
        picture["split"] = (
            "test" if number < 3 else "validation" if number in (3, 4) or number > 11 else "train"
        )
    (data / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    return data


def assert_the_station_rejects_what_is_far(root: Path, out: Path) -> None:
    """A part such as was never shown is far from training, and rejected where the recipe says so."""
    strange = out / "strange"
    strange.mkdir()
    stripes = np.where(np.arange(SIDE) // 2 % 2, 220, 40).astype(np.uint8)
    write_image(strange / "striped.png", np.tile(stripes, (SIDE, 1)))
    recipe_file = out / "strict.yaml"
    text = (out / "run" / "disc.yaml").read_text(encoding="utf-8")
    strict = text.replace("decision:\n", "decision:\n  unknown: reject\n  unknown_bin: 5\n")
    recipe_file.write_text(strict, encoding="utf-8")
    for folder in (strange, root / "photos" / "good"):
        words = ["inspect", folder, "--recipe", recipe_file, "--engines", out / "run" / "engines"]
        CliRunner().invoke(station, [str(word) for word in [*words, "--json", out / "found.json"]])
        rows = json.loads((out / "found.json").read_text())["pictures"]
        assert all(np.isfinite(row["patch_novelty"]).all() for row in rows)
        if folder == strange:
            assert max(rows[0]["patch_novelty"]) > 1
            assert rows[0]["outcome"] == "reject"
        else:
            assert sum(max(row["patch_novelty"]) > 1 for row in rows) <= 5


@pytest.mark.parametrize("patches", [4, 1], ids=["four patches with masks", "one patch without"])
def test_pictures_become_an_engine_that_the_station_takes(own: Path, tmp_path: Path, patches: int) -> None:
    masks = ["--masks", own / "masks"] if patches == 4 else []
    file = recipe(own, SIDE if patches == 4 else 32)
    data = data_set(own) if patches == 1 else with_more_good_parts(own)
    line = ["product", data, "--recipe", file, *masks, *QUICK, "--out", tmp_path / "run"]
    assert "curves.png" in run(*line, "--until", "training")
    assert not (tmp_path / "run" / "engines").exists()
    weights = next((tmp_path / "run").glob("patch-*/best.pt"))
    trained = weights.stat().st_mtime_ns
    assert "validation parts: " in run(*line, "--until", "thresholds")
    assert not (tmp_path / "run" / "engines" / "disc" / "engine.yaml").exists()
    out = run(*line)
    assert weights.stat().st_mtime_ns == trained

    engine = load_manifest(tmp_path / "run" / "engines" / "disc")
    assert {part.truth for part in engine.golden} == {"good", "spot"}
    assert engine.figures["fp32"].outcomes.parts == 6
    assert engine.figures["fp32"].outcomes.escapes == 0
    assert engine.usual is not None
    photo = read_image(own / "photos" / "good" / "good-00.png")
    assert engine.usual.parts <= engine.figures["fp32"].good
    assert engine.usual.confidence.mean > 0.5
    assert abs(engine.usual.brightness.mean - photo.mean()) < 30
    assert "With 95 % confidence" in out
    assert "With 95 % confidence" in (engine.folder / "card.md").read_text(encoding="utf-8")
    written = load_recipe(tmp_path / "run" / "disc.yaml")
    assert written.version == 2
    said = "The engine says what is far" if patches == 4 else "The engine does not say what is far"
    assert said in out
    assert said in (engine.folder / "card.md").read_text(encoding="utf-8")
    assert (engine.novelty is not None) == (patches == 4)
    if patches == 4:
        assert_the_station_rejects_what_is_far(own, tmp_path)

    report = tmp_path / "report.json"
    result = CliRunner().invoke(
        station,
        ["inspect", str(own / "photos"), "--recipe", str(tmp_path / "run" / "disc.yaml"), "--engines",
         str(tmp_path / "run" / "engines"), "--json", str(report)],
    )  # fmt: skip
    assert report.is_file(), result.output
    found = {row["file"]: row["class_name"] for row in json.loads(report.read_text())["pictures"]}
    right = sum(name.split("/")[-1].startswith(verdict) for name, verdict in found.items())
    assert right >= 22, found

    card = (engine.folder / "card.md").read_text(encoding="utf-8")
    again = " ".join(str(word) for word in ["retrain product", data, "--recipe", file, *masks])
    assert [line for line in card.splitlines() if again in line and "--network simple-fcn --steps 40" in line]

    others: list[list[object]] = [[*masks, *QUICK, "--seed", 3], ["--good-only"]]
    for other in others:
        with pytest.raises(TrainingError, match="holds a run with other data, recipe or settings"):
            run("product", own / "data", "-r", file, *other, "--out", tmp_path / "run")
    if masks:
        marks = own / "masks" / "spot" / "spot-00.png"
        write_image(marks, np.full((SIDE, SIDE), 255, np.uint8))
        with pytest.raises(TrainingError, match="holds a run with other data, recipe or settings"):
            run("product", own / "data", "-r", file, *masks, *QUICK, "--out", tmp_path / "run")


def test_a_run_until_reading_says_what_there_is_and_trains_nothing(own: Path, tmp_path: Path) -> None:
    file = recipe(own)
    run(
        "product",
        data_set(own),
        "-r",
        file,
        "--masks",
        own / "masks",
        "--until",
        "reading",
        "--out",
        tmp_path / "r",
    )
    assert not (tmp_path / "r").exists()


def test_masks_of_several_classes_say_the_class_of_every_pixel(own: Path, tmp_path: Path) -> None:
    for mask in (own / "masks" / "spot").iterdir():
        write_image(mask, (read_image(mask) > 0) * np.uint8(3))
    said = run(
        "data", "from-masks", own / "photos", own / "masks", "--class-of", "3=spot", "--sound", "good",
        "--pattern", "(?P<label>good|spot)/(?P<group>[a-z]+-[0-9]+)", "--out", own / "data",
    )  # fmt: skip
    assert "24 pictures, labelled by person" in said
    line = [
        "product",
        own / "data",
        "--recipe",
        recipe(own),
        "--masks",
        own / "masks",
        "--out",
        tmp_path / "r",
    ]
    run(*line, "--class-of", "3=spot", "--until", "reading")
    with pytest.raises(
        DatasetError, match="--class-of names stain, but recipe disc has the classes good, spot"
    ):
        run(*line, "--class-of", "3=stain", "--until", "reading")
    with pytest.raises(DatasetError, match="is labelled spot, but its mask marks nothing on the product"):
        run(*line, "--class-of", "3=good", "--until", "reading")
    words = ["product", str(own / "data"), "--recipe", str(own / "disc.yaml"), "--class-of", "3=spot"]
    result = CliRunner().invoke(retrain, words)
    assert result.exit_code == 2
    assert "--class-of is not used without --masks" in result.output


def test_only_parts_of_one_patch_are_moved_in_training_because_no_crop_moves_them(own: Path) -> None:
    plan = TrainingPlan()
    several = stages_for(load_recipe(recipe(own)), plan, 0, 100)[-1].plan.augmentation
    one = stages_for(load_recipe(recipe(own, side=32)), plan, 0, 100)[-1].plan.augmentation
    assert (several.shift, several.zoom) == (0, 0)
    assert 0 < one.shift <= 0.05
    assert 0 < one.zoom <= 0.1


def divide(root: Path, lacking: str) -> Path:
    """The data set with a split of its own in which one split has no spot."""
    data = data_set(root)
    document = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    splits = ("train", "validation", "test")
    for number, picture in enumerate(document["pictures"]):
        allowed = [name for name in splits if (name, picture["label"]) != (lacking, "spot")]
        picture["split"] = allowed[number % len(allowed)]
    (data / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    return data


@pytest.mark.parametrize("lacking", ["train", "validation", "test"])
def test_a_split_without_a_part_of_each_class_is_refused_before_the_training(own: Path, lacking: str) -> None:
    data = divide(own, lacking)
    with pytest.raises(DatasetError, match=f"no part of spot in {lacking}"):
        run("product", data, "-r", recipe(own), "--masks", own / "masks")


def test_a_seed_for_a_split_that_the_set_has_is_refused(own: Path) -> None:
    data = divide(own, "none")
    words = [
        "product",
        data,
        "-r",
        recipe(own),
        "--masks",
        own / "masks",
        "--split-seed",
        2,
        "--until",
        "reading",
    ]
    result = CliRunner().invoke(retrain, [str(word) for word in words])
    assert result.exit_code == 2
    assert "--split-seed" in result.output


def refused(root: Path, *words: object) -> str:
    with pytest.raises(DatasetError) as caught:
        run("product", data_set(root), "-r", recipe(root), *words)
    return str(caught.value)


def keep(number: int) -> Callable[[Path], None]:
    def few(root: Path) -> None:
        for path in sorted((root / "photos" / "spot").iterdir())[number:]:
            path.unlink()

    return few


def rename_class(root: Path) -> None:
    (root / "photos" / "spot").rename(root / "photos" / "blot")


def one_class(root: Path) -> None:
    shutil.rmtree(root / "photos" / "spot")


def two_labels(root: Path) -> None:
    shutil.copy(root / "photos" / "spot" / "spot-03.png", root / "photos" / "good" / "good-99.png")


def another_size(root: Path) -> None:
    for name in ("spot-01", "spot-02"):
        pixels, _ = draw(np.random.default_rng(1), spot=True)
        write_image(root / "photos" / "spot" / f"{name}.png", pixels[:40])


def no_mask(root: Path) -> None:
    for name in ("spot-01", "spot-02"):
        (root / "masks" / "spot" / f"{name}.png").unlink()


def empty_mask(root: Path) -> None:
    write_image(root / "masks" / "spot" / "spot-05.png", np.zeros((SIDE, SIDE), np.uint8))


def marked_good_part(root: Path) -> None:
    (root / "masks" / "good").mkdir()
    shutil.copy(root / "masks" / "spot" / "spot-05.png", root / "masks" / "good" / "good-05.png")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (keep(3), ["spot has 3 parts in 3 groups", "not enough to train on", "--good-only"]),
        (rename_class, ["'blot' (12 pictures)", "no picture of spot"]),
        (one_class, ["no picture of spot was labelled by a person", "--good-only"]),
        (two_labels, ["good-99.png is good", "spot-03.png is spot", "the same picture"]),
        (another_size, ["spot-01.png", "spot-02.png"]),
        (no_mask, ["spot/spot-01.png has no mask", "spot/spot-02.png has no mask"]),
        (empty_mask, ["spot/spot-05.png is labelled spot, but its mask marks nothing"]),
        (marked_good_part, ["good/good-05.png is labelled good, but its mask marks a defect"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_pictures_that_cannot_give_an_engine_are_all_named(
    own: Path, harm: Callable[[Path], None], says: list[str]
) -> None:
    harm(own)
    message = refused(own, "--masks", own / "masks")
    assert [text for text in says if text not in message] == []


def test_pictures_that_the_station_would_refuse_are_left_out_when_a_person_says_so(own: Path) -> None:
    pixels, _ = draw(np.random.default_rng(1), spot=True)
    write_image(own / "photos" / "spot" / "spot-01.png", pixels[:40])
    words = ("--masks", own / "masks", "--until", "reading")
    assert "leave such pictures out by --leave-out-refused" in refused(own, *words)
    said = run("product", data_set(own), "-r", recipe(own), "--leave-out-refused", *words)
    assert "1 pictures were left out" in said
    assert "spot-01.png" in said
    write_image(own / "photos" / "spot" / "spot-02.png", pixels[:40])
    assert "more than 5%" in refused(own, "--leave-out-refused", *words), "such a recipe does not fit"


def test_labels_of_whole_pictures_are_not_taken_for_labels_of_patches(own: Path) -> None:
    assert "name the folder of their masks by --masks" in refused(own)


def test_a_recipe_that_rejects_unknown_parts_already_is_refused(own: Path) -> None:
    file = recipe(own)
    file.write_text(file.read_text() + "decision: {unknown: reject, unknown_bin: 5}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="line 12: `unknown: reject` cannot be tested"):
        run("product", data_set(own), "-r", file, "--masks", own / "masks")


def test_windows_of_pictures_are_no_parts(own: Path) -> None:
    run("data", "from-masks", own / "photos", own / "masks", "--side", 32, "--sound", "good", "--out",
        own / "windows")  # fmt: skip
    with pytest.raises(DatasetError, match="are windows of pictures"):
        run("product", own / "windows", "-r", recipe(own))


def test_an_option_of_another_command_is_refused(own: Path) -> None:
    result = CliRunner().invoke(retrain, ["product", str(own), "-r", "x", "--parts", "3"])
    assert result.exit_code == 2
