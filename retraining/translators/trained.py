"""Trained translators between domains: opened, used, and shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.translators import TRANSLATORS
from models.translators.cycle_gan import CyclePair
from retraining.data.pixels import PictureSet
from retraining.errors import TrainingError
from retraining.runs.sheets import tile
from retraining.translators.loop import as_pixels, scaled
from retraining.translators.plan import MASKED, TranslatorPlan

_SHOWN = 6
"""Backgrounds on a sheet, one row each."""
_CHUNK = 16
"""Pictures that are translated at once."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained translator."""

    plan: TranslatorPlan
    classes: tuple[str, ...]
    background: str
    generator: nn.Module


def open_translator(weights: Path) -> Trained:
    """A trained translator, ready to translate; raises :class:`TrainingError`."""
    if not weights.is_file():
        raise TrainingError(f"there is no trained translator at {weights}; finish its run first")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    if state["plan"]["system"] in MASKED:
        raise TrainingError(
            f"{weights} draws a defect where a mask says; use it by `retrain synthesise {weights.parent} "
            "--masks FOLDER`"
        )
    plan, classes = TranslatorPlan(**state["plan"]), tuple(state["classes"])
    generator: nn.Module
    if plan.own_system().targets == "pair":
        generator = CyclePair(plan.size, plan.channels, classes.index(state["background"]))
    else:
        generator = TRANSLATORS[plan.own_system().networks].generator(plan.size, plan.channels, len(classes))
    generator.load_state_dict(state["weights"])
    return Trained(plan, classes, state["background"], generator.requires_grad_(False).eval())


def translate(trained: Trained, pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Pictures ``(N, size, size, C)`` as pictures of the class ``name``; raises :class:`TrainingError`."""
    plan = trained.plan
    if name not in trained.classes:
        raise TrainingError(f"no class is called {name!r}; choose one of {', '.join(trained.classes)}")
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (plan.size, plan.size, plan.channels):
        raise TrainingError(
            f"the translator takes uint8 (N, {plan.size}, {plan.size}, {plan.channels}), not "
            f"{pixels.dtype} {pixels.shape}"
        )
    target = trained.classes.index(name)
    empty = np.empty((0, *pixels.shape[1:]), np.uint8)
    return np.concatenate([empty, *_translated(trained.generator, pixels, target)])


def _translated(generator: nn.Module, pixels: NDArray[np.uint8], target: int) -> Iterator[NDArray[np.uint8]]:
    device = next(generator.parameters()).device
    for at in range(0, len(pixels), _CHUNK):
        seen = scaled(pixels[at : at + _CHUNK], device)
        with torch.no_grad():
            made = generator(seen, torch.full((len(seen),), target, device=device))
        yield as_pixels(made)


def sheet_of(generator: nn.Module, pictures: PictureSet, ground: int) -> NDArray[np.uint8]:
    """Each row a background of ``pictures``, then the same as every class."""
    shown = pictures.of_class(ground).pixels[:_SHOWN]
    others = [k for k in range(len(pictures.classes)) if k != ground]
    made = [np.concatenate(list(_translated(generator, shown, k))) for k in others]
    columns = np.stack([shown, *made], axis=1)
    return tile(columns.reshape(-1, *columns.shape[2:]), columns.shape[1])
