"""Inception-CNN, the surface-defect classifier of Mustafaev et al.

Source: "Enhancing Metal Surface Defect Recognition Through Image Patching and Synthetic Defect
Generation", section IV.D, Fig. 6 (network), Fig. 7 (inception module), Table 10 (3.58 M parameters,
48 layers; baseline 5.12 M, 24 layers). The paper leaves the two dropout rates open; 0.5 is ours.

The network takes patches as float in 0..1, ``(N, channels, 256, 256)``, and returns logits
``(N, classes)``. Weights are regularised outside the network:
:func:`retraining.classifiers.optimisers.make_optimiser`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.classifiers.layers import Patch, fully_connected_head, he_initialise, height_and_width

PATCH_PX = 256
"""The patch side the flattened layer is made for; other sides give another fully connected layer."""


Six = tuple[int, int, int, int, int, int]
"""The filters of an inception module in the paper's order, see :class:`InceptionModule`."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of every convolution, in the order in which a patch meets them (paper, Fig. 6)."""

    conv1: int = 32
    module1: Six = (32, 16, 16, 32, 16, 16)
    conv2: int = 128
    module2: Six = (64, 64, 32, 96, 32, 64)
    conv3: int = 256
    module3: Six = (128, 96, 96, 96, 64, 128)
    conv4: int = 512


COMPACT = Filters(
    conv1=32,
    module1=(8, 8, 8, 8, 8, 8),
    conv2=64,
    module2=(32, 32, 16, 48, 16, 32),
    conv3=128,
    module3=(64, 48, 48, 48, 32, 64),
    conv4=256,
)
"""Half of the paper's filters, and a quarter to a half in the first module: ours, for small devices.

The first convolution keeps its 32, because the station's own first stage computes multiples of 32.
"""


class InceptionModule(nn.Module):
    """Four parallel branches, concatenated along the channels (paper, Fig. 7).

    ``(N, in_channels, H, W)`` -> ``(N, out_channels, H, W)``. ``filters`` are the six numbers in the
    paper's order: branch 1 (3x3, then 1x1), branch 2 (1x1 after the pool), branch 3 (1x1, then 3x3),
    branch 4 (1x1 after the pool). Stride 1 and zero padding everywhere; ReLU after every convolution.
    """

    def __init__(self, in_channels: int, filters: Six) -> None:
        super().__init__()
        f1a, f1b, f2, f3a, f3b, f4 = filters
        self.branch1 = nn.Sequential(
            nn.Conv2d(in_channels, f1a, 3, padding=1), nn.ReLU(), nn.Conv2d(f1a, f1b, 1), nn.ReLU()
        )
        self.branch2 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(in_channels, f2, 1), nn.ReLU()
        )
        self.branch3 = nn.Sequential(
            nn.Conv2d(in_channels, f3a, 1), nn.ReLU(), nn.Conv2d(f3a, f3b, 3, padding=1), nn.ReLU()
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(in_channels, f4, 1), nn.ReLU()
        )
        self.out_channels = f1b + f2 + f3b + f4

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, out_channels, H, W)``."""
        pooled = self.branch2[0](x)  # branch 4 begins with the very same pool
        branches = [self.branch1(x), self.branch2[1:](pooled), self.branch3(x), self.branch4[1:](pooled)]
        return torch.cat(branches, dim=1)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(2)


class InceptionCNN(nn.Module):
    """Four convolutions and three inception modules, a 2x2 max-pool after each (paper, Fig. 6).

    ``(N, channels, patch, patch)`` float 0..1 -> logits ``(N, classes)``. With one channel, five
    classes and 256-px patches it has 3,576,453 parameters (paper: 3.58 M). ``patch`` is a multiple of
    128, or two of them, (height, width); at 256 the flattened vector is 512 x 2 x 2. With other
    ``filters`` it is a network of the same form, which is not the paper's.
    """

    def __init__(
        self,
        classes: int = 5,
        channels: int = 1,
        patch: Patch = PATCH_PX,
        dropout: float = 0.5,
        filters: Filters | None = None,
    ) -> None:
        super().__init__()
        height, width = height_and_width(patch, 128, 128)  # seven 2x2 pools
        f = filters or Filters()
        inception1 = InceptionModule(f.conv1, f.module1)
        inception2 = InceptionModule(f.conv2, f.module2)
        inception3 = InceptionModule(f.conv3, f.module3)
        self.filters = f
        self.features = nn.Sequential(
            nn.Conv2d(channels, f.conv1, 5, padding=2),
            nn.BatchNorm2d(f.conv1),
            nn.ReLU(),
            _pool(),
            inception1,
            _pool(),
            nn.Conv2d(inception1.out_channels, f.conv2, 5, padding=2),
            nn.ReLU(),
            _pool(),
            inception2,
            _pool(),
            nn.Conv2d(inception2.out_channels, f.conv3, 3, padding=1),
            nn.ReLU(),
            _pool(),
            inception3,
            _pool(),
            nn.Conv2d(inception3.out_channels, f.conv4, 3, padding=1),
            nn.ReLU(),
            _pool(),
        )
        self.classifier = fully_connected_head(f.conv4 * (height // 128) * (width // 128), classes, dropout)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of patches ``(N, channels, patch, patch)``, float 0..1."""
        logits: Tensor = self.classifier(self.features(x))
        return logits
