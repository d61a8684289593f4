"""The share of synthetic pictures to train with is found on real validation pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from retraining.classifiers.plan import TrainingPlan
from retraining.cli import app
from retraining.data.dataset import Dataset, Picture, PictureSet, load_dataset, save_dataset
from retraining.data.manifest import file_digest
from retraining.errors import TrainingError, TrainingStoppedError
from retraining.synthesis.shares import ShareCurve, shares_table, validate_shares

CLASSES = ("dark", "bright")
PLAN = TrainingPlan(network="sca-cnn", steps=4, batch=8, precision="fp32")


def pictures(per_class: int, seed: int) -> PictureSet:
    """Dark and bright noise."""
    labels = np.repeat([0, 1], per_class)
    noise = np.random.default_rng(seed).integers(0, 100, (len(labels), 32, 32, 1))
    names = tuple(f"{seed}-{n}" for n in range(len(labels)))
    return PictureSet(
        (noise + 140 * labels[:, None, None, None]).astype(np.uint8), labels, CLASSES, names, names
    )


def saved(made: PictureSet, folder: Path, split: str, labelled_by: str) -> tuple[Picture, ...]:
    folder.mkdir(exist_ok=True)
    entries = []
    for number, image in enumerate(made.pixels):
        path = folder / f"{split}-{number}.png"
        cv2.imwrite(str(path), image)
        label, group = CLASSES[int(made.labels[number])], f"{split}-{number}"
        entries.append(Picture(path.name, file_digest(path), label, group, "folder", labelled_by, split))
    return tuple(entries)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    entries = [
        entry
        for split, count, seed in (("train", 8, 1), ("validation", 4, 2), ("test", 4, 3))
        for entry in saved(pictures(count, seed), tmp_path / "pictures", split, "person")
    ]
    return save_dataset(Dataset(tmp_path / "pictures", CLASSES, tuple(entries)), tmp_path / "set")


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    entries = saved(pictures(6, 4), tmp_path / "drawn", "train", "synthetic")
    return save_dataset(Dataset(tmp_path / "drawn", CLASSES, entries), tmp_path / "made")


def test_every_share_is_trained_once_a_seed_and_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    sets = (pictures(8, 1), pictures(4, 2), pictures(6, 3))
    trained: list[tuple[float, int, int]] = []

    def stop_in_the_third(share: float, seed: int, step: int, line: str) -> None:
        trained.append((share, seed, step))
        if (share, seed, step) == (0.5, 1, 2):
            raise TrainingStoppedError("stopped")

    with pytest.raises(TrainingStoppedError):
        validate_shares(PLAN, *sets, tmp_path, shares=(0.0, 0.5), seeds=(1, 2), report=stop_in_the_third)
    assert not (tmp_path / "shares.json").exists()
    trained.clear()
    curve = validate_shares(
        PLAN, *sets, tmp_path, shares=(0.0, 0.5), seeds=(1, 2),
        report=lambda share, seed, step, line: trained.append((share, seed, step)),
    )  # fmt: skip
    again = {(share, seed) for share, seed, step in trained if step < PLAN.steps}
    assert again == {(0.5, 1), (0.5, 2)}, "what is done is not done again"
    assert {(share, seed) for share, seed, _ in trained} == {(s, n) for s in (0.0, 0.5) for n in (1, 2)}
    assert curve.shares == (0.0, 0.5)
    assert [len(scores) for scores in curve.scores] == [2, 2]
    kept = json.loads((tmp_path / "shares.json").read_text())
    assert kept["scores"] == [list(scores) for scores in curve.scores]
    assert (tmp_path / "shares.png").stat().st_size > 5000
    runs = {str(p.parent.relative_to(tmp_path)) for p in tmp_path.glob("*/*/result.json")}
    assert runs == {f"share-{share}/seed-{seed}" for share in ("0", "0.5") for seed in (1, 2)}


def test_one_command_finds_the_share_and_names_the_command_that_confirms_it(
    real: Path, synthetic: Path, tmp_path: Path
) -> None:
    words = ["shares", real, synthetic, "--network", "sca-cnn", "--side", 32, "--epochs", 2, "--batch", 8]
    words += ["--shares", "0.5", "--seeds", 2, "--out", tmp_path / "run"]
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    best = json.loads((tmp_path / "run" / "shares.json").read_text())["best"]
    assert "| macro F1 on validation |" in found.output
    assert ("--synthetic-share 0.5" in found.output) == (best == 0.5)
    assert str(tmp_path / "run" / "shares.png") in found.output.replace("\n", "")


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (((0.5, 0.5), (0.4, 0.4)), "leave the synthetic pictures out"),
        (((0.5, 0.51), (0.6, 0.61)), "25.0% gains 0.1000 [0.1000, 0.1000] over none: certain."),
        (((0.5,), (0.6,)), "25.0% gains 0.1000 over none: not certain"),
    ],
)
def test_the_table_says_what_follows(scores: tuple[tuple[float, ...], ...], told: str) -> None:
    assert told in shares_table(ShareCurve((0.0, 0.25), scores))


def test_a_set_without_validation_pictures_is_refused_with_the_remedy(
    real: Path, synthetic: Path, tmp_path: Path
) -> None:
    whole = load_dataset(real)
    moved = (replace(p, split="train" if p.split == "validation" else p.split) for p in whole.pictures)
    save_dataset(whole.with_pictures(moved), tmp_path / "two")
    found = CliRunner().invoke(app, ["shares", str(tmp_path / "two"), str(synthetic)])
    assert isinstance(found.exception, TrainingError)
    assert "no split called validation; make it by `retrain data split`" in str(found.exception)


@pytest.mark.parametrize(
    ("text", "complaint"), [("a,b", "numbers separated by commas"), ("0.2,1.5", "not within 0 to 1")]
)
def test_shares_that_are_none_are_refused(
    text: str, complaint: str, real: Path, synthetic: Path, tmp_path: Path
) -> None:
    words = [
        "shares",
        str(real),
        str(synthetic),
        "--shares",
        text,
        "--side",
        "32",
        "--out",
        str(tmp_path / "run"),
    ]
    found = CliRunner().invoke(app, words)
    assert found.exit_code != 0
    assert complaint in found.output + str(found.exception)
    assert not (tmp_path / "run").exists()
