"""A plain U-Net that draws a defect where a mask says: SyNDGAN's rival without a StyleGAN2 decoder.

It sees what SyNDGAN sees, the picture with its marked pixels hidden and the mask in colour, and its skip
connections can carry the sound surface through (Ronneberger et al. 2015; as in pix2pix, Isola et al. 2017).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.adversarial_layers import doublings
from models.translators.painting import check_painting, overlaid, painted, palette

_SLOPE = 0.2
_FIRST = 64


class MaskedUNet(nn.Module):
    """Pictures ``(N, C, S, S)``, -1..1, and masks ``(N, S, S)`` int64 -> pictures alike, -1..1.

    ``classes`` counts the classes of defects, without 0; ``widest`` caps the filters of every layer.
    """

    colours: Tensor

    def __init__(self, size: int = 128, channels: int = 1, classes: int = 1, *, widest: int = 512) -> None:
        super().__init__()
        check_painting(channels, classes)
        widths = [min(_FIRST << depth, widest) for depth in range(doublings(size) + 1)]
        self.first = nn.Conv2d(channels + 3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            _normalised(before, after, 4, stride=2) for before, after in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            _normalised(after + before, before, 3)
            for before, after in reversed(list(itertools.pairwise(widths)))
        )
        self.last = nn.Conv2d(widths[0], channels, 3, padding=1)
        self.register_buffer("colours", palette(classes), persistent=False)

    def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """``(N, C, S, S)``: the pictures, with defects where their masks say."""
        planes = painted(masks, self.colours).to(pictures.dtype)
        x = self.first(torch.cat([overlaid(pictures, masks, planes), planes], 1))
        skipped = []
        for layer in self.down:
            skipped.append(x)
            x = layer(x)
        for layer in self.up:
            x = layer(torch.cat([interpolate(x, scale_factor=2.0), skipped.pop()], 1))
        return torch.tanh(self.last(x))


def _normalised(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1, bias=False),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.LeakyReLU(_SLOPE),
    )
