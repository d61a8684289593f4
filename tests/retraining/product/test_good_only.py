"""A product of which only good parts are known gets an engine, and its line can start."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from drivers.cameras.picture_files import read_image, write_image
from retraining.classifiers.pretrained import imagenet_weights, pretrained_backbone
from retraining.cli import app as retrain
from retraining.errors import DatasetError, TrainingError
from retraining.evaluation.ranking import area_under_roc
from station.cli import app as station
from station.engines.folder import load_manifest
from station.patching.area import resize_picture
from station.recipe import load_recipe

SIDE = 128
RECIPE = """
name: disc
version: 1
product: {background: none, widths_px: [128], height_px: 128, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 128, width: 128}
patch: {size: 64}
engine: disc
classes:
  - {name: good, bin: 1}
  - {name: spot, bin: 2}
fault_bin: 9
"""


def draw(rng: np.random.Generator, spot: bool) -> np.ndarray:
    """A brushed face, and a dark spot on it."""
    lines = rng.normal(120, 8, (SIDE, 1)) + rng.normal(0, 4, (SIDE, SIDE))
    if spot:
        top, left = rng.integers(4, SIDE - 34, 2)
        lines[top : top + 28, left : left + 28] *= 0.3
    return np.clip(lines, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(7)
    for name, count in (("good", 20), ("spot", 4)):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(count):
            write_image(root / "photos" / name / f"{name}-{number:02d}.png", draw(rng, name == "spot"))
    (root / "disc.yaml").write_text(RECIPE, encoding="utf-8")
    run("data", "from-folders", root / "photos", "--out", root / "data", "--group-by",
        "(?P<group>[a-z]+-[0-9]+)")  # fmt: skip
    return root


def run(*words: object) -> str:
    result = CliRunner().invoke(retrain, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_good_parts_alone_give_an_engine_that_rejects_what_is_unknown(pictures: Path, tmp_path: Path) -> None:
    out = run("product", pictures / "data", "-r", pictures / "disc.yaml", "--good-only", "--out", tmp_path)

    for name in ("fp32", "int8"):
        assert f"{name}: defective parts rejected as unknown: 4 of 4" in out
        assert f"{name}: AUROC by part: 1.000" in out
    card = (tmp_path / "engines" / "disc" / "card.md").read_text(encoding="utf-8")
    for told in (out, card):
        assert "warning: there are only 20 good parts; with fewer than 30 such an engine rejects many" in told
    recipe = load_recipe(tmp_path / "disc.yaml")
    assert [entry.name for entry in recipe.classes] == ["good"]
    assert (recipe.decision.unknown, recipe.decision.unknown_bin) == ("reject", 3)
    engine = load_manifest(tmp_path / "engines" / "disc")
    assert {part.truth for part in engine.golden} == {"good", "unknown"}
    assert engine.novelty is not None
    assert engine.novelty.good_parts == 4
    assert engine.usual is not None
    assert 0 < engine.usual.parts <= engine.figures["fp32"].good
    assert set(engine.files) == {"fp32", "int8"}

    report = tmp_path / "report.json"
    result = CliRunner().invoke(
        station,
        ["inspect", str(pictures / "photos"), "--recipe", str(tmp_path / "disc.yaml"), "--engines",
         str(tmp_path / "engines"), "--json", str(report)],
    )  # fmt: skip
    assert report.is_file(), result.output
    rows = json.loads(report.read_text())["pictures"]
    found = [row["class_name"] for row in rows if "spot-" in row["file"]]
    assert found == ["unknown"] * 4
    assert sum(row["class_name"] == "good" for row in rows if "good-" in row["file"]) >= 14


def test_what_only_a_classifier_uses_is_refused(pictures: Path, tmp_path: Path) -> None:
    words = ["product", pictures / "data", "-r", pictures / "disc.yaml", "--good-only", "--steps", "3"]
    result = CliRunner().invoke(retrain, [str(word) for word in [*words, "--out", tmp_path]])
    assert result.exit_code == 2
    assert "--steps" in result.output


def test_no_stage_of_a_classifier_can_be_the_end(pictures: Path, tmp_path: Path) -> None:
    words = ["product", pictures / "data", "-r", pictures / "disc.yaml", "--good-only", "--until", "int8"]
    result = CliRunner().invoke(retrain, [str(word) for word in [*words, "--out", tmp_path]])
    assert result.exit_code == 2
    assert "--until" in result.output


def test_a_handful_of_good_parts_is_too_few(pictures: Path, tmp_path: Path) -> None:
    few = tmp_path / "few" / "good"
    few.mkdir(parents=True)
    for path in sorted((pictures / "photos" / "good").iterdir())[:6]:
        (few / path.name).write_bytes(path.read_bytes())
    run("data", "from-folders", few.parent, "--out", tmp_path / "data")
    with pytest.raises(DatasetError, match=r"6 good parts in .* are too few"):
        run("product", tmp_path / "data", "-r", pictures / "disc.yaml", "--good-only")


def test_a_split_that_holds_no_good_part_back_is_refused(pictures: Path, tmp_path: Path) -> None:
    document = json.loads((pictures / "data" / "dataset.json").read_text(encoding="utf-8"))
    for picture in document["pictures"]:
        picture["split"] = "train" if picture["label"] == "good" else "validation"
    document["root"] = str(pictures / "photos")
    (tmp_path / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DatasetError, match="none of its good ones is in train or in validation"):
        run("product", tmp_path, "-r", pictures / "disc.yaml", "--good-only")


def test_the_weights_are_those_that_know_everyday_things() -> None:
    """Grace Hopper's portrait, which comes with matplotlib, shows a military uniform (class 652)."""
    import matplotlib.cbook
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite1", pretrained=False)
    network.load_state_dict(imagenet_weights("tf_efficientnet_lite1"))
    picture = read_image(Path(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))))
    small = resize_picture(np.ascontiguousarray(picture), 240, 240)[..., ::-1].copy()
    x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        assert int(network.eval()(x).argmax()) == 652


def test_a_grey_picture_gives_what_it_gives_in_colour() -> None:
    import torch

    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one = pretrained_backbone("tf_efficientnet_lite0", 1, 64).network(grey * 2 - 1)
        three = pretrained_backbone("tf_efficientnet_lite0", 3, 64).network(grey.repeat(1, 3, 1, 1) * 2 - 1)
    assert torch.allclose(one, three, atol=1e-4)


def test_a_network_without_such_weights_is_refused() -> None:
    with pytest.raises(TrainingError, match="no ImageNet weights for resnet18"):
        imagenet_weights("resnet18")


def test_the_area_under_the_curve_counts_ties_as_half() -> None:
    assert area_under_roc([0.1, 0.2], [0.3, 0.4]) == 1.0
    assert area_under_roc([0.1, 0.4], [0.4, 0.0]) == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert np.isnan(area_under_roc([0.1], []))
