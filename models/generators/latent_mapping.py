"""The latent mapping GAN's generator: DCGAN's, fed by a network of fully connected layers.

Source: Song et al. 2022 (LMAN), section 3.1 and Table 4: a mapping network of 2, 4 or 8 fully connected
layers turns the latent vector z into w, and w, not z, enters the generator; with none ("traditional") z does.
Section 4.2 gives 100 numbers for the input of the generator, which w keeps however small z is ("making the
z degree sufficient"). Like StyleGAN, which the paper follows, z is normalised first. StyleGAN's mapping
learns at a hundredth of the rate (Karras et al. 2019, appendix C); LMAN says nothing of it, so the rate of
:attr:`LatentMappingGenerator.mapping` is the training's business.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from models.adversarial_layers import check_latent, initialise_for_leaky
from models.generators.dcgan import DCGANGenerator

WIDTH = 100
"""Numbers of w."""
_SLOPE = 0.2


class LatentMappingGenerator(nn.Module):
    """``mapping_layers`` fully connected layers, then DCGAN's generator.

    ``(N, latent)`` -> w ``(N, 100)`` -> ``(N, channels, size, size)``, -1..1.
    """

    def __init__(
        self, size: int = 64, channels: int = 1, latent: int = 50, *, mapping_layers: int = 8
    ) -> None:
        super().__init__()
        check_latent(latent)
        if mapping_layers < 0:
            raise ValueError(f"a mapping network has 0 layers or more, not {mapping_layers}")
        inputs = [latent, *[WIDTH] * (mapping_layers - 1)]
        self.mapping = nn.ModuleList(nn.Linear(count, WIDTH) for count in inputs[:mapping_layers])
        initialise_for_leaky(self.mapping, _SLOPE)
        self.synthesis = DCGANGenerator(size, channels, WIDTH if mapping_layers else latent)

    def forward(self, latent: Tensor) -> Tensor:
        """Pictures ``(N, channels, size, size)``, -1..1, of latent vectors ``(N, latent)``."""
        pictures: Tensor = self.synthesis(self.map(latent))
        return pictures

    def map(self, latent: Tensor) -> Tensor:
        """W ``(N, 100)`` of latent vectors ``(N, latent)``; the vectors themselves without a mapping."""
        if not self.mapping:
            return latent
        mapped = latent * torch.rsqrt(latent.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            mapped = leaky_relu(layer(mapped), _SLOPE)
        return mapped
