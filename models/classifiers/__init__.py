"""Classifiers: one file per architecture, found by name in :data:`CLASSIFIERS`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

from torch import nn

from models.classifiers.backbones import SMALLEST_PX, Backbone
from models.classifiers.baseline_cnn import BaselineCNN
from models.classifiers.fcn import SimpleFCN
from models.classifiers.inception_cnn import COMPACT, InceptionCNN
from models.classifiers.layers import Patch
from models.classifiers.sca_cnn import ScaCNN


class Factory(Protocol):
    """Builds a classifier, float 0..1 ``(N, channels, H, W)`` -> logits ``(N, classes)``.

    ``patch`` is the side of a square, or ``(H, W)``, px. Raises ``ValueError`` for sides that the network
    cannot take, naming those that it can.
    """

    def __call__(
        self, classes: int = 5, channels: int = 1, patch: Patch = 256, dropout: float = 0.5
    ) -> nn.Module:
        """A fresh network, drawn from torch's generator."""
        ...


_SMHSI = {
    "smhsi-resnet50": "resnet50",
    "smhsi-mobilenet-v2": "mobilenetv2_100",
    "smhsi-efficientnet-v2-s": "tf_efficientnetv2_s",
    "smhsi-inception-v3": "inception_v3",
}

CLASSIFIERS: Mapping[str, Factory] = MappingProxyType(
    {
        "inception-cnn": InceptionCNN,
        "inception-cnn-compact": partial(InceptionCNN, filters=COMPACT),
        "baseline-cnn": BaselineCNN,
        "sca-cnn": ScaCNN,
        "simple-fcn": SimpleFCN,
        **{name: partial(Backbone, name) for name in SMALLEST_PX},
        **{name: partial(Backbone, theirs, smhsi_head=True) for name, theirs in _SMHSI.items()},
    }
)
"""Names -> factories: the papers' own networks, timm's under timm's names, and timm's with the SMHSI head."""
