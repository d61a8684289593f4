"""Critics ("discriminators"): one file per architecture, found by name in :data:`CRITICS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from models.critics.dcgan import DCGANCritic
from models.critics.sdg_gan import SDGCritic
from models.critics.stylegan2 import StyleGAN2Critic, small_critic
from models.critics.vanilla import VanillaCritic

CRITICS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "vanilla": VanillaCritic,
        "dcgan": DCGANCritic,
        "dcgan-without-norm": partial(DCGANCritic, norm=False),
        "sdg-gan": SDGCritic,
        "stylegan2": StyleGAN2Critic,
        "stylegan2-small": small_critic,
    }
)
"""Every critic takes ``(size, channels)``; pictures ``(N, C, size, size)``, -1..1 -> raw scores ``(N,)``.

``size`` is 32, 64, 128 or 256 px, ``channels`` 1 or 3; else ``ValueError``. A sigmoid, where one is wanted,
belongs to the loss. Under WGAN-GP's penalty use one without batch normalisation, and not
StyleGAN2's, whose scores depend on the other pictures of a batch.
"""
