"""The plain CNN that the paper compares the Inception-CNN with.

Source: Mustafaev et al., section V.D ("7 convolutional layers followed by max pooling layers, and FC
parameters are same as our proposed Inception-CNN"), Table 10 (5.12 M parameters, 24 layers). The filter
numbers are reconstructed: 5x5 32, 5x5 64, then 3x3 128, 256, 256, 512, 512 give 5,117,317.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.classifiers.layers import Patch, fully_connected_head, he_initialise, height_and_width

_LAYERS = ((32, 5), (64, 5), (128, 3), (256, 3), (256, 3), (512, 3), (512, 3))
"""Filters and kernel side of each convolution; a 2x2 max-pool follows every one."""


class BaselineCNN(nn.Module):
    """Seven convolutions, a 2x2 max-pool after each.

    ``(N, channels, patch, patch)`` float 0..1 -> logits ``(N, classes)``; ``patch`` is a
    multiple of 128, or two of them: (height, width).
    """

    def __init__(self, classes: int = 5, channels: int = 1, patch: Patch = 256, dropout: float = 0.5) -> None:
        super().__init__()
        height, width = height_and_width(patch, 128, 128)  # seven 2x2 pools
        layers: list[nn.Module] = []
        filters_before = channels
        for index, (filters, kernel) in enumerate(_LAYERS):
            layers.append(nn.Conv2d(filters_before, filters, kernel, padding=kernel // 2))
            if index == 0:
                layers.append(nn.BatchNorm2d(filters))
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            filters_before = filters
        self.features = nn.Sequential(*layers)
        self.classifier = fully_connected_head(
            filters_before * (height // 128) * (width // 128), classes, dropout
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of patches ``(N, channels, patch, patch)``, float 0..1."""
        logits: Tensor = self.classifier(self.features(x))
        return logits
