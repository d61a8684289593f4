"""Translators: learning, resume, what is refused, and the two commands."""

from __future__ import annotations

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
from retraining.data.folders import Folders
from retraining.data.pixels import PictureSet
from retraining.errors import DivergedError, TrainingError, TrainingStoppedError
from retraining.translators.domains import train_translator
from retraining.translators.drawing import on_backgrounds
from retraining.translators.plan import SYSTEMS, TranslatorPlan
from retraining.translators.trained import open_translator, translate

PLAN = TranslatorPlan(size=32, steps=3, batch=2, critic_steps=1, precision="fp32", checkpoint_every=1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures() -> PictureSet:
    """Four pictures each: plain, with a bright bar, with a dark spot."""
    rng = np.random.default_rng(1)
    made = rng.integers(90, 130, (12, 32, 32, 1)).astype(np.uint8)
    made[4:8, 12:18] = 240
    made[8:, 10:20, 10:20] = 10
    names = tuple(map(str, range(12)))
    return PictureSet(made, np.repeat([0, 1, 2], 4), ("plain", "bar", "spot"), names, names)


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_every_system_trains_and_translates(system: str, pictures: PictureSet, tmp_path: Path) -> None:
    plan, shown = replace(PLAN, system=system, steps=1), pictures
    if system == "cycle-gan":
        shown = replace(pictures.select(np.arange(12) < 8), classes=("plain", "bar"))
    trained = open_translator(train_translator(plan, shown, "plain", tmp_path))
    assert (trained.plan, trained.classes, trained.background) == (plan, shown.classes, "plain")
    grounds = shown.of_class(0).pixels
    made = translate(trained, grounds, "bar")
    assert made.shape == grounds.shape
    assert made.dtype == np.uint8
    others = [name for name in shown.classes if name != "bar"]
    assert not np.array_equal(made, translate(trained, grounds, others[-1]))
    sheet = cv2.imread(str(tmp_path / "samples" / "000001.png"), cv2.IMREAD_GRAYSCALE)
    columns = len(shown.classes)
    assert sheet.shape == (4 * 34 - 2, columns * 34 - 2), "a background per row, a class per column"


def test_cycle_gan_learns_one_class_per_run_and_remembers_its_pool(
    pictures: PictureSet, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"one class per run.*--class: bar, spot"):
        train_translator(replace(PLAN, system="cycle-gan"), pictures, "plain", tmp_path)
    two = replace(pictures.select(np.arange(12) < 8), classes=("plain", "bar"))
    plan = replace(PLAN, system="cycle-gan", steps=3, batch=1)

    def stop(step: int, line: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    through = train_translator(plan, two, "plain", tmp_path / "through")
    with pytest.raises(TrainingStoppedError):
        train_translator(plan, two, "plain", tmp_path / "halves", report=stop)
    state = torch.load(tmp_path / "halves" / "checkpoint.pt", weights_only=True)
    assert len(state["defect_pool"]["kept"]) == state["step"] == 2
    again = train_translator(plan, two, "plain", tmp_path / "halves")
    whole, parted = (torch.load(path, weights_only=True)["weights"] for path in (through, again))
    assert all(torch.equal(whole[name], parted[name]) for name in whole)


@pytest.mark.parametrize(("system", "last"), [("star-gan", 0.2), ("cycle-gan", 0.2), ("pe-gan", 1.0)])
def test_the_rate_falls_over_the_second_half_where_the_paper_says_so(system: str, last: float) -> None:
    plan = replace(PLAN, system=system, steps=10, learning_rate=2e-4)
    rates = [plan.rate_of(step) / 2e-4 for step in range(10)]
    assert rates[:6] == pytest.approx([1.0] * 6)
    assert rates[-1] == pytest.approx(last)
    assert plan.scheduled == (last < 1)


def test_the_way_there_and_back_gets_shorter(pictures: PictureSet, tmp_path: Path) -> None:
    cycles: list[float] = []
    plan = replace(PLAN, steps=10, batch=2, learning_rate=5e-4, checkpoint_every=100)
    train_translator(
        plan, pictures, "plain", tmp_path, report=lambda step, line: cycles.append(float(line.split()[3]))
    )
    assert min(cycles[5:]) < 0.75 * cycles[0]


def test_a_run_that_was_stopped_ends_with_the_same_weights(pictures: PictureSet, tmp_path: Path) -> None:
    def weights(path: Path) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["weights"]
        return found

    def terminate(step: int, line: str) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    through = weights(train_translator(PLAN, pictures, "plain", tmp_path / "through"))
    with pytest.raises(TrainingStoppedError, match="stopped at step 2"):
        train_translator(PLAN, pictures, "plain", tmp_path / "halves", report=terminate)
    for name, value in weights(train_translator(PLAN, pictures, "plain", tmp_path / "halves")).items():
        assert torch.equal(value, through[name]), name
    with pytest.raises(TrainingError, match="another plan"):
        train_translator(replace(PLAN, seed=2), pictures, "plain", tmp_path / "halves")


def test_losses_that_are_no_numbers_end_the_run_without_weights(pictures: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        train_translator(replace(PLAN, learning_rate=1e30), pictures, "plain", tmp_path)
    assert not (tmp_path / "translator.pt").exists()


def test_what_does_not_fit_is_refused_with_a_remedy(pictures: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="name the one without defects: plain, bar, spot"):
        train_translator(PLAN, pictures, "good", tmp_path)
    with pytest.raises(TrainingError, match=r"\(N, 64, 64, 1\)"):
        train_translator(replace(PLAN, size=64), pictures, "plain", tmp_path)
    with pytest.raises(TrainingError, match="fewer than two pictures of spot"):
        train_translator(PLAN, pictures.select(np.arange(12) < 9), "plain", tmp_path)
    for change, message in (
        ({"system": "cycle"}, "choose one of pe-gan"),
        ({"size": 48}, "32, 64, 128, 256 px"),
        ({"batch": 5}, "an even number"),
        ({"precision": "fp16"}, "auto, fp32 or bf16"),
    ):
        with pytest.raises(TrainingError, match=message):
            replace(PLAN, **change)  # type: ignore[arg-type]


def test_a_background_is_used_once_before_any_is_used_again(pictures: PictureSet, tmp_path: Path) -> None:
    trained = open_translator(train_translator(replace(PLAN, steps=1), pictures, "plain", tmp_path))
    grounds = pictures.of_class(0).pixels
    made = on_backgrounds(trained, grounds, "bar", 16, seed=3)
    assert len({picture.tobytes() for picture in made}) == 16
    direct = {picture.tobytes() for picture in translate(trained, grounds, "bar")}
    assert {picture.tobytes() for picture in made[:4]} == direct
    assert np.array_equal(on_backgrounds(trained, grounds, "bar", 5, seed=3), made[:5])
    with pytest.raises(TrainingError, match="4 backgrounds give 16 different pictures of bar"):
        on_backgrounds(trained, grounds, "bar", 17, seed=3)


def test_the_commands_train_and_make_a_synthetic_set(pictures: PictureSet, tmp_path: Path) -> None:
    for number, (pixels, label) in enumerate(zip(pictures.pixels, pictures.labels, strict=True)):
        folder = tmp_path / "pictures" / pictures.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), pixels[..., 0])
    save_dataset(Folders(tmp_path / "pictures").read(), tmp_path / "set")
    run, out = tmp_path / "run", tmp_path / "made"
    words = ["translator", "--dataset", str(tmp_path / "set"), "--background", "plain", "--size", "32"]
    words += ["--steps", "1", "--batch", "2", "--critic-steps", "1", "--precision", "fp32"]
    result = CliRunner().invoke(app, [*words, "--out", str(run)])
    assert result.exit_code == 0, result.output
    words = ["translate", str(run), "--dataset", str(tmp_path / "set"), "--count", "6", "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    made = load_dataset(out)
    assert made.count() == {**dict.fromkeys(made.classes, 0), "bar": 6, "spot": 6}
    assert {picture.labelled_by for picture in made.pictures} == {"synthetic"}
    refused = CliRunner().invoke(app, [*words, "--class", "plain"])
    assert refused.exit_code != 0
