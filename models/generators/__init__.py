"""Generators: one file per architecture, found by name in :data:`GENERATORS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from models.generators.dcgan import DCGANGenerator
from models.generators.latent_mapping import LatentMappingGenerator
from models.generators.sdg_gan import SDGGenerator
from models.generators.stylegan2 import StyleGAN2Generator, small_generator
from models.generators.vanilla import VanillaGenerator

GENERATORS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "vanilla": VanillaGenerator,
        "dcgan": DCGANGenerator,
        "sdg-gan": SDGGenerator,
        "latent-mapping": LatentMappingGenerator,
        "stylegan2": StyleGAN2Generator,
        "stylegan2-small": small_generator,
    }
)
"""Every generator takes ``(size, channels, latent)``; ``(N, latent)`` -> ``(N, C, size, size)``, -1..1.

StyleGAN2's pictures may lie somewhat beyond -1..1, because its last layer is linear. ``size`` is 32, 64, 128
or 256 px, ``channels`` 1 or 3; else ``ValueError``. ``latent-mapping`` also takes ``mapping_layers``.
"""
