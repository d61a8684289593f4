"""Classifiers: one file an architecture, found by name in :data:`CLASSIFIERS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from models.classifiers.baseline_cnn import BaselineCNN
from models.classifiers.inception_cnn import InceptionCNN

CLASSIFIERS: Mapping[str, type[InceptionCNN] | type[BaselineCNN]] = MappingProxyType(
    {"inception-cnn": InceptionCNN, "baseline-cnn": BaselineCNN}
)
"""Every classifier takes ``(classes, channels, patch, dropout)`` and returns logits ``(N, classes)``."""
