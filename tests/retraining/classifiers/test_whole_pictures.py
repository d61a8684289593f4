"""Training and testing on whole pictures, cross-validation, and the command for data sets."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from retraining.classifiers.augmentation import PLAIN
from retraining.classifiers.cross_validation import cross_validate
from retraining.classifiers.loop import (
    TrainingError,
    TrainingPlan,
    TrainingStoppedError,
    Validation,
    build_network,
    in_epochs,
    load_weights,
    train,
)
from retraining.classifiers.whole_pictures import score_pictures, train_and_test
from retraining.cli import app
from retraining.data.dataset import Dataset, Picture, PictureSet, load_dataset, save_dataset
from retraining.data.manifest import file_digest
from retraining.data.source import PictureSource

CLASSES = ("bright", "dark", "striped")
PLAN = TrainingPlan(
    network="sca-cnn", steps=30, batch=12, learning_rate=3e-3, precision="fp32", dropout=0.0,
    augmentation=PLAIN, ema=0.8,
)  # fmt: skip


def pictures(per_class: int, seed: int, side: int = 32) -> PictureSet:
    """Three classes that a network of some steps tells apart."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), per_class)
    pixels = rng.normal(120, 12, (len(labels), side, side, 1))
    pixels[labels == 0] += 60
    pixels[labels == 1] -= 60
    pixels[labels == 2, ::4] += 90
    names = tuple(f"{CLASSES[k]}-{n}" for n, k in enumerate(labels))
    groups = tuple(f"part-{k}-{n // 2}" for n, k in enumerate(labels))
    return PictureSet(np.clip(pixels, 0, 255).astype(np.uint8), labels, CLASSES, groups, names)


def test_a_classifier_without_a_sound_class_learns_and_is_tested(tmp_path: Path) -> None:
    found = train_and_test(PLAN, pictures(20, 1), pictures(5, 2), tmp_path)
    assert found.accuracy == found.macro_f1 == 1.0
    assert found.confusion == ((5, 0, 0), (0, 5, 0), (0, 0, 5))
    assert found.steps == 30
    assert found.seconds > 0
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["accuracy"] == 1.0
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    with (tmp_path / "log.csv").open() as file:
        assert {row["false_alarms"] for row in csv.DictReader(file)} == {"nan"}
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["kind"], run["outcome"], run["plan"]["network"]) == ("classifier", "finished", "sca-cnn")


@pytest.mark.parametrize("loss", ["class-balanced", "focal", "class-balanced-focal"])
def test_every_loss_learns_from_few_of_a_class(loss: str, tmp_path: Path) -> None:
    few = pictures(16, 1).select(np.r_[0:16, 16:32, 32:36])
    plan = replace(PLAN, loss=loss, optimiser="adam", steps=60)
    assert train_and_test(plan, few, pictures(5, 2), tmp_path).accuracy == 1.0


def test_a_class_balanced_loss_without_counts_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="every class needs a picture"):
        train(replace(PLAN, loss="class-balanced"), PictureSource(pictures(4, 1)), tmp_path)


def test_a_run_that_was_stopped_between_two_checkpoints_ends_alike(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=9, batch=6, replay_share=0.4, checkpoint_every=1, dropout=0.3)
    source = PictureSource(pictures(6, 1), sound=0)
    whole = load_weights(train(plan, source, tmp_path / "whole"))
    for stop in (3, 6):

        def end(step: int, line: str, stop: int = stop) -> None:
            if step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(plan, source, tmp_path / "parts", report=end)
    parts = load_weights(train(plan, source, tmp_path / "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert json.loads((tmp_path / "parts" / "run.json").read_text())["sessions"][-1]["first_step"] > 0


def test_training_ends_when_validation_grows_no_better(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.8, 0.9, 0.7, 1.0])
    asked: list[int] = []

    def validate(network: torch.nn.Module) -> Validation:
        asked.append(1)
        return Validation(next(scores), "")

    plan = replace(PLAN, patience=3, validate_every=2)
    source = PictureSource(pictures(6, 1))
    weights = train(plan, source, tmp_path, validate=validate)
    assert len(asked) == 5
    before = load_weights(weights)
    again = load_weights(train(plan, source, tmp_path, validate=validate))
    assert len(asked) == 5, "a run that has ended is not taken up"
    assert all(torch.equal(value, again[name]) for name, value in before.items())


def test_patience_without_validation_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs validation pictures"):
        train_and_test(replace(PLAN, patience=2), pictures(4, 1), pictures(2, 2), tmp_path)


def test_weights_are_chosen_on_validation_pictures_where_there_are_some(tmp_path: Path) -> None:
    plan = replace(PLAN, validate_every=10)
    found = train_and_test(plan, pictures(8, 1), pictures(4, 2), tmp_path, validation=pictures(4, 3))
    assert found.accuracy == 1.0
    with (tmp_path / "log.csv").open() as file:
        scores = {int(row["step"]): float(row["validation"]) for row in csv.DictReader(file)}
    assert [step for step, score in scores.items() if not np.isnan(score)] == [10, 20, 30]


def test_a_run_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    first = train_and_test(PLAN, pictures(8, 1), pictures(4, 2), tmp_path / "first")
    plan = replace(PLAN, steps=1, learning_rate=1e-9)
    second = train_and_test(
        plan, pictures(8, 1), pictures(4, 2), tmp_path / "second", start_from=first.weights
    )
    assert second.accuracy == 1.0


def test_published_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "theirs.pt")
    plan = replace(PLAN, network="resnet18")
    with pytest.raises(TrainingError, match="of another network"):
        train(plan, PictureSource(pictures(4, 1)), tmp_path / "run", start_from=tmp_path / "theirs.pt")


