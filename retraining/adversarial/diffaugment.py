"""Differentiable augmentation: what the critic sees, real or generated, is changed at random beforehand.

With few real pictures a critic learns them by heart; changed pictures it cannot, and because the changes
are differentiable and the same for both sides the generator does not learn to draw them.

Source: Zhao et al. 2020 (DiffAugment), section 3.3, whose strengths are ``paper``. ``mild`` is ours: a
surface's defect is often marginal, so a shift of an eighth and a hole of a half would show mostly none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import pad

CHANCES = 7
"""Random numbers, uniform in 0..1, that one picture's changes are made of."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How far pictures are changed."""

    brightness: float
    """Of the range -1..1: pictures are shifted by +- this ..."""
    saturation: float
    """... the difference of each channel from their mean is multiplied by 1 +- this (grey has none) ..."""
    contrast: float
    """... and the contrast is multiplied by 1 +- this."""
    shift: float
    """Of the side: pictures are moved by up to this, up or down and left or right."""
    edge: str
    """What moves in at the edge: ``reflect`` the picture itself, or ``constant`` 0, a middle grey."""
    hole: float
    """Side of the square that is cut out, of the picture's side."""


STRENGTHS: Mapping[str, Strength] = MappingProxyType(
    {
        "paper": Strength(0.5, 1.0, 0.5, 1 / 8, "constant", 1 / 2),
        "mild": Strength(0.2, 0.0, 0.25, 1 / 16, "reflect", 1 / 4),
    }
)


def diffaugment(pictures: Tensor, chances: Tensor, strength: Strength) -> Tensor:
    """Brightness, saturation, contrast, a shift and a cut-out square; ``(N, C, S, S)`` -1..1, same shape out.

    ``chances`` is ``(N, 7)``, uniform in 0..1. Gradients flow to ``pictures``.
    """
    count, _, side, _ = pictures.shape
    if chances.shape != (count, CHANCES):
        raise ValueError(f"{count} pictures need {CHANCES} chances each, not {tuple(chances.shape)}")
    brightness, contrast, down, right, top, left, saturation = chances.unbind(1)
    pictures = pictures + _per_picture((2 * brightness - 1) * strength.brightness)
    if strength.saturation and pictures.shape[1] > 1:
        grey = pictures.mean(dim=1, keepdim=True)
        pictures = _about(grey, pictures, (2 * saturation - 1) * strength.saturation)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = _about(mean, pictures, (2 * contrast - 1) * strength.contrast)
    pictures = _shift(pictures, down, right, max(1, round(side * strength.shift)), strength.edge)
    return pictures * _without_hole(top, left, side, max(1, round(side * strength.hole)))


def _about(middle: Tensor, pictures: Tensor, more: Tensor) -> Tensor:
    """Differences from ``middle``, multiplied by 1 + ``more`` ``(N,)``."""
    return (pictures - middle) * (1 + _per_picture(more)) + middle


def _per_picture(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _shift(pictures: Tensor, down: Tensor, right: Tensor, most: int, edge: str) -> Tensor:
    """Windows of widened pictures: a gather, so that each picture moves by its own amount."""
    count, _, side, _ = pictures.shape
    wide = pad(pictures, (most, most, most, most), mode=edge)
    along = torch.arange(side, device=pictures.device)
    rows = along + (down * (2 * most + 1)).long().view(-1, 1)
    columns = along + (right * (2 * most + 1)).long().view(-1, 1)
    which = torch.arange(count, device=pictures.device).view(-1, 1, 1)
    moved = wide.permute(0, 2, 3, 1)[which, rows.unsqueeze(2), columns.unsqueeze(1)]
    return moved.permute(0, 3, 1, 2)


def _without_hole(top: Tensor, left: Tensor, side: int, hole: int) -> Tensor:
    """``(N, 1, S, S)``: 0 in a square of ``hole`` px whose middle lies anywhere, 1 elsewhere."""
    along = torch.arange(side, device=top.device)

    def inside(middle: Tensor) -> Tensor:
        first = (middle * (side + 1)).long().view(-1, 1) - hole // 2
        return (along >= first) & (along < first + hole)

    return (~(inside(top).unsqueeze(2) & inside(left).unsqueeze(1))).unsqueeze(1).float()
