"""Projected critics: four small critics on the mixed features of a network that was trained on photographs.

Source: Sauer et al. 2021 (Projected GANs), sections 3 and 4, written from the paper; SyNDGAN's critics
(section III.B.3). The features of EfficientNet-Lite1 (3,723,520 parameters) and the random projections that
mix them (376,768) are frozen; the critics (10,328,192) learn.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.parametrizations import spectral_norm

from models.classifiers.backbones import Backbone

SEEN_PX = 224
"""Smaller pictures are enlarged to this side before the features are taken."""
LEAST_PX = 128
"""Below this side the deepest critic has nothing left to look at."""
_TAPS = (1, 2, 4, 6)
"""Blocks of an EfficientNet-Lite after which features are taken: strides 4, 8, 16 and 32."""
_MIXED = (64, 128, 256, 512)
_FUSED = (64, 64, 128, 256)
_DOWNS = (4, 3, 2, 1)
"""Halvings of each critic, from twice the side of its tap."""
_WIDTHS = (64, 64, 128, 256, 512)
"""Filters of the critics by the halvings that are left: 64 with four left ... 512 with none."""
_SLOPE = 0.2


class FrozenFeatures(nn.Module):
    """The features of an EfficientNet-Lite at four depths; pictures ``(N, C, S, S)``, -1..1.

    With 3 channels they are of the colour picture. Any other number is grey under as many lights: each is
    looked at alone by a ``backbone`` for grey, and the features of all are laid side by side. No parameter
    learns, and gradients pass to the pictures.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, backbone: Backbone, channels: int, seen_px: int = SEEN_PX) -> None:
        super().__init__()
        if seen_px < LEAST_PX:
            raise ValueError(f"pictures are looked at with {LEAST_PX} px or more, not {seen_px}")
        network: Any = backbone.network
        self.lights = 1 if channels == 3 else channels
        self.seen_px = seen_px
        self.register_buffer("_mean", backbone._mean.clone(), persistent=False)
        self.register_buffer("_std", backbone._std.clone(), persistent=False)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = nn.ModuleList(network.blocks)
        self.widths = tuple(
            self.lights * int(network.feature_info[n]["num_chs"]) for n in range(1, len(_TAPS) + 1)
        )
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay as trained: the statistics of the batch normalisation are frozen too."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Maps ``(N, W, H, H)`` of the four depths, the finest first."""
        count, _, side, _ = pictures.shape
        x = (pictures + 1) / 2
        if self.lights > 1:
            x = x.reshape(count * self.lights, 1, side, side)
        if side < self.seen_px:
            x = interpolate(x, size=(self.seen_px, self.seen_px), mode="bilinear", align_corners=False)
        x = self.stem((x - self._mean) / self._std)
        maps = []
        for depth, block in enumerate(self.blocks):
            x = block(x)
            if depth in _TAPS:
                maps.append(x.reshape(count, -1, *x.shape[2:]))
        return maps


class ProjectedCritic(nn.Module):
    """Random projections of feature maps, and a critic for each of the four that come of them.

    ``widths``: channels of the maps (:attr:`FrozenFeatures.widths`); ``widest`` caps the critics' filters.
    Maps -> raw scores, four of ``(N, places)``: the higher, the more real.
    """

    def __init__(self, widths: Sequence[int], *, widest: int = 512) -> None:
        super().__init__()
        self.mixing = nn.ModuleList(
            nn.Conv2d(width, mixed, 1) for width, mixed in zip(widths, _MIXED, strict=True)
        )
        self.fusing = nn.ModuleList(
            nn.Conv2d(mixed, fused, 1) for mixed, fused in zip(_MIXED, _FUSED, strict=True)
        )
        for layer in (*self.mixing, *self.fusing):
            nn.init.kaiming_normal_(layer.weight)
        self.mixing.requires_grad_(False)
        self.fusing.requires_grad_(False)
        self.critics = nn.ModuleList(_critic(downs, widest) for downs in _DOWNS)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Scores of each depth, the finest first."""
        scores: list[Tensor] = []
        fused: Tensor | None = None
        for depth in reversed(range(len(self.critics))):
            mixed = self.mixing[depth](maps[depth])
            x = mixed if fused is None else mixed + fused
            x = interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
            fused = self.fusing[depth](x)
            scores.insert(0, self.critics[depth](fused).flatten(1))
        return tuple(scores)


def _critic(downs: int, widest: int) -> nn.Sequential:
    first, *others = _WIDTHS[-1 - downs :]
    widths = [first, *(min(width, widest) for width in others)]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [
            spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(_SLOPE),
        ]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, bias=False)))


def feature_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """How different pictures look, ``(N,)``: LPIPS (Zhang et al. 2018, equation 1) with all weights 1.

    ``one`` and ``other`` are the maps of :class:`FrozenFeatures`.
    """
    total = torch.zeros(len(one[0]), device=one[0].device)
    for a, b in zip(one, other, strict=True):
        units = [x.float() / (x.float().square().sum(1, keepdim=True) + 1e-8).sqrt() for x in (a, b)]
        total = total + (units[0] - units[1]).square().sum(1).mean((1, 2))
    return total
