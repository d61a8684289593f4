"""What generators and critics share: the sizes they come in, and how their weights start."""

from __future__ import annotations

import math

from torch import nn

SIZES = (32, 64, 128, 256)
"""Sides of square pictures, px, that every pair of networks can be built for."""


def doublings(size: int) -> int:
    """How often a 4 x 4 map is doubled to ``size`` px: 3 for 32 ... 6 for 256; raises ``ValueError``."""
    if size not in SIZES:
        raise ValueError(f"pictures are {', '.join(map(str, SIZES))} px on a side, not {size}")
    return int(math.log2(size)) - 2


def check_channels(channels: int) -> None:
    """Raise ``ValueError`` unless a picture is grey (1) or colour (3)."""
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, not {channels}")


def check_latent(latent: int) -> None:
    """Raise ``ValueError`` unless a latent vector has at least one number."""
    if latent < 1:
        raise ValueError(f"a latent vector has 1 number or more, not {latent}")


def initialise_as_dcgan(network: nn.Module) -> None:
    """Weights from N(0, 0.02), batch-norm gains from N(1, 0.02), biases zero.

    Source: Radford et al. 2016 (DCGAN), section 4; the gains as in their published code.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def initialise_as_keras(network: nn.Module) -> None:
    """Glorot's uniform distribution, Keras's own start; biases zero (Glorot and Bengio 2010, equation 16)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_for_leaky(network: nn.Module, slope: float) -> None:
    """He's normal distribution for leaky rectifiers of ``slope``; biases zero.

    Keeps the variance of the signal from layer to layer where no batch normalisation does. An output of
    a transposed convolution of kernel ``k`` and stride ``s`` adds up ``in * (k / s)^2`` products: PyTorch's
    own initialiser counts ``out * k^2`` for it.

    Source: He et al. 2015, equation 14.
    """
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            added = module.in_channels * math.prod(module.kernel_size) / math.prod(module.stride)
        elif isinstance(module, nn.Conv2d):
            added = module.in_channels * math.prod(module.kernel_size)
        elif isinstance(module, nn.Linear):
            added = module.in_features
        else:
            continue
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 / (1 + slope**2) / added))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
