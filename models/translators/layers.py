"""What the translators share: a picture with its target domain, residual blocks, a critic of two heads."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from models.adversarial_layers import check_channels, doublings

SLOPE = 0.01
"""Of the critics' leaky rectifiers, in StarGAN's code and in PE-GAN's table."""


def check(size: int, channels: int, domains: int) -> None:
    """Raise ``ValueError`` for pictures or domains that no translator takes."""
    doublings(size)
    check_channels(channels)
    if domains < 2:
        raise ValueError(f"a translator has 2 domains or more, not {domains}")


def with_domain(pictures: Tensor, target: Tensor, domains: int) -> Tensor:
    """``(N, C + domains, H, W)``: a plane of ones for the target domain ``(N,)``, of zeros for the others.

    Source: Choi et al. 2018 (StarGAN), section 3.1: the label is repeated over the plane and concatenated.
    """
    planes = one_hot(target, domains).to(pictures.dtype)
    return torch.cat([pictures, planes[:, :, None, None].expand(-1, -1, *pictures.shape[2:])], 1)


class ConditionalGenerator(nn.Module):
    """Two halvings, six residual blocks, two doublings; instance normalisation and ReLU, tanh at the end.

    Pictures ``(N, C, S, S)``, -1..1, and domains ``(N,)`` -> ``(N, C, S, S)``, -1..1.
    """

    def __init__(self, size: int, channels: int, domains: int, *, width: int, kernel: int) -> None:
        super().__init__()
        check(size, channels, domains)
        self.domains = domains
        around = (kernel - 1) // 2
        layers: list[nn.Module] = _normalised(
            nn.Conv2d(channels + domains, width, 7, padding=3, bias=False), width
        )
        for wide in (width, 2 * width):
            halving = nn.Conv2d(wide, 2 * wide, kernel, stride=2, padding=around, bias=False)
            layers += _normalised(halving, 2 * wide)
        layers += [ResidualBlock(4 * width) for _ in range(6)]
        for wide in (4 * width, 2 * width):
            doubling = nn.ConvTranspose2d(
                wide, wide // 2, kernel, stride=2, padding=around, output_padding=kernel % 2, bias=False
            )
            layers += _normalised(doubling, wide // 2)
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 7, padding=3, bias=False), nn.Tanh())

    def forward(self, pictures: Tensor, target: Tensor) -> Tensor:
        """Pictures ``(N, C, S, S)`` of the domains ``target`` ``(N,)``, made from ``pictures``."""
        made: Tensor = self.layers(with_domain(pictures, target, self.domains))
        return made


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with instance normalisation beside the identity; ``(N, W, H, W)`` alike.

    No rectifier after the sum, as in StarGAN's code.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(width, width, 3, padding=1, bias=False), width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The sum of ``x`` and what the two convolutions make of it."""
        y: Tensor = x + self.layers(x)
        return y


class TwoHeadedCritic(nn.Module):
    """Stride-2 convolutions without normalisation, then a score for each place and one vote on the domain.

    Pictures ``(N, C, S, S)``, -1..1 -> scores ``(N,)``, the mean over places, and logits ``(N, domains)``.
    """

    def __init__(
        self, size: int, channels: int, domains: int, *, widths: tuple[int, ...], kernel: int
    ) -> None:
        super().__init__()
        check(size, channels, domains)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((channels, *widths)):
            layers += [
                nn.Conv2d(before, after, kernel, stride=2, padding=(kernel - 1) // 2),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        self.domain = nn.Conv2d(widths[-1], domains, size // 2 ** len(widths), bias=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Raw scores ``(N,)``, the higher the more real, and logits ``(N, domains)``."""
        seen = self.layers(pictures)
        return self.score(seen).mean((1, 2, 3)), self.domain(seen).flatten(1)


def _normalised(layer: nn.Module, width: int) -> list[nn.Module]:
    return [layer, nn.InstanceNorm2d(width, affine=True), nn.ReLU(inplace=True)]
