"""StyleGAN2's critic: residual blocks that halve the map, and how much the pictures of a batch differ.

Written from Karras et al. 2020 (StyleGAN2), section 4.1 and figure 7, and Karras et al. 2018 (progressive
growing), section 3 (minibatch deviation). At 256 px, 3 channels and config F it has 28,864,129 parameters.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from models.adversarial_layers import check_channels, doublings
from models.generators.stylegan2 import SMALL_BASE, SMALL_WIDEST, EqualLinear, filters, rectified, smooth

_GROUP = 4
"""Pictures whose deviation is taken together."""


class StyleGAN2Critic(nn.Module):
    """``(N, channels, size, size)``, -1..1 -> raw scores ``(N,)``: the more real, the higher.

    A score depends on the other pictures of its group of four (of the whole batch, where that is no multiple
    of four), through one map of how much they differ.
    """

    def __init__(self, size: int = 64, channels: int = 1, *, base: int = 32768, widest: int = 512) -> None:
        super().__init__()
        check_channels(channels)
        widths = [filters(size >> step, base, widest) for step in range(doublings(size) + 1)]
        self.colours = EqualConv(channels, widths[0], 1)
        self.blocks = nn.Sequential(*(_Block(before, after) for before, after in itertools.pairwise(widths)))
        last = widths[-1]
        self.last = EqualConv(last + 1, last, 3)
        self.dense = EqualLinear(last * 4 * 4, last)
        self.score = EqualLinear(last, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Raw scores ``(N,)``."""
        x = self.blocks(rectified(self.colours(pictures)))
        x = rectified(self.last(torch.cat([x, deviation(x)], 1)))
        scores: Tensor = self.score(rectified(self.dense(x.flatten(1)))).flatten()
        return scores


def small_critic(size: int = 64, channels: int = 1) -> StyleGAN2Critic:
    """The critic beside :func:`models.generators.stylegan2.small_generator`."""
    return StyleGAN2Critic(size, channels, base=SMALL_BASE * size, widest=SMALL_WIDEST)


class EqualConv(nn.Module):
    """A convolution with equalised learning rate, as :class:`EqualLinear`; ``halved``: smoothed, stride 2."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, halved: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self._scale, self._halved = 1 / math.sqrt(inputs * kernel * kernel), halved

    def forward(self, x: Tensor) -> Tensor:
        """``(N, out, H, W)``, or half the sides."""
        kernel = self.weight.shape[-1]
        if not self._halved:
            return conv2d(x, self.weight * self._scale, self.bias, padding=kernel // 2)
        reach = kernel // 2 + 1
        return conv2d(smooth(x, (reach, reach)), self.weight * self._scale, self.bias, stride=2)


class _Block(nn.Module):
    """Two 3 x 3 convolutions, the second one halving, beside a halving 1 x 1; their sum over root 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.same = EqualConv(inputs, inputs, 3)
        self.halving = EqualConv(inputs, outputs, 3, halved=True)
        self.beside = EqualConv(inputs, outputs, 1, bias=False, halved=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = rectified(self.halving(rectified(self.same(x)))) + self.beside(x)
        return y / math.sqrt(2)


def deviation(x: Tensor) -> Tensor:
    """``(N, 1, H, W)``: the mean over channels and places of the deviation within each group of pictures."""
    count, _, height, width = x.shape
    group = _GROUP if count % _GROUP == 0 else count
    grouped = x.reshape(group, -1, *x.shape[1:])
    spread = (grouped.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.repeat(group).view(count, 1, 1, 1).expand(-1, 1, height, width)
