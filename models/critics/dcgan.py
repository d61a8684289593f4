"""DCGAN's critic ("discriminator"): stride-2 convolutions with leaky rectifiers.

Source: Radford et al. 2016, section 3. With ``norm`` off it is the critic of WGAN-GP, whose penalty is on
the gradient of each picture by itself, which batch normalisation would mix (Gulrajani et al. 2017,
section 4, "No critic batch normalization").
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from models.adversarial_layers import check_channels, doublings, initialise_as_dcgan, initialise_for_leaky

_WIDEST = 512
_NARROWEST = 64
_SLOPE = 0.2


class DCGANCritic(nn.Module):
    """One stride-2 convolution (4 x 4) for each halving down to 4 x 4, then one over all of it.

    ``(N, channels, size, size)``, -1..1 -> raw scores ``(N,)``: the more real, the higher. At 64 px:
    32x32x64, 16x16x128, 8x8x256, 4x4x512, 1. Batch normalisation (``norm``) after each layer but the first
    and the last.
    """

    def __init__(self, size: int = 64, channels: int = 1, *, norm: bool = True) -> None:
        super().__init__()
        check_channels(channels)
        steps = doublings(size)
        widths = [min(_WIDEST, _NARROWEST << inward) for inward in range(steps)]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1), _leaky()]
        for before, after in itertools.pairwise(widths):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm2d(after))
            layers.append(_leaky())
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4))
        if norm:
            initialise_as_dcgan(self)
        else:
            initialise_for_leaky(self, _SLOPE)

    def forward(self, pictures: Tensor) -> Tensor:
        """Raw scores ``(N,)`` of pictures ``(N, channels, size, size)``, -1..1."""
        scores: Tensor = self.layers(pictures).flatten()
        return scores


def _leaky() -> nn.Module:
    return nn.LeakyReLU(_SLOPE, inplace=True)
