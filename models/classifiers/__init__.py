"""Classifiers: one file an architecture, found by name in :data:`CLASSIFIERS`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

from torch import nn

from models.classifiers.backbones import SMALLEST_PX, Backbone
from models.classifiers.baseline_cnn import BaselineCNN
from models.classifiers.inception_cnn import InceptionCNN


class Factory(Protocol):
    """Builds a classifier, float 0..1 ``(N, channels, patch, patch)`` -> logits ``(N, classes)``.

    Raises ``ValueError`` for a patch side that the network cannot take, naming those that it can.
    """

    def __call__(
        self, classes: int = 5, channels: int = 1, patch: int = 256, dropout: float = 0.5
    ) -> nn.Module:
        """A fresh network, drawn from torch's generator."""
        ...


CLASSIFIERS: Mapping[str, Factory] = MappingProxyType(
    {
        "inception-cnn": InceptionCNN,
        "baseline-cnn": BaselineCNN,
        **{name: partial(Backbone, name) for name in SMALLEST_PX},
    }
)
"""Names -> factories: the papers' own networks, and timm's under timm's names."""
