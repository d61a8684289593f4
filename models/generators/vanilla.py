"""The generator of the first GANs: fully connected layers only.

Source: Goodfellow et al. 2014; five layers as in Song et al. 2022 (LMAN), section 4.2, where it is the
baseline of Table 2. Neither paper tables the widths.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.adversarial_layers import check_channels, check_latent, doublings, initialise_for_leaky

_WIDTHS = (128, 256, 512, 1024)
_SLOPE = 0.2


class VanillaGenerator(nn.Module):
    """Five fully connected layers, leaky rectifiers between them, tanh at the end.

    ``(N, latent)`` -> ``(N, channels, size, size)``, -1..1.
    """

    def __init__(self, size: int = 64, channels: int = 1, latent: int = 100) -> None:
        super().__init__()
        doublings(size)
        check_channels(channels)
        check_latent(latent)
        layers: list[nn.Module] = []
        inputs = latent
        for width in _WIDTHS:
            layers += [nn.Linear(inputs, width), nn.LeakyReLU(_SLOPE, inplace=True)]
            inputs = width
        self.layers = nn.Sequential(
            *layers,
            nn.Linear(inputs, channels * size * size),
            nn.Unflatten(1, (channels, size, size)),
            nn.Tanh(),
        )
        initialise_for_leaky(self, _SLOPE)

    def forward(self, latent: Tensor) -> Tensor:
        """Pictures ``(N, channels, size, size)``, -1..1, of latent vectors ``(N, latent)``."""
        pictures: Tensor = self.layers(latent)
        return pictures
