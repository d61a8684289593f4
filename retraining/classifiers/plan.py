"""The plan of a classifier's training, and the numbers that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from models.classifiers import CLASSIFIERS
from retraining.classifiers.augmentation import Augmentation
from retraining.classifiers.losses import LOSSES
from retraining.classifiers.optimisers import OPTIMISERS
from retraining.errors import TrainingError

_MAY_CHANGE = ("validate_every", "checkpoint_every", "device")
"""Settings that may have another value when a run continues from its checkpoint."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything that, with the data, determines a training run."""

    network: str = "inception-cnn"
    steps: int = 2000
    batch: int = 32
    """Patches per step, of all processes together."""
    learning_rate: float = 1e-3
    """At the top of the schedule."""
    warm_up: float = 0.1
    """Share of the steps in which the learning rate rises."""
    l2: float = 1e-5
    """Weight of the L2 penalty. The paper's 0.01 belongs to 100 epochs of a small data set; in a run of a few
    thousand steps it is much larger than the cross-entropy, and the network learns only small weights."""
    dropout: float = 0.2
    label_smoothing: float = 0.02
    """Of the cross-entropies; the focal losses have none."""
    ema: float = 0.995
    """Per step; the averaged weights are those that are validated and exported."""
    replay_share: float = 0.15
    """Share of a batch drawn from the patches that were wrong before, where the source has a sound class."""
    replay_size: int = 512
    clip_norm: float = 5.0
    seed: int = 1
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: the faster of the two, by one step of each."""
    validate_every: int = 250
    checkpoint_every: int = 50
    """Steps between two checkpoints at least; more where writing one takes long."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: str = "cross-entropy"
    """One of :data:`retraining.classifiers.losses.LOSSES`."""
    focal_gamma: float = 2.0
    balance_beta: float = 0.999
    """Of the class-balanced losses: 0 weighs all classes alike, towards 1 inversely to their counts."""
    class_counts: tuple[int, ...] = ()
    """Training pictures of each class, for the class-balanced losses."""
    optimiser: str = "adamw"
    weight_decay: float = 0.0
    """See :func:`retraining.classifiers.optimisers.make_optimiser`, also for ``l2``."""
    schedule: str = "one-cycle"
    """``one-cycle``: a linear rise, then half a cosine down to a hundredth; ``constant``: only the rise."""
    patience: int = 0
    """Validations without a better score after which training ends; 0: never before its last step."""
    taught_share: float = 0.7
    """Of the loss, where there is a teacher; the labels have the rest."""
    taught_temperature: float = 3.0
    """By which a teacher's words are softened."""
    device: str = "auto"
    """``auto`` (the GPU where there is one), ``cpu`` or ``cuda``."""

    def __post_init__(self) -> None:
        if self.optimiser == "adamw" and self.weight_decay and self.l2:
            raise TrainingError("l2 and AdamW's weight_decay exclude each other; set one of them to 0")
        for value, known, what in (
            (self.network, CLASSIFIERS, "network"),
            (self.loss, LOSSES, "loss"),
            (self.optimiser, OPTIMISERS, "optimiser"),
            (self.schedule, ("one-cycle", "constant"), "schedule"),
        ):
            if value not in known:
                raise TrainingError(f"no {what} is called {value!r}; choose one of {', '.join(known)}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(f"precision is auto, fp32 or bf16, not {self.precision!r}")
        if self.steps < 1 or self.batch < 2:
            raise TrainingError("a plan needs 1 step or more, and 2 patches per batch or more")
        if self.patience < 0 or self.focal_gamma < 0 or not 0 <= self.balance_beta <= 1:
            raise TrainingError("patience and gamma are 0 or more, beta is from 0 to 1")


def in_epochs(plan: TrainingPlan, epochs: float, pictures: int) -> TrainingPlan:
    """The plan with as many steps as ``epochs`` passes over ``pictures`` pictures take."""
    return replace(plan, steps=max(1, round(epochs * pictures / plan.batch)))


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """The learning rate of a step: a linear rise, then the schedule of the plan."""
    rise = max(1, round(plan.steps * plan.warm_up))
    if step < rise:
        return plan.learning_rate * (step + 1) / rise
    if plan.schedule == "constant":
        return plan.learning_rate
    done = (step - rise) / max(1, plan.steps - rise)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def settings(plan: TrainingPlan) -> dict[str, Any]:
    """The settings that a checkpoint must share with a plan so that the plan continues from it."""
    return {k: v for k, v in asdict(plan).items() if k not in _MAY_CHANGE}


def same_settings(plan: TrainingPlan, kept: Mapping[str, Any]) -> bool:
    """Whether a checkpoint with the settings ``kept`` is the plan's; those it lacks are at their default."""
    default = settings(TrainingPlan())
    known = {f.name for f in fields(TrainingPlan)}
    return set(kept) <= known and {**default, **kept} == settings(plan)