def test_pictures_that_are_too_small_are_refused_with_the_size_that_would_do(tmp_path: Path) -> None:
    plan = replace(PLAN, network="inception-cnn")
    with pytest.raises(TrainingError, match=r"inception-cnn cannot be built.*multiple of 128"):
        build_network(plan, PictureSource(pictures(2, 1)))


def test_scores_name_precision_and_recall_of_each_class() -> None:
    truth = pictures(4, 1)
    predicted = np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 0, 0])
    found = score_pictures(predicted, truth, 1.0, 2, Path("best.pt"))
    assert found.confusion == ((3, 1, 0), (0, 4, 0), (2, 0, 2))
    assert found.accuracy == pytest.approx(9 / 12)
    assert found.recall == (0.75, 1.0, 0.5)
    assert found.precision == (0.6, 0.8, 1.0)
    assert found.support == (4, 4, 4)


def test_steps_follow_from_epochs() -> None:
    assert in_epochs(PLAN, 40, 1260).steps == round(40 * 1260 / 12)


def test_folds_keep_parts_together_and_an_interrupted_validation_goes_on(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def stop_in_the_second(fold: int, step: int, line: str) -> None:
        told.append((fold, step))
        if fold == 2 and step == 4:
            raise TrainingStoppedError("enough")

    plan, everything = replace(PLAN, steps=8), pictures(8, 1)
    with pytest.raises(TrainingStoppedError):
        cross_validate(plan, everything, 2, tmp_path, report=stop_in_the_second)
    found = cross_validate(plan, everything, 2, tmp_path, report=lambda f, s, line: told.append((f, s)))
    assert [fold.steps for fold in found.folds] == [8, 8]
    assert sum(sum(fold.support) for fold in found.folds) == 24
    assert told.count((1, 8)) == 1, "the first fold was not trained again"
    assert found.table().splitlines()[-1].startswith("| mean |")
    assert json.loads((tmp_path / "folds.json").read_text())["folds"][1]["accuracy"] >= 0


def test_a_cross_validation_has_no_patience(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="patience at 0"):
        cross_validate(replace(PLAN, patience=1), pictures(4, 1), 2, tmp_path)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set on the disk, split."""
    entries = []
    for split, count, seed in (("train", 12, 1), ("validation", 4, 2), ("test", 4, 3)):
        made = pictures(count, seed)
        for number, image in enumerate(made.pixels):
            path = tmp_path / "pictures" / f"{split}-{number}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), image)
            label = CLASSES[int(made.labels[number])]
            group = f"{split}-{made.groups[number]}"
            entries.append(Picture(path.name, file_digest(path), label, group, "folder", "person", split))
    return save_dataset(Dataset(tmp_path / "pictures", CLASSES, tuple(entries)), tmp_path / "set")


def retrain(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_one_command_trains_and_tests_on_a_data_set(dataset: Path, tmp_path: Path) -> None:
    told = retrain(
        "classifier", "--dataset", dataset, "--network", "sca-cnn", "--side", 32, "--epochs", 12,
        "--batch", 12, "--learning-rate", "3e-3", "--augment", "flips", "--patience", 50,
        "--precision", "fp32", "--out", tmp_path / "run", "--onnx",
    )  # fmt: skip
    assert "| accuracy 100.00% |" in told
    for name in ("result.json", "run.json", "confusion.png", "curves.png", "best.pt", "model.onnx"):
        assert (tmp_path / "run" / name).is_file(), name


def test_one_command_cross_validates_on_all_but_the_test_pictures(dataset: Path, tmp_path: Path) -> None:
    told = retrain(
        "classifier", "--dataset", dataset, "--network", "sca-cnn", "--side", 32, "--epochs", 1, "--batch",
        12, "--folds", 2, "--loss", "focal", "--precision", "fp32", "--out", tmp_path / "run",
    )  # fmt: skip
    assert "| mean |" in told
    tested = [json.loads((tmp_path / "run" / f"fold-{n}" / "result.json").read_text()) for n in (1, 2)]
    assert sum(sum(fold["support"]) for fold in tested) == 48


def test_a_data_set_without_a_split_is_refused_with_the_remedy(dataset: Path, tmp_path: Path) -> None:
    whole = load_dataset(dataset)
    save_dataset(whole.with_pictures(replace(p, split="") for p in whole.pictures), tmp_path / "unsplit")
    with pytest.raises(TrainingError, match="retrain data split"):
        retrain("classifier", "--dataset", tmp_path / "unsplit", "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--side", 64), "by --dataset; `retrain engine` trains on rendered parts"),
        (("--dataset", "x", "--parts", 20), "option of `retrain engine` now"),
        (("--data=patches",), "option of `retrain patches` now"),
    ],
)
def test_options_of_the_other_way_are_not_ignored(words: tuple[object, ...], complaint: str) -> None:
    result = CliRunner().invoke(app, ["classifier", *(str(word) for word in words)], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert complaint in result.output
