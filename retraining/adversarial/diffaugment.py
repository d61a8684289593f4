"""Differentiable augmentation: what the critic sees, real or generated, is changed at random beforehand.

With few real pictures a critic learns them by heart; changed pictures it cannot, and because the changes
are differentiable and the same for both sides the generator does not learn to draw them.

Source: Zhao et al. 2020 (DiffAugment), section 3.3. The strengths are smaller than theirs: a surface's
defect is often marginal, so a shift of an eighth and a hole of a half would show mostly none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

CHANCES = 6
"""Random numbers, uniform in 0..1, that one picture's changes are made of."""

_BRIGHTNESS = 0.2
"""Of the range -1..1: pictures are shifted by +- this ..."""
_CONTRAST = 0.25
"""... and their contrast is multiplied by 1 +- this."""
_SHIFT = 1 / 16
"""Of the side: pictures are moved by up to this, up or down and left or right; the edge is mirrored in."""
_HOLE = 1 / 4
"""Side of the square that is cut out, of the picture's side."""


def diffaugment(pictures: Tensor, chances: Tensor) -> Tensor:
    """Brightness, contrast, a shift and a cut-out square; ``(N, C, S, S)`` -1..1, the same shape out.

    ``chances`` is ``(N, 6)``, uniform in 0..1. Gradients flow to ``pictures``.
    """
    count, _, side, _ = pictures.shape
    if chances.shape != (count, CHANCES):
        raise ValueError(f"{count} pictures need {CHANCES} chances each, not {tuple(chances.shape)}")
    brightness, contrast, down, right, top, left = chances.unbind(1)
    pictures = _recolour(pictures, (2 * brightness - 1) * _BRIGHTNESS, 1 + (2 * contrast - 1) * _CONTRAST)
    pictures = _shift(pictures, down, right, max(1, round(side * _SHIFT)))
    return pictures * _without_hole(top, left, side, max(1, round(side * _HOLE)))


def _recolour(pictures: Tensor, offset: Tensor, gain: Tensor) -> Tensor:
    """``offset`` and ``gain`` are ``(N,)``; contrast turns about each picture's own mean."""
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return (pictures - mean) * gain.view(-1, 1, 1, 1) + mean + offset.view(-1, 1, 1, 1)


def _shift(pictures: Tensor, down: Tensor, right: Tensor, most: int) -> Tensor:
    """Windows of mirrored-out pictures: a gather, so that each picture moves by its own amount."""
    count, _, side, _ = pictures.shape
    wide = pad(pictures, (most, most, most, most), mode="reflect")
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
