"""CycleGAN: a generator and a critic for each direction between two domains.

Source: Zhu et al. 2017, section 7.2: the generator with six residual blocks, for pictures up to 128 px, and
the 70 x 70 PatchGAN critic. With 3 channels they have 7,837,699 and 2,764,737 parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.adversarial_layers import check_channels, doublings

_SLOPE = 0.2


class CycleGenerator(nn.Module):
    """c7s1-64, d128, d256, six R256, u128, u64, c7s1-C, as the paper writes it.

    ``(N, C, S, S)``, -1..1 -> the same shape and range.
    """

    def __init__(self, size: int = 128, channels: int = 1) -> None:
        super().__init__()
        doublings(size)
        check_channels(channels)
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), *_normalised(nn.Conv2d(channels, 64, 7))]
        for width in (64, 128):
            layers += _normalised(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))
        layers += [_Residual(256) for _ in range(6)]
        for width in (256, 128):
            doubling = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
            layers += _normalised(doubling)
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(64, channels, 7), nn.Tanh())
        _initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """The pictures in the other domain."""
        made: Tensor = self.layers(pictures)
        return made


class CycleCritic(nn.Module):
    """C64-C128-C256-C512: each place judges a field of 70 x 70 px.

    ``(N, C, S, S)``, -1..1 -> raw scores ``(N, 1, S / 8 - 2, S / 8 - 2)``.
    """

    def __init__(self, size: int = 128, channels: int = 1) -> None:
        super().__init__()
        doublings(size)
        check_channels(channels)
        layers: list[nn.Module] = [nn.Conv2d(channels, 64, 4, stride=2, padding=1), _leaky()]
        for width, stride in ((64, 2), (128, 2), (256, 1)):
            layers += [nn.Conv2d(width, 2 * width, 4, stride=stride, padding=1)]
            layers += [nn.InstanceNorm2d(2 * width), _leaky()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(512, 1, 4, padding=1))
        _initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Raw scores of each place."""
        scores: Tensor = self.layers(pictures)
        return scores


class CyclePair(nn.Module):
    """The generators of both directions between a background and one class, as one translator.

    Pictures ``(N, C, S, S)``, -1..1, and domains ``(N,)`` int64, 0 or 1 -> pictures of those domains.
    ``ground``: the background's domain.
    """

    def __init__(self, size: int = 128, channels: int = 1, ground: int = 0) -> None:
        super().__init__()
        self.ground = ground
        self.out, self.back = CycleGenerator(size, channels), CycleGenerator(size, channels)

    def forward(self, pictures: Tensor, target: Tensor) -> Tensor:
        """The backgrounds with a defect, the defects without."""
        away = (target == self.ground).view(-1, 1, 1, 1)
        return torch.where(away, self.back(pictures), self.out(pictures))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), *_normalised(nn.Conv2d(width, width, 3)),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


def _normalised(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [layer, nn.InstanceNorm2d(layer.out_channels), nn.ReLU(inplace=True)]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(_SLOPE, inplace=True)


def _initialise(network: nn.Module) -> None:
    """N(0, 0.02), as section 4 says; biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
