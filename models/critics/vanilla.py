"""The critic of the first GANs: fully connected layers only.

Source: Goodfellow et al. 2014; five layers as in Song et al. 2022 (LMAN), section 4.2, where it is the
baseline of Table 2. Neither paper tables the widths.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.adversarial_layers import check_channels, doublings, initialise_for_leaky

_WIDTHS = (1024, 512, 256, 128)
_SLOPE = 0.2


class VanillaCritic(nn.Module):
    """Five fully connected layers, leaky rectifiers between them.

    ``(N, channels, size, size)``, -1..1 -> raw scores ``(N,)``: the more real, the higher. A sigmoid, where
    one is wanted, belongs to the loss.
    """

    def __init__(self, size: int = 64, channels: int = 1) -> None:
        super().__init__()
        doublings(size)
        check_channels(channels)
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = channels * size * size
        for width in _WIDTHS:
            layers += [nn.Linear(inputs, width), nn.LeakyReLU(_SLOPE, inplace=True)]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, 1))
        initialise_for_leaky(self, _SLOPE)

    def forward(self, pictures: Tensor) -> Tensor:
        """Raw scores ``(N,)`` of pictures ``(N, channels, size, size)``, -1..1."""
        scores: Tensor = self.layers(pictures).flatten()
        return scores
