"""The training loop: resume, stages, stopping; a few steps on toy patches."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.classifiers import CLASSIFIERS
from retraining.classifiers.loop import (
    TrainingError,
    TrainingPlan,
    TrainingStoppedError,
    Validation,
    carry_weights,
    learning_rate,
    load_checkpoint,
    load_weights,
    train,
)
from retraining.classifiers.patch_sizes import plan_stages, train_in_stages
from retraining.classifiers.validation import part_validator
from retraining.surfaces import Surfaces
from retraining.surfaces.crops import RandomCrops
from station.patching import cut_surface
from station.recipe import PatchGrid, Recipe

PLAN = TrainingPlan(steps=4, batch=4, precision="fp32", checkpoint_every=2, validate_every=4)


@pytest.fixture
def source(toy_surfaces: Surfaces) -> RandomCrops:
    return RandomCrops(toy_surfaces, PatchGrid(size=128))


def test_a_resumed_run_ends_with_the_same_weights(source: RandomCrops, tmp_path: Path) -> None:
    through = load_weights(train(PLAN, source, tmp_path / "through"))

    def stop_at_two(step: int, line: str) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(PLAN, source, tmp_path / "halves", report=stop_at_two)
    halves = load_weights(train(PLAN, source, tmp_path / "halves"))
    for name, value in through.items():
        assert torch.equal(value, halves[name]), name
    steps = [line.split(",")[0] for line in (tmp_path / "halves" / "log.csv").read_text().splitlines()]
    assert steps == ["step", "1", "2", "3", "4"]
    assert (tmp_path / "halves" / "curves.png").stat().st_size > 1000


def test_sigterm_leaves_a_checkpoint_and_says_so(source: RandomCrops, tmp_path: Path) -> None:
    def terminate(step: int, line: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStoppedError, match="stopped at step 2"):
        train(replace(PLAN, checkpoint_every=100), source, tmp_path, report=terminate)
    assert load_checkpoint(tmp_path / "checkpoint.pt", PLAN)["step"] == 2


def test_a_checkpoint_of_another_plan_is_refused(source: RandomCrops, tmp_path: Path) -> None:
    train(replace(PLAN, steps=1), source, tmp_path)
    with pytest.raises(TrainingError, match="another plan"):
        train(replace(PLAN, steps=1, learning_rate=2e-3), source, tmp_path)


def test_the_weights_that_validate_best_are_kept(source: RandomCrops, tmp_path: Path) -> None:
    scores = iter([0.9, 0.5])
    kept: list[dict[str, torch.Tensor]] = []

    def validate(network: torch.nn.Module) -> Validation:
        kept.append({k: v.clone() for k, v in network.state_dict().items()})
        return Validation(next(scores), "")

    plan = replace(PLAN, steps=2, validate_every=1)
    best = load_weights(train(plan, source, tmp_path, validate=validate))
    assert all(torch.equal(best[name], kept[0][name]) for name in best)


def test_the_second_stage_begins_with_the_convolutions_of_the_first(
    toy_surfaces: Surfaces, tmp_path: Path
) -> None:
    plan = plan_stages(256, replace(PLAN, validate_every=1), small_steps=1, full_steps=1)
    assert [(s.patch_px, s.plan.steps, s.plan.batch) for s in plan] == [(128, 1, 4), (256, 1, 2)]
    larger = Surfaces(
        np.tile(toy_surfaces.pixels, (1, 2, 2, 1)),
        np.tile(toy_surfaces.masks, (1, 2, 2)),
        toy_surfaces.classes,
        toy_surfaces.names,
    )
    weights = train_in_stages(plan, lambda patch_px: RandomCrops(larger, PatchGrid(size=patch_px)), tmp_path)
    assert weights == tmp_path / "patch-256" / "best.pt"
    assert load_weights(weights)["classifier.1.weight"].shape == (256, 2048)


def test_small_recipes_train_in_one_stage() -> None:
    assert [s.patch_px for s in plan_stages(128, PLAN, small_steps=50, full_steps=3)] == [128]


def test_carried_weights_see_a_defect_in_any_quarter() -> None:
    torch.manual_seed(0)
    small = CLASSIFIERS["inception-cnn"](3, 1, 128).eval()
    large = CLASSIFIERS["inception-cnn"](3, 1, 256).eval()
    carry_weights(small.state_dict(), large)
    features = torch.rand(1, 512, 1, 1)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        grid = torch.zeros(1, 512, 2, 2)
        grid[:, :, row, column] = features[:, :, 0, 0]
        expected = features.flatten(1) @ small.classifier[1].weight.T / 2
        found = grid.flatten(1) @ large.classifier[1].weight.T
        torch.testing.assert_close(found, expected)


def test_weights_of_another_number_of_classes_are_refused() -> None:
    three, five = CLASSIFIERS["inception-cnn"](3, 1, 128), CLASSIFIERS["inception-cnn"](5, 1, 128)
    with pytest.raises(TrainingError, match="only the patch size may differ"):
        carry_weights(three.state_dict(), five)


def test_the_learning_rate_rises_and_falls_once() -> None:
    plan = replace(PLAN, steps=100)
    rates = [learning_rate(plan, step) for step in range(100)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(plan.learning_rate)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.05 * plan.learning_rate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "vgg"}, "choose one of"),
        ({"precision": "int4"}, "auto, fp32 or bf16"),
        ({"steps": 0}, "1 step or more"),
        ({"loss": "hinge"}, "class-balanced-focal"),
        ({"optimiser": "sgd"}, "adamw, adam"),
        ({"schedule": "steps"}, "one-cycle, constant"),
        ({"patience": -1}, "0 or more"),
        ({"weight_decay": 0.01}, "exclude each other"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        replace(PLAN, **change)  # type: ignore[arg-type]


def test_validation_counts_whole_parts(toy_surfaces: Surfaces, toy_recipe: Recipe) -> None:
    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen = (x > 0.65).float().mean(dim=(1, 2, 3)) > 0.01
            return torch.where(seen[:, None], torch.tensor([0.0, 9.0, 0.0]), torch.tensor([9.0, 0.0, 0.0]))

    found = part_validator(toy_surfaces, toy_recipe)(Bright())
    assert found.summary == "parts right 6/9, escapes 0, overkill 0"
    assert cut_surface(toy_surfaces.pixels[0], toy_recipe.patch).shape == (4, 128, 128, 1)
