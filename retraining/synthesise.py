"""From trained generators to pictures and data sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from retraining.adversarial import build_generator, to_pixels
from retraining.adversarial_plan import AdversarialPlan
from retraining.classifier import TrainingError

_CHUNK = 32
"""Pictures drawn at once."""


def sample(plan: AdversarialPlan, weights: Path, count: int, seed: int) -> NDArray[np.uint8]:
    """``count`` pictures ``(count, size, size, C)`` of a trained generator; the same ones for the same seed.

    ``weights`` is what :func:`retraining.adversarial.train_pair` returned. Raises :class:`TrainingError`.
    """
    trained, generator = open_generator(weights)
    if (trained.system, trained.size, trained.channels) != (plan.system, plan.size, plan.channels):
        raise TrainingError(
            f"{weights} draws {trained.size} px x {trained.channels} by {trained.system}, the plan asks for "
            f"{plan.size} px x {plan.channels} by {plan.system}"
        )
    return draw(generator, trained.own_system().latent, count, seed)


def open_generator(weights: Path) -> tuple[AdversarialPlan, nn.Module]:
    """A trained generator, ready to draw, and the plan it was trained by; raises :class:`TrainingError`."""
    if not weights.is_file():
        raise TrainingError(f"there is no trained generator at {weights}; finish its run first")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    known = {field.name for field in dataclasses.fields(AdversarialPlan)}
    plan = AdversarialPlan(**{name: value for name, value in state["plan"].items() if name in known})
    generator = build_generator(plan)
    generator.load_state_dict(state["weights"])
    return plan, generator.requires_grad_(False).eval()


def draw(generator: nn.Module, latent: int, count: int, seed: int) -> NDArray[np.uint8]:
    """``count`` pictures ``(count, size, size, C)`` of latent vectors drawn from the seed."""
    vectors = torch.randn(count, latent, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return np.concatenate([to_pixels(generator(part)) for part in torch.split(vectors, _CHUNK)])
