"""CNN with spatial and channel attention, one of the networks that the SMHSI paper compares with.

Source: Mustafaev et al. (SMHSI), Table 10 ("CNN with SCA", 0.52 M parameters, 30 layers), which takes it from
their own "A Novel Method to Inspect 3D Ball Joint Socket Products ...", Sensors 22(11):4192, 2022. Of that
paper its abstract was at hand: channel attention and spatial attention each weigh the same feature map, and
the two feature vectors, which complement each other, are concatenated. The rest is reconstructed so that it
comes to the numbers of Table 10: four convolutions of 32, 64, 128 and 256 filters (5x5, 5x5, 3x3, 3x3), each
followed by batch normalisation and a 2x2 max-pool; both attentions as in CBAM (Woo et al. 2018, eqs. 2 and 3,
reduction 4, 7x7); average pooling of either branch; 128 units. 522,536 parameters; 30 layers, counted as
Keras counts them with the ReLUs inside the convolutions. The dropout is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.classifiers.layers import Patch, he_initialise, height_and_width

_LAYERS = ((32, 5), (64, 5), (128, 3), (256, 3))
"""Filters and kernel side of each convolution."""
_REDUCTION = 4
_SMALLEST_PX = 32


class ChannelAttention(nn.Module):
    """Which feature maps matter: ``(N, C, H, W)`` -> the same, each channel weighed by 0..1 (CBAM, eq. 2)."""

    def __init__(self, channels: int, reduction: int = _REDUCTION) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Linear(channels, channels // reduction), nn.ReLU(), nn.Linear(channels // reduction, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, C, H, W)``."""
        weights = torch.sigmoid(self.shared(x.mean((2, 3))) + self.shared(x.amax((2, 3))))
        return x * weights[:, :, None, None]


class SpatialAttention(nn.Module):
    """Where it matters: ``(N, C, H, W)`` -> the same, each place weighed by 0..1 (CBAM, eq. 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, C, H, W)``."""
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.weigh(seen))


class ScaCNN(nn.Module):
    """Four convolutions, then channel and spatial attention side by side.

    ``(N, channels, H, W)`` float 0..1 -> logits ``(N, classes)``; H and W from 32 px on, not part of the
    weights. With one channel and five classes it has 522,536 parameters (paper: 0.52 M).
    """

    def __init__(self, classes: int = 5, channels: int = 1, patch: Patch = 256, dropout: float = 0.5) -> None:
        super().__init__()
        height_and_width(patch, _SMALLEST_PX)
        layers: list[nn.Module] = []
        filters_before = channels
        for filters, kernel in _LAYERS:
            layers += [
                nn.Conv2d(filters_before, filters, kernel, padding=kernel // 2),
                nn.BatchNorm2d(filters),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            filters_before = filters
        self.features = nn.Sequential(*layers)
        self.channel = ChannelAttention(filters_before)
        self.spatial = SpatialAttention()
        self.classifier = nn.Sequential(
            nn.Linear(2 * filters_before, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, classes)
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of patches ``(N, channels, H, W)``, float 0..1."""
        features = self.features(x)
        vectors = [branch(features).mean((2, 3)) for branch in (self.channel, self.spatial)]
        logits: Tensor = self.classifier(torch.cat(vectors, 1))
        return logits
