"""Segmenters: from pictures and masks to figures and overlays, by the command and by Python."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from retraining.cli import app
from retraining.data.dataset import load_dataset, save_dataset
from retraining.data.masks import Masks
from retraining.data.splits import split_by_share
from retraining.errors import BadFilesError, DatasetError, TrainingError, TrainingStoppedError
from retraining.segmenters.loop import SegmenterPlan, open_segmenter, segment, train_segmenter
from retraining.segmenters.pictures import MaskedPictures, load_masked
from retraining.segmenters.scores import intersection_over_union, score_masks
from retraining.segmenters.testing import overlay

PLAN = SegmenterPlan(
    network="unet", encoder="mobilenet_v2", steps=3, batch=2, precision="fp32", checkpoint_every=1
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures with a bright square and four without, split; masks beside them."""
    rng = np.random.default_rng(2)
    for name in ("good", "spot"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    (tmp_path / "masks" / "spot").mkdir(parents=True)
    for number in range(10):
        picture = rng.integers(20, 60, (64, 64)).astype(np.uint8)
        name = f"{'spot' if number < 6 else 'good'}/p{number}.png"
        if number < 6:
            mask = np.zeros((64, 64), np.uint8)
            mask[5 * number : 5 * number + 20, 20:40] = 255
            picture[mask > 0] += 150
            cv2.imwrite(str(tmp_path / "masks" / name), mask)
        cv2.imwrite(str(tmp_path / "pictures" / name), picture)
    found = Masks(tmp_path / "pictures", tmp_path / "masks", sound="good").read()
    save_dataset(split_by_share(found, {"train": 0.6, "test": 0.4}, 1), tmp_path / "set")
    return tmp_path


def loaded(folder: Path, split: str) -> MaskedPictures:
    return load_masked(load_dataset(folder / "set"), folder / "masks", 64, 1, split, sound="good")


def test_the_command_trains_tests_and_draws_what_was_missed(folder: Path) -> None:
    words = ["segmenter", "--dataset", str(folder / "set"), "--masks", str(folder / "masks")]
    words += [
        "--sound",
        "good",
        "--network",
        "unet",
        "--encoder",
        "mobilenet_v2",
        "--side",
        "64",
        "--steps",
        "2",
        "--batch",
        "2",
    ]
    result = CliRunner().invoke(app, [*words, "--precision", "fp32", "--out", str(folder / "run")])
    assert result.exit_code == 0, result.output
    assert "IoU per picture" in result.output
    assert "| background |" in result.output
    figures = json.loads((folder / "run" / "result.json").read_text())
    tested = len(loaded(folder, "test"))
    assert len(figures["iou"]) == len(figures["pictures"]) == tested
    assert sum(map(sum, figures["confusion"])) == tested * 64 * 64
    overlays = sorted(p.name for p in (folder / "run" / "overlays").iterdir())
    assert len(overlays) == tested
    assert cv2.imread(str(folder / "run" / "worst.png")) is not None
    assert json.loads((folder / "run" / "run.json").read_text())["outcome"] == "finished"


def test_a_segmenter_finds_more_of_a_bright_square_the_longer_it_learns(folder: Path) -> None:
    pictures = loaded(folder, "train")
    losses: list[float] = []
    plan = replace(PLAN, steps=12, batch=4, checkpoint_every=100)
    weights = train_segmenter(
        plan, pictures, folder / "run", report=lambda step, line: losses.append(float(line.split()[1]))
    )
    assert losses[-1] < 0.85 * losses[0]
    kept, network = open_segmenter(weights)
    assert kept == plan
    chances = segment(network, pictures.pixels)
    assert chances.shape == pictures.masks.shape
    assert 0 <= chances.min() <= chances.max() <= 1


def test_a_run_that_was_stopped_ends_with_the_same_weights(folder: Path) -> None:
    pictures = loaded(folder, "train")

    def weights(path: Path) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["weights"]
        return found

    def terminate(step: int, line: str) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    through = weights(train_segmenter(PLAN, pictures, folder / "through"))
    with pytest.raises(TrainingStoppedError, match="stopped at step 2"):
        train_segmenter(PLAN, pictures, folder / "halves", report=terminate)
    for name, value in weights(train_segmenter(PLAN, pictures, folder / "halves")).items():
        assert torch.equal(value, through[name]), name
    with pytest.raises(TrainingError, match="another plan"):
        train_segmenter(replace(PLAN, seed=2), pictures, folder / "halves")


def test_every_picture_without_its_mask_is_named(folder: Path) -> None:
    dataset = load_dataset(folder / "set")
    spotted = [p.path for p in dataset.select(split="train").pictures if p.label == "spot"]
    for path in spotted[:2]:
        (folder / "masks" / path).unlink()
    with pytest.raises(BadFilesError) as error:
        loaded(folder, "train")
    assert all(path in str(error.value) for path in spotted[:2])


def test_masks_that_contradict_the_class_are_refused(folder: Path) -> None:
    good = next(
        p.path for p in load_dataset(folder / "set").select(split="train").pictures if p.label == "good"
    )
    (folder / "masks" / "good").mkdir()
    cv2.imwrite(str(folder / "masks" / good), np.full((64, 64), 255, np.uint8))
    with pytest.raises(DatasetError, match=f"{good} is of the class good, but something on it is marked"):
        loaded(folder, "train")


def test_what_is_no_split_size_or_class_is_refused_with_a_remedy(folder: Path) -> None:
    dataset, masks = load_dataset(folder / "set"), folder / "masks"
    with pytest.raises(DatasetError, match="split the data set by `retrain data split`"):
        load_masked(dataset, masks, 64, 1, "validation", sound="good")
    with pytest.raises(DatasetError, match="a multiple of 32 px, not 100"):
        load_masked(dataset, masks, 100, 1, "train", sound="good")
    with pytest.raises(DatasetError, match="name by --sound one of good, spot"):
        load_masked(dataset, masks, 64, 1, "train", sound="fine")
    pictures = loaded(folder, "train")
    with pytest.raises(TrainingError, match="pan takes pictures of 128 px or more, not 64"):
        train_segmenter(replace(PLAN, network="pan"), pictures, folder / "run")
    with pytest.raises(TrainingError, match="no picture of the training split has a defect"):
        train_segmenter(PLAN, replace(pictures, masks=pictures.masks * 0), folder / "run")


def test_two_empty_masks_agree_wholly_and_halves_by_a_third() -> None:
    truth = np.zeros((4, 8, 8), bool)
    found = truth.copy()
    truth[1, :4], found[1, 2:6] = True, True
    truth[2, :4] = True
    found[3, :4] = True
    assert intersection_over_union(truth, found).tolist() == [1.0, pytest.approx(1 / 3), 0.0, 0.0]
    score = score_masks(truth, found, ("a", "b", "c", "d"))
    assert score.confusion == ((4 * 64 - 64 - 48, 48), (48, 16))
    assert score.mean_iou == pytest.approx((1 + 1 / 3) / 4)
    assert score.low <= score.mean_iou <= score.high
    assert (score.precision, score.recall) == (pytest.approx(0.25), pytest.approx(0.25))


def test_pictures_of_one_group_count_together_in_the_interval() -> None:
    rng = np.random.default_rng(1)
    truth = np.ones((40, 4, 4), bool)
    found = np.repeat(rng.random((4, 4, 4)) < 0.5, 10, axis=0)
    apart = score_masks(truth, found, tuple(map(str, range(40))))
    together = score_masks(truth, found, tuple(str(number // 10) for number in range(40)))
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_an_overlay_colours_what_was_missed_what_was_false_and_what_was_found() -> None:
    pixels = np.full((4, 4, 1), 100, np.uint8)
    truth, found = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    truth[0], found[1] = True, True
    truth[2], found[2] = True, True
    drawn = overlay(pixels, truth, found)
    missed, false, both, plain = (drawn[row, 0].tolist() for row in range(4))
    assert plain == [100, 100, 100]
    assert missed[1] > missed[2]
    assert false[2] > false[1]
    assert both[1] > both[0]
    assert both[2] > both[0]
