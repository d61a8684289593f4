"""Training a classifier on small patches first and on the recipe's patches then.

Up to its flattened layer the network is convolutional. So it first learns on patches of half the side, each
of which costs a quarter, and its convolutions are carried over
(:func:`retraining.classifiers.loop.carry_weights`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from retraining.classifiers.loop import TrainingPlan, Validator, train
from retraining.surfaces.crops import Source

SMALL_PATCH_PX = 128
"""The smallest patch that the networks take."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a training, at one patch size."""

    patch_px: int
    plan: TrainingPlan


def plan_stages(
    recipe_patch_px: int, base: TrainingPlan, small_steps: int, full_steps: int
) -> tuple[Stage, ...]:
    """Both stages of a run; only the second one where the recipe's patches are small already.

    The second stage begins with trained convolutions, so it takes two fifths of the learning rate. It takes
    half the batch, because its patches are four times the size.
    """
    if small_steps == 0 or recipe_patch_px <= SMALL_PATCH_PX:
        return (Stage(recipe_patch_px, replace(base, steps=full_steps)),)
    first = replace(base, steps=small_steps)
    second = replace(
        base,
        steps=full_steps,
        batch=max(2, base.batch // 2),
        learning_rate=base.learning_rate * 0.4,
        seed=base.seed + 1000,
    )
    return Stage(SMALL_PATCH_PX, first), Stage(recipe_patch_px, second)


def train_in_stages(
    plan: tuple[Stage, ...],
    source_for: Callable[[int], Source],
    folder: Path,
    *,
    validator_for: Callable[[int], Validator | None] = lambda patch_px: None,
    start_from: Path | None = None,
    resume: bool = True,
    report: Callable[[Stage, int, str], None] = lambda stage, step, line: None,
) -> Path:
    """Run the stages one after the other and return the best weights of the last.

    ``source_for`` and ``validator_for`` get the patch size. Each stage has its own folder below ``folder``;
    a stage that is finished is not run again, and an interrupted one continues from its checkpoint.
    """
    weights = start_from
    for stage in plan:

        def show(step: int, line: str, stage: Stage = stage) -> None:
            report(stage, step, line)

        weights = train(
            stage.plan,
            source_for(stage.patch_px),
            folder / f"patch-{stage.patch_px}",
            validate=validator_for(stage.patch_px),
            start_from=weights,
            resume=resume,
            report=show,
        )
    if weights is None:
        raise ValueError("a plan needs at least one stage")
    return weights
