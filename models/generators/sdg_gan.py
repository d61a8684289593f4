"""SDG-GAN's generator: transposed convolutions, two plain ones before the last doubling, one at the end.

Source: Mustafaev et al. (SMHSI), section IV.C.1, Tables 1 and 2. With biases and one batch normalisation,
over the fully connected layer's 8,192 outputs, the table at 256 px has 10,029,057 trainable parameters. The
slope of the leaky rectifiers is not given; 0.2 is DCGAN's. The weights start as in Keras, which the paper
used: small, so that a fresh generator draws smooth grey. Without batch normalisation between the layers a
livelier start draws noise that takes long to unlearn (patches of NEU-CLS-64 at 64 px: shapes after 160 steps
with this start, none after 240 with He's).
"""

from __future__ import annotations

from torch import Tensor, nn

from models.adversarial_layers import check_channels, check_latent, doublings, initialise_as_keras

_DOUBLINGS = ((512, 4), (256, 4), (128, 4), (128, 6), (64, 6))
"""Filters and kernel side of the transposed convolutions before the two plain ones."""
_PLAIN = 64
_LAST = 32
_SLOPE = 0.2


class SDGGenerator(nn.Module):
    """Table 2 of the paper at 256 px: 4x4x512, 8x8x512, 16x16x256, 32x32x128, 64x64x128, 128x128x64 (three
    times), 256x256x32, 256x256x``channels``.

    ``(N, latent)`` -> ``(N, channels, size, size)``, -1..1. For smaller pictures the last of the five
    doublings before the two plain convolutions are left out (at 64 px 8x8x512, 16x16x256 and 32x32x128
    stay); what the paper added to DCGAN, the plain convolutions at half the size and at the end, stays.
    """

    def __init__(self, size: int = 256, channels: int = 1, latent: int = 256) -> None:
        super().__init__()
        check_channels(channels)
        check_latent(latent)
        layers: list[nn.Module] = [
            nn.Linear(latent, 512 * 4 * 4),
            nn.BatchNorm1d(512 * 4 * 4),
            _leaky(),
            nn.Unflatten(1, (512, 4, 4)),
        ]
        width = 512
        for filters, kernel in _DOUBLINGS[: doublings(size) - 1]:
            layers += [_doubling(width, filters, kernel), _leaky()]
            width = filters
        layers += [*_same(width, _PLAIN, 4), _leaky(), *_same(_PLAIN, _PLAIN, 4), _leaky()]
        layers += [_doubling(_PLAIN, _LAST, 6), _leaky()]
        layers += [*_same(_LAST, channels, 5), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise_as_keras(self)

    def forward(self, latent: Tensor) -> Tensor:
        """Pictures ``(N, channels, size, size)``, -1..1, of latent vectors ``(N, latent)``."""
        pictures: Tensor = self.layers(latent)
        return pictures


def _doubling(inputs: int, filters: int, kernel: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, filters, kernel, stride=2, padding=kernel // 2 - 1)


def _same(inputs: int, filters: int, kernel: int) -> list[nn.Module]:
    """A stride-1 convolution that keeps the size; an even kernel pads one more at the bottom and right.

    That is Keras's "same", which the paper's implementation (TensorFlow) has.
    """
    if kernel % 2:
        return [nn.Conv2d(inputs, filters, kernel, padding=kernel // 2)]
    before, after = (kernel - 1) // 2, kernel // 2
    return [nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(inputs, filters, kernel)]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(_SLOPE, inplace=True)
