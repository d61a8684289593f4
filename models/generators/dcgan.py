"""DCGAN's generator: transposed convolutions with batch normalisation.

Source: Radford et al. 2016, section 3; the rival of the SMHSI paper's Table 6 and of the PE-GAN paper's
Table 3. Five layers at 64 px, as LMAN section 4.2 asks. The papers do not table the widths: 64 filters next
to the picture, doubled inwards up to 512.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from models.adversarial_layers import check_channels, check_latent, doublings, initialise_as_dcgan

WIDEST = 512
NARROWEST = 64


class DCGANGenerator(nn.Module):
    """A projection to 4 x 4, then one stride-2 transposed convolution (4 x 4) for each doubling.

    ``(N, latent)`` -> ``(N, channels, size, size)``, -1..1. At 64 px: 4x4x512, 8x8x256, 16x16x128, 32x32x64,
    64x64x``channels``. Batch normalisation and ReLU after each layer but the last, which has tanh.
    """

    def __init__(self, size: int = 64, channels: int = 1, latent: int = 100) -> None:
        super().__init__()
        check_channels(channels)
        check_latent(latent)
        steps = doublings(size)
        widths = [min(WIDEST, NARROWEST << inward) for inward in reversed(range(steps))]
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent, 1, 1)),
            nn.ConvTranspose2d(latent, widths[0], 4, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise_as_dcgan(self)

    def forward(self, latent: Tensor) -> Tensor:
        """Pictures ``(N, channels, size, size)``, -1..1, of latent vectors ``(N, latent)``."""
        pictures: Tensor = self.layers(latent)
        return pictures
