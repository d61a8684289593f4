"""What networks share that draw a defect where a mask of classes says: the masks' colours, and overlaying.

A mask ``(N, H, W)`` has a class per pixel, 0 where there is no defect. The networks see it as three planes of
colour, and the picture with its marked pixels hidden.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_LEVELS = (255, 0, 128)
COLOURS = tuple(
    sorted(
        (
            red << 16 | green << 8 | blue
            for red, green, blue in itertools.product(_LEVELS, repeat=3)
            if red | green | blue
        ),
        key=lambda colour: (128 in colour.to_bytes(3, "big"), colour.bit_count(), -colour),
    )
)
"""The colour of each class of defect, 0xRRGGBB: red, green, blue, yellow, magenta, cyan, white, then duller
ones."""
MOST_LIGHTS = 8
"""Lights under which one picture may be taken."""


def check_painting(channels: int, classes: int) -> None:
    """Raise ``ValueError`` for channels or classes (of defects) that no such network takes."""
    if not 1 <= channels <= MOST_LIGHTS:
        raise ValueError(f"a picture has 1 to {MOST_LIGHTS} channels, not {channels}")
    if not 1 <= classes <= len(COLOURS):
        raise ValueError(f"there are 1 to {len(COLOURS)} classes of defects, not {classes}")


def palette(classes: int) -> Tensor:
    """``(classes + 1, 3)``, 0..1: blue, green, red of each class; the first, no defect, is black."""
    colours = [0, *COLOURS[:classes]]
    return torch.tensor([[c & 255, c >> 8 & 255, c >> 16] for c in colours], dtype=torch.float32) / 255


def painted(masks: Tensor, colours: Tensor) -> Tensor:
    """``(N, 3, H, W)``, 0..1: the colours (:func:`palette`) of masks ``(N, H, W)`` int64."""
    return colours[masks].permute(0, 3, 1, 2)


def overlaid(pictures: Tensor, masks: Tensor, planes: Tensor) -> Tensor:
    """Pictures ``(N, C, H, W)``, -1..1, whose marked pixels are hidden by their colour.

    Three channels are blue, green and red; any other number is grey under each light, where a colour is its
    mean. Source: Cho et al. (SyNDGAN), section III.A and figure 2.
    """
    cover = planes if pictures.shape[1] == 3 else planes.mean(1, keepdim=True)
    return torch.where(masks.unsqueeze(1) > 0, 2 * cover.to(pictures.dtype) - 1, pictures)
