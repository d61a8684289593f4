"""Translators: networks that turn a picture of one domain into one of another, found by name.

A domain is a class of defects, or the background without any. A translator is a generator and the critic
that it learns against; :data:`TRANSLATORS` has the conditional ones, one pair for all domains. CycleGAN has a
generator for each direction between two domains (:mod:`models.translators.cycle_gan`). SyNDGAN
(:mod:`models.translators.syndgan`) and a U-Net (:mod:`models.translators.masked_unet`) draw a defect where a
mask says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from models.translators.pe_gan import PECritic, PEGenerator
from models.translators.star_gan import StarCritic, StarGenerator


@dataclass(frozen=True, slots=True)
class Translator:
    """The two networks; both take ``(size, channels, domains)`` and raise ``ValueError`` for odd sizes."""

    generator: Callable[[int, int, int], nn.Module]
    """Pictures ``(N, C, S, S)``, -1..1, and domains ``(N,)`` int64 -> pictures of those domains, alike."""
    critic: Callable[[int, int, int], nn.Module]
    """Pictures ``(N, C, S, S)`` -> raw scores ``(N,)`` and logits of the domains ``(N, domains)``."""


TRANSLATORS: Mapping[str, Translator] = MappingProxyType(
    {
        "pe-gan": Translator(PEGenerator, PECritic),
        "star-gan": Translator(StarGenerator, StarCritic),
    }
)
