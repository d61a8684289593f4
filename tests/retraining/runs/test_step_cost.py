"""What is printed of a step's cost: the step, its bare passes, and the optimisers' part."""

from __future__ import annotations

import sys

import pytest

from retraining.adversarial import cost as adversarial_cost
from retraining.adversarial.plan import AdversarialPlan
from retraining.classifiers import cost as classifier_cost
from retraining.classifiers.plan import TrainingPlan
from retraining.runs.step_cost import StepCost


def test_a_step_of_a_pair_is_measured_beside_its_bare_passes() -> None:
    check(adversarial_cost.measure_step(AdversarialPlan(system="gan", size=32, batch=16), steps=3))


def test_a_step_of_a_classifier_is_measured_beside_its_bare_passes() -> None:
    check(classifier_cost.measure_step(TrainingPlan(network="sca-cnn", batch=4), 32, steps=3))


def check(cost: StepCost) -> None:
    assert min(cost.step_s, cost.bare_s, cost.optimiser_s) > 0
    assert cost.ratio == cost.step_s / cost.bare_s
    assert cost.growth_mib >= 0


def test_the_command_prints_the_step_its_passes_and_the_optimiser_on_the_clock_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classifier_cost", "sca-cnn", "32", "--batch", "4", "--steps", "3", "--processor-time"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    classifier_cost.main()
    told = capsys.readouterr().out
    assert told.startswith("sca-cnn, 32 px, batch 4, ")
    assert all(
        f" {part}" in told for part in ("ms per step", "ms bare passes", "ms optimiser", "resident size")
    )
