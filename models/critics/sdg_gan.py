"""SDG-GAN's critic: convolutions, each followed by average pooling, and no batch normalisation.

Source: Mustafaev et al. (SMHSI), section IV.C.1, Tables 1 and 3: 6,993,409 parameters at 256 px. The slope
of the leaky rectifiers is not given; 0.2 is DCGAN's. The weights start as the generator's do: as in Keras,
which the paper used.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.adversarial_layers import check_channels, doublings, initialise_as_keras

_STAGES = ((32, 7), (64, 5), (128, 5), (256, 5), (512, 3), (1024, 3))
"""Filters and kernel side of each convolution; a 2 x 2 average pooling follows every one."""
_SLOPE = 0.2


class SDGCritic(nn.Module):
    """Table 3 of the paper at 256 px: 128x128x32, 64x64x64, 32x32x128, 16x16x256, 8x8x512, 4x4x1024, 1.

    ``(N, channels, size, size)``, -1..1 -> raw scores ``(N,)``: the more real, the higher. For smaller
    pictures the last stages are left out, so that 4 x 4 remain: at 64 px 32x32x32 ... 4x4x256.
    """

    def __init__(self, size: int = 256, channels: int = 1) -> None:
        super().__init__()
        check_channels(channels)
        layers: list[nn.Module] = []
        width = channels
        for filters, kernel in _STAGES[: doublings(size)]:
            layers += [
                nn.Conv2d(width, filters, kernel, padding=kernel // 2),
                nn.LeakyReLU(_SLOPE, inplace=True),
                nn.AvgPool2d(2),
            ]
            width = filters
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 4 * 4, 1))
        initialise_as_keras(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Raw scores ``(N,)`` of pictures ``(N, channels, size, size)``, -1..1."""
        scores: Tensor = self.layers(pictures).flatten()
        return scores
